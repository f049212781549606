"""One way to declare a route: what it takes and answers, for the code and its description alike.

:func:`operation` makes a Litestar route handler of a controller's method. The method names the
types of its query and body in its annotation, ``call: Call[Query, Body]``; they are decoded
strictly (Litestar's own typed arguments turn text into numbers), refused with a problem document,
and described in the OpenAPI document from that same annotation.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, lru_cache
from types import NoneType, UnionType
from typing import Any, Final, Generic, TypeVar, get_args, get_type_hints
from urllib.parse import parse_qsl

import msgspec
from litestar import Controller, Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import NotAllowed, NotFound
from taskyard.core.functions.resources import may_be_call_id
from taskyard.core.ids import TaskId
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.bodies import read_body
from taskyard.dialects.http.streams import WhileValid
from taskyard.dialects.native.bodies import check_json
from taskyard.dialects.native.callers import caller_of
from taskyard.dialects.native.errors import (
    invalid_input,
    malformed,
    problem_of,
    request_id_of,
    undecodable,
)
from taskyard.dialects.native.native import Native, native_of
from taskyard.services.access.credential_lifetime import while_valid
from taskyard.services.engine import Engine

T = TypeVar("T")
Q = TypeVar("Q")
Q_co = TypeVar("Q_co", covariant=True)
B_co = TypeVar("B_co", covariant=True)

OPERATION_KEY: Final = "operation"
"""Where a route handler's ``opt`` keeps its :class:`Operation`."""
SLASH: Final = "\udc2f"
"""Stands for an encoded slash inside a path segment; no decoded text contains it."""
_QUERY_MEMBERS: Final = 64


class RawBody(bytes):
    """Stands in an annotation for a body that is taken as it comes."""

    __slots__ = ()


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A route without query parameters."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Q_co, B_co]):
    """One authenticated, decoded request."""

    native: Native
    caller: Caller
    scope: Scope
    query: Q_co
    body: B_co

    @property
    def engine(self) -> Engine:
        """The engine that is asked."""
        return self.native.engine

    @property
    def task_id(self) -> TaskId:
        """The task named in the path."""
        return TaskId(self.path("task_id"))

    def waiting(self) -> AbstractContextManager[None]:
        """Count this request as one that waits. Raises ``Overloaded``, ``Busy``."""
        return self.native.streams.waiting(self.caller)

    async def until_end(self, wait: Callable[[], Awaitable[T]]) -> T:
        """What is waited for, as a request that waits.

        Raises ``NotAuthenticated`` if the credential ends before, ``Overloaded``, ``Busy``.
        """
        with self.waiting():
            return await while_valid(self.engine.clock, self.caller, wait())

    def while_valid(self, answer: ASGIApp) -> ASGIApp:
        """A long answer that is cut off when the caller's credential ends."""
        return WhileValid(self.engine.clock, self.caller, answer)

    def path(self, name: str) -> str:
        """A segment of the path, decoded."""
        segment: str = self.scope["path_params"][name]
        return segment.replace(SLASH, "/")


@dataclass(frozen=True, slots=True)
class Operation:
    """What the description says of a route."""

    name: str
    summary: str
    role: Role
    answers: dict[int, Any]
    """Document type by status; None for an empty answer, a media type for anything else."""
    fails: tuple[int, ...]
    query: Any
    body: Any
    body_required: bool
    token_in_query: bool
    serve: Callable[[Any, Scope, Receive], Awaitable[ASGIApp]]
    """What does it: given the controller and a request, answers with what sends the answer."""
    raw: bool = False
    """Whether the body may be of any type."""
    hot: bool = False
    """Whether it is found before the router looks; see ``express``."""
    installation: bool = False
    """Whether the role is one of the installation, not of the workspace."""
    events: tuple[Any, ...] = ()
    """Types of the messages in an event stream."""


Method = Callable[[Any, Call[Any, Any]], Awaitable[ASGIApp]]


