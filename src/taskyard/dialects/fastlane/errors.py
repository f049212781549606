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
    NotAuthenticated,
    NotFound,
    Overloaded,
    StorageFull,
    StoreDamaged,
    TaskyardError,
    Unavailable,
)
from taskyard.dialects.http.answers import HTML, JSON, TEXT, Answer, Headers
from taskyard.dialects.http.bodies import BodyIncomplete, BodyTooLarge
from taskyard.dialects.http.errors import ErrorTable, Refused, retry_headers
from taskyard.dialects.http.requests import TooManyParameters


class BadRequest(TaskyardError):
    """A body that cannot be used; answered with 400 and this sentence."""


_TABLE: Final = ErrorTable[int](
    {
        BadRequest: 400,
        InvalidInput: 400,
        NotFound: 404,
        Conflict: 409,
        NotAuthenticated: 401,
        NotAllowed: 403,
        Overloaded: 429,
        Busy: 503,
        Unavailable: 503,
        StorageFull: 507,
        StoreDamaged: 500,
        BodyTooLarge: 413,
        BodyIncomplete: 400,
        TooManyParameters: 400,
    }
)
"""Status by kind of error."""


def json_error(status: int, operation: str, said: str) -> Refused:
    """``{"error", "operation"}``."""
    document = {"error": said, "operation": operation}
    return Refused(Answer(status, json.dumps(document, sort_keys=True).encode(), (JSON,)))


def text_answer(status: int, said: str, headers: Headers = ()) -> Answer:
    """A plain sentence."""
    return Answer(status, said.encode(errors="replace"), (TEXT, *headers))


def page_answer(status: int, headers: Headers = ()) -> Answer:
    """A small page that says what the status means."""
    known = HTTPStatus(status)
    said = html.escape(known.phrase)
    text = html.escape(known.description or known.phrase)
    page = (
        f"<!doctype html>\n<html lang=en>\n<title>{status} {said}</title>\n"
        f"<h1>{said}</h1>\n<p>{text}</p>\n"
    )
    return Answer(status, page.encode(), (HTML, *headers))


def answer_of(error: Exception) -> Answer | None:
    """The answer to an error; None for a defect."""
    if isinstance(error, Refused):
        return error.answer
    status = _TABLE.find(error)
    if status is None:
        return None
    return text_answer(status, str(error), retry_headers(error))
