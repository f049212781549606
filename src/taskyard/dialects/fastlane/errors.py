"""Errors in the three shapes of this dialect: JSON, a plain sentence, a small page."""

import html
import json
from http import HTTPStatus
from typing import Final

from taskyard.core.errors import (
    Busy,
    Conflict,
    InvalidInput,
    NotAllowed,
    Overloaded,
    StorageFull,
    StoreDamaged,
    TaskyardError,
    Unavailable,
)
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.bodies import BodyIncomplete, BodyTooLarge

JSON_TYPE: Final = (b"content-type", b"application/json")
TEXT_TYPE: Final = (b"content-type", b"text/plain; charset=utf-8")
HTML_TYPE: Final = (b"content-type", b"text/html; charset=utf-8")
_STATUS: Final[tuple[tuple[type[TaskyardError], int], ...]] = (
    (InvalidInput, 400),
    (BodyTooLarge, 413),
    (BodyIncomplete, 400),
    (NotAllowed, 403),
    (Conflict, 409),
    (Busy, 503),
    (Overloaded, 429),
    (StorageFull, 507),
    (StoreDamaged, 500),
    (Unavailable, 503),
)


class Refusal(TaskyardError):
    """A request that is answered with an error the contract names."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(f"answered {answer.status}")


class BadRequest(TaskyardError):
    """A body that cannot be used; answered with 400 and this sentence."""


def json_error(status: int, operation: str, said: str) -> Refusal:
    """``{"error", "operation"}``."""
    document = {"error": said, "operation": operation}
    return Refusal(Answer(status, json.dumps(document, sort_keys=True).encode(), (JSON_TYPE,)))


def text_answer(status: int, said: str) -> Answer:
    """A plain sentence."""
    return Answer(status, said.encode(errors="replace"), (TEXT_TYPE,))


def page_answer(status: int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """A small page that says what the status means."""
    known = HTTPStatus(status)
    said = html.escape(known.phrase)
    text = html.escape(known.description or known.phrase)
    page = (
        f"<!doctype html>\n<html lang=en>\n<title>{status} {said}</title>\n"
        f"<h1>{said}</h1>\n<p>{text}</p>\n"
    )
    return Answer(status, page.encode(), (HTML_TYPE, *headers))


def answer_of(error: Exception) -> Answer | None:
    """The answer to an error of the engine; None for a defect."""
    if isinstance(error, Refusal):
        return error.answer
    if isinstance(error, BadRequest):
        return text_answer(400, str(error))
    for kind, status in _STATUS:
        if isinstance(error, kind):
            answer = text_answer(status, str(error))
            if isinstance(error, Overloaded):
                seconds = max(1, round(error.retry_after_s))
                retry = (b"retry-after", b"%d" % seconds)
                return Answer(answer.status, answer.body, (*answer.headers, retry))
            return answer
    return None
