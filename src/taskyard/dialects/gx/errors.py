"""Errors of the dialect: ``{"message": "<text>"}`` with a status."""

from typing import Final

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
    Unavailable,
)
from taskyard.dialects.http.answers import Answer, json_answer
from taskyard.dialects.http.bodies import BodyIncomplete, BodyTooLarge
from taskyard.dialects.http.errors import ErrorTable, Refused, retry_headers
from taskyard.dialects.http.requests import TooManyParameters, Undecodable
from taskyard.ports.lists import TooManyLists

FORBIDDEN: Final = (403, "Forbidden")
NOT_FOUND: Final = (404, "Not Found")
WRONG_METHOD: Final = (405, "Method Not Allowed")
BAD_REQUEST: Final = (400, "Bad Request")
BAD_WORKSPACE: Final = (400, "invalid workspace id")
BAD_BODY: Final = (400, "invalid request body")
BAD_ID: Final = (400, "invalid task id")
TOO_MANY_STREAMS: Final = (429, "too many connections in workspace")
_UNKNOWN_TASK: Final = (404, "this task is unknown here, or was dispatched already")
INTERNAL: Final = (500, "internal server error")
_TABLE: Final = ErrorTable[tuple[int, str | None]](
    {
        InvalidInput: BAD_BODY,
        NotFound: _UNKNOWN_TASK,
        Conflict: (409, None),
        TooManyLists: (429, "too many workspaces"),
        NotAuthenticated: FORBIDDEN,
        NotAllowed: FORBIDDEN,
        Overloaded: (429, None),
        Busy: (503, None),
        Unavailable: (503, "the service is stopping or cannot store anything now; try again"),
        StorageFull: (507, "the disk is full; nothing was stored"),
        StoreDamaged: (500, "what the server has stored of this is damaged"),
        BodyTooLarge: (413, "request body too large"),
        BodyIncomplete: BAD_BODY,
        Undecodable: BAD_BODY,
        TooManyParameters: BAD_REQUEST,
    }
)
"""Status and message by kind of error; the error's own message for None."""


class _Message(Struct):
    message: str


def refused(said: tuple[int, str]) -> Refused:
    """An error that the dialect itself decided on."""
    return Refused(message(*said), said[1])


def answer_of(error: Exception) -> Answer | None:
    """The answer to an error; None for a defect."""
    if isinstance(error, Refused):
        return error.answer
    found = _TABLE.find(error)
    if found is None:
        return None
    return message(found[0], found[1] or str(error), tuple(retry_headers(error)))


def message(status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """An error body."""
    return json_answer(_Message(text), status, headers)
