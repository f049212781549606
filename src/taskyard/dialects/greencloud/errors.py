"""Errors as the contract has them: ``{"error", "message"}``, and ``fields`` for bad input."""

import math
from collections.abc import Iterable, Mapping
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
    TaskyardError,
    Unavailable,
)
from taskyard.core.functions.invocations import AllowanceSpent
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.bodies import BodyIncomplete, BodyTooLarge
from taskyard.services.functions.calls import FunctionNotReady, FunctionPaused

JSON: Final = (b"content-type", b"application/json")
Headers = Iterable[tuple[bytes, bytes]]
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
_KNOWN: Final[tuple[tuple[type[TaskyardError], int, str], ...]] = (
    (FunctionPaused, 423, "FUNCTION_PAUSED"),
    (FunctionNotReady, 409, "NO_RUNNER"),
    (Conflict, 409, "CONFLICT"),
    (BodyTooLarge, 413, "PAYLOAD_TOO_LARGE"),
    (BodyIncomplete, 400, "INVALID_INPUT"),
    (NotAllowed, 403, "NOT_ALLOWED"),
    (StorageFull, 507, "STORAGE_FULL"),
    (StoreDamaged, 500, "STORE_DAMAGED"),
    (Unavailable, 503, "UNAVAILABLE"),
)


class Refusal(TaskyardError):
    """A request that is answered with an error of the contract."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Headers = (),
        fields: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.headers = headers
        self.fields = fields
        super().__init__(message)


def invalid(fields: Mapping[str, str], message: str = "") -> Refusal:
    """400, naming what is to blame."""
    said = message or "; ".join(f"{name} {rule}" for name, rule in fields.items())
    return Refusal(400, "INVALID_INPUT", said, fields=fields or None)


def unknown(kind: str, key: str) -> Refusal:
    """404 for an object."""
    return Refusal(404, _CODES[kind], f"there is no {'task' if kind == 'call' else kind} {key!r}")


def needs_login(message: str = "a valid access token is required") -> Refusal:
    """401."""
    return Refusal(401, "NEEDS_LOGIN", message, ((b"www-authenticate", b"Bearer"),))


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
    if isinstance(error, Refusal):
        return error_answer(error.status, error.code, str(error), error.headers, error.fields)
    if isinstance(error, NotAuthenticated):
        return answer_of(needs_login())
    if isinstance(error, AllowanceSpent):
        if error.allowance.key.startswith("endpoint:"):
            return error_answer(429, "DAILY_LIMIT_REACHED", "no more calls of this endpoint today")
        return error_answer(402, "NO_QUOTA_AVAILABLE", "the quota of this month is used up")
    if isinstance(error, Overloaded):
        retry = (b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s)))
        is_busy = isinstance(error, Busy)
        status, code = (503, "UNAVAILABLE") if is_busy else (429, "TOO_MANY_REQUESTS")
        return error_answer(status, code, str(error), (retry,))
    if isinstance(error, NotFound):
        return error_answer(404, _CODES.get(error.kind, "NOT_FOUND"), str(error))
    if isinstance(error, InvalidInput):
        fields = {error.field: error.problem} if error.field else None
        return error_answer(400, "INVALID_INPUT", str(error), fields=fields)
    for kind, status, code in _KNOWN:
        if isinstance(error, kind):
            return error_answer(status, code, str(error))
    return None


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_storable(name): _storable(one) for name, one in value.items()}
    return value
