"""The envelope, and errors as the dialect says them.

Nothing is ever sent as ``null``: clients stumble over it. What there is nothing to say about is
left out.
"""

from collections.abc import Callable, Sequence
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
from taskyard.dialects.http.answers import JSON, TEXT, Answer, Headers
from taskyard.dialects.http.bodies import BodyIncomplete, BodyTooLarge
from taskyard.dialects.http.errors import ErrorTable, retry_headers
from taskyard.dialects.http.requests import TooManyParameters, Undecodable

MAINTENANCE: Final = "Cluster is in maintenance mode"
_CHALLENGE: Final = (b"www-authenticate", b'Basic realm="realm"')
_UNAUTHORIZED: Final = b"Credentials are required to access this resource."
_encode: Final = msgspec.json.Encoder().encode


class ValidationFailed(TaskyardError):
    """An operation that breaks rules: of its form, or of what is allowed."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(problems))


class UnsupportedMediaType(TaskyardError):
    """The body has an unsupported media type: 415."""


class LookupFailed(TaskyardError):
    """An object is unknown, or an operator's action is refused: 200 with status FAILED."""

    def __init__(self, message: str, data: Any = None) -> None:
        self.data = data
        super().__init__(message)


class LogNotFound(TaskyardError):
    """The log file does not exist; answered without an envelope."""


class LogDamaged(TaskyardError):
    """Output that was there and is not any more; has no envelope either."""


def success(data: Any = None) -> Answer:
    """The envelope of a success; ``data`` without nulls, or none at all."""
    envelope: dict[str, Any] = {"status": "SUCCESS", "message": "success"}
    if data is not None:
        envelope["data"] = data
    return plain(envelope)


def encoded_success(data: bytes) -> Answer:
    """The same for data that is JSON already."""
    body = b'{"status":"SUCCESS","message":"success","data":' + data + b"}"
    return Answer(200, body, (JSON,))


def plain(document: Any, status: int = 200) -> Answer:
    """JSON without an envelope."""
    return Answer(status, _encode(document), (JSON,))


def failure(
    status: int,
    message: str,
    data: Any = None,
    headers: Headers = (),
) -> Answer:
    """The envelope of a failure."""
    envelope: dict[str, Any] = {"status": "FAILED", "message": message}
    if data is not None:
        envelope["data"] = data
    return Answer(status, _encode(envelope), (JSON, *headers))


def answer_of(error: Exception) -> Answer | None:
    """The answer to an error; None for a defect."""
    make = _TABLE.find(error)
    return None if make is None else make(error)


def _overloaded(status: int) -> Callable[[Any], Answer]:
    return lambda error: failure(status, str(error), headers=retry_headers(error))


def _unavailable(error: Exception) -> Answer:
    return failure(503, "the service cannot do this now; try again", headers=retry_headers(error))


def _unreadable_log(error: Exception) -> Answer:
    return plain({"error": f"Executor call returned: 400 body: {error}"}, 404)


def _refused(message: str, problems: Sequence[str]) -> Answer:
    return failure(400, message, {"validationErrors": list(problems)})


_INVALID: Final = "Command validation failure"
_MALFORMED: Final = "JSON validation failure"
_TABLE: Final = ErrorTable[Callable[[Any], Answer]](
    {
        InvalidInput: lambda error: _refused(_INVALID, [f"{error.field} {error.problem}"]),
        ValidationFailed: lambda error: _refused(_INVALID, error.problems),
        TooManyParameters: lambda _: _refused(_INVALID, ["The request has too many parameters"]),
        Undecodable: lambda error: _refused(_MALFORMED, [str(error)]),
        BodyIncomplete: lambda error: _refused(_MALFORMED, [str(error)]),
        BodyTooLarge: lambda error: failure(413, str(error)),
        UnsupportedMediaType: lambda _: Answer(415),
        NotFound: lambda error: failure(200, str(error)),
        LookupFailed: lambda error: failure(200, str(error), error.data),
        LogNotFound: _unreadable_log,
        LogDamaged: lambda error: plain({"error": str(error)}, 500),
        Conflict: lambda error: failure(409, str(error)),
        NotAuthenticated: lambda _: Answer(401, _UNAUTHORIZED, (TEXT, _CHALLENGE)),
        NotAllowed: lambda _: Answer(403),
        Overloaded: _overloaded(429),
        Busy: _overloaded(503),
        Unavailable: _unavailable,
        StorageFull: lambda _: failure(507, "the disk is full; nothing was stored"),
        StoreDamaged: lambda error: failure(500, str(error)),
    }
)
"""What makes the answer, by kind of error."""


def defect() -> Answer:
    """The answer to a defect."""
    return failure(500, "Unexpected Server error", {"failure": "internal error"})
