"""Every error as a problem document (RFC 9457), as listed on the API page."""

import re
import secrets
from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec
import structlog
from msgspec import UNSET, Meta, Struct, UnsetType

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
from taskyard.dialects.http.errors import ErrorTable, retry_headers
from taskyard.dialects.http.requests import TooManyParameters
from taskyard.dialects.native.sentences import sentence

log = structlog.get_logger(__name__)

PROBLEM_JSON: Final = b"application/problem+json"
TYPE_PREFIX: Final = "about:blank#"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")
_PLACE: Final = re.compile(
    r"(?P<problem>.*?)(?: - at (?P<key>`key` in )?`(?P<path>\$[^`]*)`)?\Z", re.DOTALL
)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`\Z", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>.*)`\Z", re.DOTALL)
_BYTE: Final = re.compile(r"\(byte (\d+)\)")


class FieldProblem(Struct):
    """One member of a request that breaks a rule."""

    field: str
    """Dotted path, such as ``retry.max_attempts``."""
    problem: str


class Problem(Struct, omit_defaults=True):
    """A problem document (RFC 9457); members that do not apply are left out."""

    type: Annotated[str, Meta(examples=["about:blank#not-found"])]
    title: str
    status: int
    detail: str | UnsetType = UNSET
    errors: list[FieldProblem] | UnsetType = UNSET
    request_id: str | UnsetType = UNSET
    task_id: str | UnsetType = UNSET
    """The task of a call that failed: its logs tell more."""