def operation(
    method: str,
    path: str,
    answers: dict[int, Any],
    *,
    role: Role = Role.READ,
    fails: tuple[int, ...] = (),
    token_in_query: bool = False,
    body_limit: int | None = None,
    described_body: Any = None,
    hot: bool = False,
    installation: bool = False,
    events: tuple[Any, ...] = (),
) -> Callable[[Method], HTTPRouteHandler]:
    """Make a route of a controller's method; its docstring's first line is the summary.

    Args:
        method: HTTP method; GET serves HEAD too.
        path: below the controller's, in Litestar's notation.
        answers: document types by status.
        role: what a caller has to be; for the description, as services decide.
        fails: statuses of errors beyond those every route may answer with.
        token_in_query: whether ``?access_token=`` is a credential here.
        body_limit: bytes of the body, at most; as everywhere when None.
        described_body: the JSON that a raw body may be, for the description.
        hot: whether it is asked for so often that the router's work shows.
        installation: whether the role is one of the installation.
        events: types of the messages in an event stream, for the description.
    """

    def decorate(function: Method) -> HTTPRouteHandler:
        query_type, body_type, required = types_of(function)
        has_query = query_type is not NoQuery
        raw = body_type is RawBody
        decoder = None if raw or body_type is NoneType else msgspec.json.Decoder(body_type)
        no_query = NoQuery()

        async def serve(self: Controller, scope: Scope, receive: Receive) -> ASGIApp:
            native = native_of(scope)
            caller: Caller | None = None
            try:
                if raw and scope["query_string"]:
                    # The hottest route of all, asked in the same words again and again.
                    caller = await caller_of(native, scope)
                    query = _known_query(scope["query_string"], query_type)
                else:
                    pairs = query_pairs(scope["query_string"]) if scope["query_string"] else {}
                    token = pairs.pop("access_token", None) if token_in_query else None
                    given = token if isinstance(token, str) else None
                    caller = await caller_of(native, scope, given)
                    query = decode_query(pairs, query_type) if has_query or pairs else no_query
                if "task_id" in scope["path_params"]:
                    await _find_task(native, caller, scope)
                body = None
                if raw:
                    limit = body_limit or native.max_body_bytes
                    body = await read_body(scope, receive, limit, caller.workspace)
                elif decoder is not None:
                    body = await _decode(native, caller, scope, receive, decoder, required)
                return await function(self, Call(native, caller, scope, query, body))
            except Exception as error:  # noqa: BLE001 - the top of a request
                if isinstance(error, NotAllowed) and caller is not None:
                    await note_refusal(native, function.__name__, caller, scope, error)
                return problem_of(error, request_id_of(scope["headers"]))

        async def handle(self: Controller, request: Request[Any, Any, Any]) -> Answer:
            # Any ASGI application; Litestar wants to know a type.
            return await serve(self, request.scope, request.receive)  # type: ignore[return-value]

        described = Operation(
            name=function.__name__,
            summary=(function.__doc__ or "").strip().splitlines()[0],
            role=role,
            answers=answers,
            fails=fails,
            query=query_type,
            body=described_body if decoder is None else body_type,
            body_required=required and not raw,
            token_in_query=token_in_query,
            serve=serve,
            raw=raw,
            hot=hot,
            installation=installation,
            events=events,
        )
        handle.__name__ = function.__name__
        handle.__doc__ = function.__doc__
        return HTTPRouteHandler(
            path,
            http_method=["GET", "HEAD"] if method == "GET" else [method],  # type: ignore[list-item]  # its literals
            status_code=200,  # unused: answers bring their own
            opt={OPERATION_KEY: described},
            include_in_schema=False,
        )(handle)

    return decorate


async def _find_task(native: Native, caller: Caller, scope: Scope) -> None:
    """Put the task into the path for which an id of a call stands there. Raises ``NotFound``."""
    key = scope["path_params"]["task_id"]
    if not may_be_call_id(key):
        return
    try:
        view = await native.engine.issuing.own(caller, key)
    except NotFound as error:
        raise NotFound("task", key) from error
    scope["path_params"]["task_id"] = view.task_id


async def note_refusal(
    native: Native, name: str, caller: Caller, scope: Scope, error: NotAllowed
) -> None:
    """Have the audit trail tell of it: ``submit_task`` is the action ``task.submit`` there."""
    verb, _, noun = name.partition("_")
    target = scope["path"].removeprefix(native.prefix)
    await native.engine.audit.not_allowed(caller, error, f"{noun}.{verb}", target)


def types_of(function: Callable[..., Any]) -> tuple[Any, Any, bool]:
    """Query type, body type and whether the body has to be there, from the annotation."""
    query, body = get_args(get_type_hints(function)["call"])
    if isinstance(body, UnionType):
        (body,) = [one for one in get_args(body) if one is not NoneType]
        return query, body, False
    return query, body, body is not NoneType


async def _decode(
    native: Native,
    caller: Caller,
    scope: Scope,
    receive: Receive,
    decoder: msgspec.json.Decoder[Any],
    required: bool,
) -> Any:
    check_json(scope)
    body = await read_body(scope, receive, native.max_body_bytes, caller.workspace)
    if not body and not required:
        return None
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise undecodable(error, body, decoder.type) from error


def query_pairs(query_string: bytes) -> dict[str, str | list[str]]:
    """Parameters by name; a list for one given more than once. Raises ``Refusal`` (400)."""
    try:
        pairs = parse_qsl(
            query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=_QUERY_MEMBERS
        )
    except ValueError as error:
        raise malformed(f"the query has more than {_QUERY_MEMBERS} parameters") from error
    found: dict[str, str | list[str]] = {}
    for name, value in pairs:
        before = found.get(name)
        if before is None:
            found[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            found[name] = [before, value]
    return found


@lru_cache(maxsize=256)
def _known_query(query_string: bytes, kind: type[Any]) -> Any:
    """Decoded query parameters; kinds of queries are frozen, so they can be shared."""
    return decode_query(query_pairs(query_string), kind)


@cache
def _repeatable(kind: Any) -> tuple[str, ...]:
    """Names of the parameters that may be given more than once."""
    info = msgspec.inspect.type_info(kind)
    names = []
    for one in info.fields if isinstance(info, msgspec.inspect.StructType) else ():
        type_ = one.type
        while isinstance(type_, msgspec.inspect.Metadata):
            type_ = type_.type
        if isinstance(type_, msgspec.inspect.ListType):
            names.append(one.encode_name)
    return tuple(names)


def decode_query(pairs: dict[str, str | list[str]], kind: type[Q]) -> Q:
    """Query parameters by their declaration. Raises ``Refusal`` (400) naming the wrong one."""
    for name in _repeatable(kind):  # type: ignore[arg-type]  # a class is hashable
        value = pairs.get(name)
        if isinstance(value, str):
            pairs[name] = [value]
    try:
        return msgspec.convert(pairs, kind, strict=False)
    except msgspec.ValidationError as error:
        wrong = invalid_input(str(error), kind)
        if wrong.field and isinstance(pairs.get(wrong.field), list):
            raise malformed("was given more than once", wrong.field) from error
        raise malformed(wrong.problem, wrong.field or None) from error
