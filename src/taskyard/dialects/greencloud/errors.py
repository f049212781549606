"""Errors as the contract has them: ``{"error", "message"}``, and ``fields`` for bad input."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

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
from taskyard.core.functions.invocations import AllowanceSpent
from taskyard.dialects.http.answers import JSON, Answer, Headers
from taskyard.dialects.http.bodies import BodyIncomplete, BodyTooLarge
from taskyard.dialects.http.errors import ErrorTable, Refused, retry_headers
from taskyard.dialects.http.requests import TooManyParameters
from taskyard.services.functions.calls import FunctionNotReady, FunctionPaused

_CODES: Final = {
    "function": "FUNCTION_NOT_FOUND",
    "call": "TASK_NOT_FOUND",
    "task": "TASK_NOT_FOUND",
    "build": "BUILD_NOT_FOUND",
    "version": "BUILD_NOT_FOUND",
    "tag": "TAG_NOT_FOUND",
    "endpoint": "ENDPOINT_NOT_FOUND",
    "trigger": "TRIGGER_NOT_FOUND",
    "schedule": "SCHEDULE_NOT_FOUND",
    "node": "NODE_NOT_FOUND",
}
_TABLE: Final = ErrorTable[tuple[int, str]](
    {
        InvalidInput: (400, "INVALID_INPUT"),
        NotFound: (404, "NOT_FOUND"),
        Conflict: (409, "CONFLICT"),
        FunctionPaused: (423, "FUNCTION_PAUSED"),
        FunctionNotReady: (409, "NO_RUNNER"),
        NotAuthenticated: (401, "NEEDS_LOGIN"),
        NotAllowed: (403, "NOT_ALLOWED"),
        Overloaded: (429, "TOO_MANY_REQUESTS"),
        Busy: (503, "UNAVAILABLE"),
        Unavailable: (503, "UNAVAILABLE"),
        StorageFull: (507, "STORAGE_FULL"),
        StoreDamaged: (500, "STORE_DAMAGED"),
        BodyTooLarge: (413, "PAYLOAD_TOO_LARGE"),
        BodyIncomplete: (400, "INVALID_INPUT"),
        TooManyParameters: (400, "INVALID_INPUT"),
    }
)
"""Status and code by kind of error."""


def refused(
    status: int,
    code: str,
    message: str,
    headers: Headers = (),
    fields: Mapping[str, str] | None = None,
) -> Refused:
    """An error that the dialect itself decided on."""
    return Refused(error_answer(status, code, message, headers, fields), message)


def invalid(fields: Mapping[str, str], message: str = "") -> Refused:
    """400, naming what is to blame."""
    said = message or "; ".join(f"{name} {rule}" for name, rule in fields.items())
    return refused(400, "INVALID_INPUT", said, fields=fields or None)


def unknown(kind: str, key: str) -> Refused:
    """404 for an object."""
    return refused(404, _CODES[kind], f"there is no {'task' if kind == 'call' else kind} {key!r}")


def needs_login(message: str = "a valid access token is required") -> Refused:
    """401."""
    return refused(401, "NEEDS_LOGIN", message, ((b"www-authenticate", b"Bearer"),))


def error_answer(
    status: int,
    code: str,
    message: str,
    headers: Headers = (),
    fields: Mapping[str, str] | None = None,
) -> Answer:
    """An error body."""
    document: dict[str, Any] = {"error": code, "message": message}
    if fields:
        document["fields"] = fields
    # What callers sent may be part of the message, and need not be valid Unicode.
    clean = msgspec.json.encode(_storable(document))
    return Answer(status, clean, (JSON, *headers))


def answer_of(error: Exception) -> Answer | None:
    """The answer to an error; None for a defect."""
    if isinstance(error, Refused):
        return error.answer
    if isinstance(error, NotAuthenticated):
        return needs_login().answer
    if isinstance(error, AllowanceSpent):
        if error.allowance.key.startswith("endpoint:"):
            return error_answer(429, "DAILY_LIMIT_REACHED", "no more calls of this endpoint today")
        return error_answer(402, "NO_QUOTA_AVAILABLE", "the quota of this month is used up")
    found = _TABLE.find(error)
    if found is None:
        return None
    status, code = found
    fields = None
    if isinstance(error, NotFound):
        code = _CODES.get(error.kind, code)
    elif isinstance(error, InvalidInput) and error.field:
        fields = {error.field: error.problem}
    return error_answer(status, code, str(error), retry_headers(error), fields)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_storable(name): _storable(one) for name, one in value.items()}
    return value
