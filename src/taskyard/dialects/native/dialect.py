"""The dialect as the kit knows it, and what its handlers are given.

A route's ``access`` is its :class:`Description`, made by :func:`answers`: for the code and the
OpenAPI document alike. What is in the query and the body comes from the handler's annotation, see
``decoding.py``.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import NoneType
from typing import Any, Generic, TypeVar

import msgspec
from litestar.types import ASGIApp, Receive, Scope

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import NotFound
from taskyard.core.functions.resources import may_be_call_id
from taskyard.core.ids import TaskId
from taskyard.dialects.http import dialect as kit
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.bodies import read_body
from taskyard.dialects.http.dialect import CALLER_KEY, Dialect, allow_header
from taskyard.dialects.http.routes import Route
from taskyard.dialects.http.streams import WhileValid
from taskyard.dialects.native.auth import caller_of
from taskyard.dialects.native.decoding import (
    NoQuery,
    RawBody,
    check_json,
    decode_body,
    decode_query,
    known_query,
    parameters_of,
    types_of,
)
from taskyard.dialects.native.errors import defect_of, problem, problem_of, request_id_of
from taskyard.services.access.credential_lifetime import while_valid
from taskyard.services.engine import Engine

T = TypeVar("T")
Q_co = TypeVar("Q_co", covariant=True)
B_co = TypeVar("B_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Description:
    """What is said of a route beside its path."""

    answers: dict[int, Any]
    """Document type by status; None for an empty answer, a media type for anything else."""
    role: Role = Role.READ
    """What a caller has to be; for the description, as services decide."""
    fails: tuple[int, ...] = ()
    """Statuses of errors beyond those every route may answer with."""
    token_in_query: bool = False
    """Whether ``?access_token=`` is a credential here."""
    body_limit: int | None = None
    """Bytes of the body, at most; as everywhere when None."""
    described_body: Any = None
    """The JSON that a raw body may be, for the description."""
    installation: bool = False
    """Whether the role is one of the installation, not of the workspace."""
    events: tuple[Any, ...] = ()
    """Types of the messages in an event stream, for the description."""


answers = Description
SOCKET = Description({}, token_in_query=True)
"""A WebSocket; these are not described."""


class Native(Dialect["Call[Any, Any]", Description]):
    """Taskyard's own API below one prefix."""

    name = "native"

    def __init__(self, context: kit.DialectContext, prefix: str = "/api/v1") -> None:
        super().__init__(context, prefix)
        self._readers: dict[Route[Call[Any, Any], Description], _Reader] = {}

    async def enter(
        self, route: Route["Call[Any, Any]", Description], scope: Scope, receive: Receive
    ) -> "Call[Any, Any]":
        """The call, with query and body decoded.

        Raises ``NotAuthenticated``, ``ProblemError`` (400), ``InvalidInput``, ``Overloaded``.
        """
        reader = self._readers.get(route)
        if reader is None:
            reader = self._readers[route] = _Reader(route)
        return await reader.read(self, scope, receive)

    def audited_as(
        self, route: Route["Call[Any, Any]", Description], scope: Scope
    ) -> tuple[str, str]:
        """``submit_task`` is the action ``task.submit`` there."""
        verb, _, noun = route.handler.__name__.partition("_")
        return f"{noun}.{verb}", scope["path"].removeprefix(self.prefix)

    def answer_of(self, error: Exception, scope: Scope) -> Answer | None:
        """See the kit."""
        return problem_of(error, request_id_of(scope["headers"]))

    def defect(self, scope: Scope) -> Answer:
        """See the kit."""
        return defect_of(request_id_of(scope["headers"]))

    def no_route(self, scope: Scope, allowed: list[str]) -> Answer:
        """See the kit."""
        request_id = request_id_of(scope["headers"])
        if not allowed:
            return problem(404, "not-found", "there is nothing at this path", request_id)
        said = f"{scope.get('method')} is not possible here; {', '.join(allowed)} is"
        headers = (allow_header(allowed),)
        return problem(405, "method-not-allowed", said, request_id, headers)


@dataclass(frozen=True, slots=True)
class Call(kit.Call[Native], Generic[Q_co, B_co]):
    """One authenticated, decoded request."""

    query: Q_co
    body: B_co

    @property
    def task_id(self) -> TaskId:
        """The task named in the path."""
        return TaskId(self.path("task_id"))

    def waiting(self) -> AbstractContextManager[None]:
        """Count this request as one that waits. Raises ``Overloaded``, ``Busy``."""
        return self.context.streams.waiting(self.caller)

    async def until_end(self, wait: Callable[[], Awaitable[T]]) -> T:
        """What is waited for, as a request that waits.

        Raises ``NotAuthenticated`` if the credential ends before, ``Overloaded``, ``Busy``.
        """
        with self.waiting():
            return await while_valid(self.engine.clock, self.caller, wait())

    def while_valid(self, answer: ASGIApp) -> ASGIApp:
        """A long answer that is cut off when the caller's credential ends."""
        return WhileValid(self.engine.clock, self.caller, answer)


class _Reader:
    """Makes calls of the requests for one route."""

    def __init__(self, route: Route[Call[Any, Any], Description]) -> None:
        self._query, body, self._required = types_of(route.handler)
        self._has_query = self._query is not NoQuery
        self._raw = body is RawBody
        is_json = not self._raw and body is not NoneType
        self._decoder = msgspec.json.Decoder(body) if is_json else None
        self._token_in_query = route.access.token_in_query
        self._limit = route.access.body_limit
        self._no_query = NoQuery()

    async def read(self, dialect: Native, scope: Scope, receive: Receive) -> Call[Any, Any]:
        """One call. Raises as ``Native.enter``."""
        state, engine = scope["state"], dialect.context.engine
        encoded = scope["query_string"]
        query: Any = self._no_query
        if self._raw and encoded:
            # The hottest route of all, asked in the same words again and again.
            caller = state[CALLER_KEY] = await caller_of(engine, scope)
            query = known_query(encoded, self._query)
        else:
            pairs = parameters_of(encoded) if encoded else {}
            token = pairs.pop("access_token", None) if self._token_in_query else None
            given = token if isinstance(token, str) else None
            caller = state[CALLER_KEY] = await caller_of(engine, scope, given)
            if self._has_query or pairs:
                query = decode_query(pairs, self._query)
        if "task_id" in scope["path_params"]:
            await _find_task(engine, caller, scope)
        body: Any = None
        if self._raw:
            limit = self._limit or dialect.context.max_body_bytes
            body = await read_body(scope, receive, limit, caller.workspace)
        elif self._decoder is not None:
            check_json(scope)
            limit = dialect.context.max_body_bytes
            body = await read_body(scope, receive, limit, caller.workspace)
            body = decode_body(self._decoder, body) if body or self._required else None
        return Call(dialect, caller, scope, receive, query, body)


async def _find_task(engine: Engine, caller: Caller, scope: Scope) -> None:
    """Put the task into the path for which an id of a call stands there. Raises ``NotFound``."""
    key = scope["path_params"]["task_id"]
    if not may_be_call_id(key):
        return
    try:
        view = await engine.invocations.own(caller, key)
    except NotFound as error:
        raise NotFound("task", key) from error
    scope["path_params"]["task_id"] = view.task_id
