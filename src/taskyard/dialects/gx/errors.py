"""Errors as the dialect says them: ``{"message": "<text>"}`` with a status."""

import math
from typing import Final

import msgspec
import structlog
from msgspec import Struct

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
from taskyard.dialects.http.answers import Answer, json_answer
from taskyard.dialects.http.bodies import BodyIncomplete, BodyTooLarge
from taskyard.ports.lists import TooManyLists

log = structlog.get_logger(__name__)

FORBIDDEN: Final = (403, "Forbidden")
NOT_FOUND: Final = (404, "Not Found")
WRONG_METHOD: Final = (405, "Method Not Allowed")
BAD_REQUEST: Final = (400, "Bad Request")
BAD_WORKSPACE: Final = (400, "invalid workspace id")
BAD_BODY: Final = (400, "invalid request body")
BAD_ID: Final = (400, "invalid task id")
TOO_MANY_STREAMS: Final = (429, "too many connections in workspace")
_UNKNOWN_TASK: Final = (404, "this task is unknown here, or was dispatched already")
_KNOWN: Final[tuple[tuple[type[TaskyardError], tuple[int, str]], ...]] = (
    (NotAuthenticated, FORBIDDEN),
    (NotAllowed, FORBIDDEN),
    (NotFound, _UNKNOWN_TASK),
    (TooManyLists, (429, "too many workspaces")),
    (BodyTooLarge, (413, "request body too large")),
    (BodyIncomplete, BAD_BODY),
    (InvalidInput, BAD_BODY),
    (StorageFull, (507, "the disk is full; nothing was stored")),
    (StoreDamaged, (500, "what the server has stored of this is damaged")),
    (Unavailable, (503, "the service is stopping or cannot store anything now; try again")),
)


class Refusal(TaskyardError):
    """A request refused by the dialect itself."""

    def __init__(self, refused: tuple[int, str]) -> None:
        self.status, message = refused
        super().__init__(message)


class _Message(Struct):
    message: str


def answer_of(error: Exception) -> Answer:
    """The answer for an error; what nobody foresaw is logged as a defect."""
    if isinstance(error, Refusal):
        return message(error.status, str(error))
    if isinstance(error, Overloaded):
        after = b"%d" % math.ceil(error.retry_after_s)
        status = 503 if isinstance(error, Busy) else 429
        return message(status, str(error), ((b"retry-after", after),))
    for kind, (status, text) in _KNOWN:
        if isinstance(error, kind):
            return message(status, text)
    if isinstance(error, Conflict):
        return message(409, str(error))
    log.error("request_failed", exc_info=error)
    return message(500, "internal server error")


def message(status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """An error body."""
    return json_answer(_Message(text), status, headers)


def decoding_failed(error: Exception) -> bool:
    """Whether an error says that a body is not what it has to be."""
    return isinstance(error, (msgspec.DecodeError, UnicodeDecodeError, RecursionError))