class ProblemError(TaskyardError):
    """A request refused by the HTTP surface itself, before any service was asked."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        headers: Iterable[tuple[bytes, bytes]] = (),
        field: str | None = None,
        task_id: str | None = None,
    ) -> None:
        self.status = status
        self.kind = kind
        self.headers = tuple(headers)
        self.field = field
        self.task_id = task_id
        super().__init__(detail)


TITLES: Final = {
    "malformed-body": "Malformed request",
    "not-authenticated": "Not authenticated",
    "not-allowed": "Not allowed",
    "not-found": "Not found",
    "method-not-allowed": "Method not allowed",
    "conflict": "Conflict",
    "body-too-large": "Body too large",
    "unsupported-media-type": "Unsupported media type",
    "range-not-satisfiable": "Range not satisfiable",
    "invalid-input": "Invalid input",
    "overloaded": "Overloaded",
    "internal": "Internal error",
    "damaged": "Stored data is damaged",
    "function-failed": "The function failed",
    "function-timeout": "The function ran out of time",
    "unavailable": "Unavailable",
    "storage-full": "Storage full",
}
_ENCODER: Final = msgspec.json.Encoder()
_TABLE: Final = ErrorTable[tuple[int, str]](
    {
        InvalidInput: (422, "invalid-input"),
        NotFound: (404, "not-found"),
        Conflict: (409, "conflict"),
        NotAuthenticated: (401, "not-authenticated"),
        NotAllowed: (403, "not-allowed"),
        Overloaded: (429, "overloaded"),
        Busy: (503, "overloaded"),
        Unavailable: (503, "unavailable"),
        StorageFull: (507, "storage-full"),
        StoreDamaged: (500, "damaged"),
        BodyTooLarge: (413, "body-too-large"),
        BodyIncomplete: (400, "malformed-body"),
        TooManyParameters: (400, "malformed-body"),
    }
)
"""Status and kind of problem by kind of error."""


def malformed(detail: str, field: str | None = None) -> ProblemError:
    """What cannot be read at all: 400."""
    return ProblemError(400, "malformed-body", detail, field=field)


def problem_of(error: Exception, request_id: str) -> Answer:
    """The answer for an error. Unforeseen errors are logged as defects: 500."""
    if isinstance(error, ProblemError):
        fields = [FieldProblem(error.field, str(error))] if error.field is not None else None
        said = str(error)
        return problem(
            error.status, error.kind, said, request_id, error.headers, fields, error.task_id
        )
    found = _TABLE.find(error)
    if found is not None:
        return _known(error, *found, request_id)
    log.error("request_failed", request_id=request_id, exc_info=error)
    return defect_of(request_id)


def defect_of(request_id: str) -> Answer:
    """The answer to a defect."""
    return problem(500, "internal", "This is a defect; the log has the request id.", request_id)


def _known(error: Exception, status: int, name: str, request_id: str) -> Answer:
    headers: list[tuple[bytes, bytes]] = [*retry_headers(error)]
    fields = None
    if isinstance(error, InvalidInput) and error.field:
        fields = [FieldProblem(error.field, error.problem)]
    elif isinstance(error, NotAuthenticated):
        headers.append((b"www-authenticate", b'Bearer realm="taskyard", Basic realm="taskyard"'))
    return problem(status, name, str(error), request_id, headers, fields)


def problem(
    status: int,
    kind: str,
    detail: str,
    request_id: str,
    headers: Iterable[tuple[bytes, bytes]] = (),
    fields: list[FieldProblem] | None = None,
    task_id: str | None = None,
) -> Answer:
    """A problem document as an answer."""
    document = Problem(
        type=TYPE_PREFIX + kind,
        title=TITLES[kind],
        status=status,
        # A file name of the system may carry bytes that are no text.
        detail=detail.encode(errors="replace").decode(),
        errors=UNSET if fields is None else fields,
        request_id=request_id,
        task_id=UNSET if task_id is None else task_id,
    )
    return Answer(
        status,
        _ENCODER.encode(document),
        ((b"content-type", PROBLEM_JSON), (b"x-request-id", request_id.encode()), *headers),
    )


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's ``X-Request-ID`` if it is harmless, otherwise a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.match(value):
            return value.decode()
    return secrets.token_hex(8)


def undecodable(error: Exception, body: bytes, kind: Any = None) -> TaskyardError:
    """What a decoder's error means: 400 for text that is no JSON, 422 for a member with a place.

    ``kind`` is the type that was to be decoded.
    """
    if isinstance(error, msgspec.ValidationError):
        return invalid_input(str(error), kind)
    if isinstance(error, RecursionError):
        return malformed("the body is nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return malformed("the body is not UTF-8")
    text = str(error)
    if not body.strip():
        return malformed("the body is empty; send a JSON document")
    if "truncated" in text:
        return malformed(f"the body is not JSON: it ends too early, at byte {len(body)}")
    place = _BYTE.search(text)
    at = f" at byte {place[1]}" if place else ""
    said = _BYTE.sub("", text).removeprefix("JSON is malformed: ").strip()
    return malformed(f"the body is not JSON{at}: {said}")


def invalid_input(text: str, kind: Any = None) -> InvalidInput:
    """What msgspec says of a value, with its place as a dotted path: ``$.a.b[0]`` is ``a.b.0``.

    ``kind`` is the type that was to be decoded; with it, choices are listed.
    """
    match = _PLACE.match(text)
    if match is None:
        return InvalidInput("", text)
    said, path = match["problem"], field_path(match["path"] or "$")
    if (unknown := _UNKNOWN.match(said)) is not None:
        return InvalidInput(
            _join(path, unknown["name"]), "is not a known member; check the spelling"
        )
    if (missing := _MISSING.match(said)) is not None:
        return InvalidInput(_join(path, missing["name"]), "is required")
    words = sentence(said, match["path"] or "$", kind)
    if match["key"]:
        words = f"has an invalid name: it {words}"
    return InvalidInput(path, words)


def field_path(path: str) -> str:
    """``$.a.b[0].c[...]`` as ``a.b.0.c``."""
    dotted = re.sub(r"\[(\d+|\.\.\.)\]", lambda m: "" if m[1] == "..." else f".{m[1]}", path)
    return dotted.removeprefix("$").removeprefix(".")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
