"""How requests come in: credential, role, parameters, bodies."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from taskyard.core.access.principals import Caller
from taskyard.dialects.drove.callers import DroveRole, caller_of, check_role
from taskyard.dialects.drove.cluster import Cluster
from taskyard.dialects.drove.errors import Refused, Unreadable, WrongMediaType, answer_of
from taskyard.dialects.http.bodies import read_body
from taskyard.dialects.http.refusals import note_refusal

JSON_TYPE = b"application/json"
FORM_TYPE = b"application/x-www-form-urlencoded"
_SLASH = "\udc2f"
"""How the listener marks a slash that was part of a segment."""
_PARAMETERS = 4096
_LARGEST = (1 << 63) - 1

Connection = Request[Any, Any, Any]
Method = Callable[[Connection, Caller], Awaitable[ASGIApp]]
T = TypeVar("T")


def route(
    cluster: Cluster,
    path: str,
    methods: list[Any],
    roles: frozenset[DroveRole],
    method: Method,
) -> HTTPRouteHandler:
    """A route that asks for a credential and a role before anything else."""

    async def handle(request: Connection) -> ASGIApp:
        caller: Caller | None = None
        try:
            caller = await caller_of(cluster.engine, cluster.settings, request.scope)
            check_role(caller, roles)
            return await method(request, caller)
        except Exception as error:  # noqa: BLE001 - the top of a request
            if caller is not None:
                await note_refusal(cluster.engine, "drove", caller, request.scope, error)
            return answer_of(error)

    return HTTPRouteHandler(path, http_method=methods, status_code=200)(handle)


def text_in_path(request: Connection, name: str) -> str:
    """A part of the path."""
    return str(request.scope["path_params"][name]).replace(_SLASH, "/")


def parameters(request: Connection) -> list[tuple[str, str]]:
    """Those of the query, in order. Raises :class:`Refused`."""
    return _pairs(request.scope["query_string"])


def number(request: Connection, name: str, default: int, least: int) -> int:
    """A whole number of the query. Raises :class:`Refused`."""
    given = [value for key, value in parameters(request) if key == name]
    if not given or not given[0]:
        return default
    try:
        value = int(given[0]) if len(given[0]) <= 20 else None
    except ValueError:
        value = None
    if value is None or value > _LARGEST:
        raise Refused([f"query param {name} must be a whole number"])
    if value < least:
        raise Refused([f"query param {name} must be greater than or equal to {least}"])
    return value


async def body_of(
    cluster: Cluster, request: Connection, media_type: bytes, caller: Caller
) -> bytes:
    """The body. Raises :class:`WrongMediaType`, ``BodyTooLarge``, ``BodyIncomplete``."""
    headers = request.scope["headers"]
    said = next((value for name, value in headers if name == b"content-type"), None)
    if said is not None and said.split(b";")[0].strip().lower() != media_type:
        raise WrongMediaType
    if said is None and media_type is not JSON_TYPE:
        raise WrongMediaType
    limit = cluster.host.max_body_bytes
    return await read_body(request.scope, request.receive, limit, caller.workspace)


async def ignored_body(cluster: Cluster, request: Connection, caller: Caller) -> None:
    """Take a body of any kind and forget it. Raises as :func:`body_of`."""
    limit = cluster.host.max_body_bytes
    await read_body(request.scope, request.receive, limit, caller.workspace)


def decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    """What a body says; None if it is empty. Raises :class:`Unreadable`."""
    if not body.strip():
        return None
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Unreadable(str(error) or "the body cannot be read") from error


def form(body: bytes) -> dict[str, str]:
    """The fields of a form, the first value of each. Raises :class:`Refused`."""
    fields: dict[str, str] = {}
    for name, value in _pairs(body):
        fields.setdefault(name, value)
    return fields


def _pairs(encoded: bytes) -> list[tuple[str, str]]:
    try:
        text = encoded.decode("ascii", errors="surrogateescape")
        return parse_qsl(text, keep_blank_values=True, max_num_fields=_PARAMETERS)
    except ValueError as error:
        raise Refused(["The request has too many parameters"]) from error
