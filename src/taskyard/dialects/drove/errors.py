"""The envelope, and errors as the dialect says them.

Nothing is ever sent as ``null``: clients stumble over it. What there is nothing to say about is
left out.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import structlog

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
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.bodies import BodyIncomplete, BodyTooLarge

log = structlog.get_logger(__name__)

MAINTENANCE: Final = "Cluster is in maintenance mode"
_JSON_HEADER: Final = (b"content-type", b"application/json")
_TEXT_HEADER: Final = (b"content-type", b"text/plain; charset=utf-8")
_CHALLENGE: Final = (b"www-authenticate", b'Basic realm="realm"')
_UNAUTHORIZED: Final = b"Credentials are required to access this resource."
_encode: Final = msgspec.json.Encoder().encode


class Refused(TaskyardError):
    """An operation that breaks rules: of its form, or of the business."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(problems))


class Unreadable(TaskyardError):
    """A body that cannot be decoded."""


class WrongMediaType(TaskyardError):
    """A body of a kind that is not taken here."""


class LookupFailed(TaskyardError):
    """Something asked for is unknown, or an operator's action is refused: 200, and FAILED."""

    def __init__(self, message: str, data: Any = None) -> None:
        self.data = data
        super().__init__(message)


class LogFailed(TaskyardError):
    """Output that cannot be read; has no envelope."""


def success(data: Any = None) -> Answer:
    """Done; ``data`` without nulls, or none at all."""
    envelope: dict[str, Any] = {"status": "SUCCESS", "message": "success"}
    if data is not None:
        envelope["data"] = data
    return plain(envelope)


def encoded_success(data: bytes) -> Answer:
    """The same for data that is JSON already."""
    body = b'{"status":"SUCCESS","message":"success","data":' + data + b"}"
    return Answer(200, body, (_JSON_HEADER,))


def plain(document: Any, status: int = 200) -> Answer:
    """JSON without an envelope."""
    return Answer(status, _encode(document), (_JSON_HEADER,))


def failure(
    status: int,
    message: str,
    data: Any = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Answer:
    """Not done."""
    envelope: dict[str, Any] = {"status": "FAILED", "message": message}
    if data is not None:
        envelope["data"] = data
    return Answer(status, _encode(envelope), (_JSON_HEADER, *headers))


def answer_of(error: Exception) -> Answer:
    """The answer for an error; what nobody foresaw is logged as a defect."""
    for kind, make in _ANSWERS:
        if isinstance(error, kind):
            return make(error)
    log.error("request_failed", exc_info=error)
    return failure(500, "Unexpected Server error", {"failure": "internal error"})


def _overloaded(error: Any) -> Answer:
    after = (b"retry-after", b"%d" % math.ceil(error.retry_after_s))
    return failure(503 if isinstance(error, Busy) else 429, str(error), headers=(after,))


def _unreadable_log(error: Exception) -> Answer:
    return plain({"error": f"Executor call returned: 400 body: {error}"}, 404)


def _refused(message: str, problems: Sequence[str]) -> Answer:
    return failure(400, message, {"validationErrors": list(problems)})


_INVALID: Final = "Command validation failure"
_ANSWERS: Final[tuple[tuple[type[Exception], Callable[[Any], Answer]], ...]] = (
    (NotAuthenticated, lambda _: Answer(401, _UNAUTHORIZED, (_TEXT_HEADER, _CHALLENGE))),
    (NotAllowed, lambda _: Answer(403)),
    (Refused, lambda error: _refused(_INVALID, error.problems)),
    (InvalidInput, lambda error: _refused(_INVALID, [f"{error.field} {error.problem}"])),
    (Unreadable, lambda error: _refused("JSON validation failure", [str(error)])),
    (BodyIncomplete, lambda error: _refused("JSON validation failure", [str(error)])),
    (BodyTooLarge, lambda error: failure(413, str(error))),
    (WrongMediaType, lambda _: Answer(415)),
    (LookupFailed, lambda error: failure(200, str(error), error.data)),
    (LogFailed, _unreadable_log),
    (NotFound, lambda error: failure(200, str(error))),
    (Conflict, lambda error: failure(409, str(error))),
    (Overloaded, _overloaded),
    (StorageFull, lambda _: failure(507, "the disk is full; nothing was stored")),
    (StoreDamaged, lambda error: failure(500, str(error))),
    (Unavailable, lambda _: failure(503, "the service cannot do this now; try again")),
)
