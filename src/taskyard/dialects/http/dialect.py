"""What a dialect is to the kit, and what its handlers are given.

A subclass of :class:`Dialect` says who is calling (``enter``), what the answer to an error looks
like (``answer_of``), and what is said where no route is (``no_route``). ``application.py`` does
everything else.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, TypeVar

import structlog
from litestar.types import Receive, Scope

from taskyard import __version__
from taskyard.core.access.principals import Caller
from taskyard.core.errors import NotAllowed
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.bodies import read_body
from taskyard.dialects.http.requests import SLASH, first_values, header_of, query_pairs
from taskyard.dialects.http.routes import Route
from taskyard.dialects.http.streams import Streams
from taskyard.ports.outgoing import Fetcher
from taskyard.services.engine import Engine

MAX_BODY_BYTES: Final = 8 << 20
CALLER_KEY: Final = "caller"
"""Where a connection's state keeps its caller, once it is known."""

log = structlog.get_logger(__name__)

A = TypeVar("A")
C = TypeVar("C")
D_co = TypeVar("D_co", bound="Dialect[Any, Any]", covariant=True)


@dataclass(frozen=True, slots=True)
class DialectContext:
    """What a server gives to each dialect: the engine, and the limits it is served with."""

    engine: Engine
    streams: Streams
    max_body_bytes: int = MAX_BODY_BYTES
    dev: bool = False
    """Whether the well-known credentials are valid."""
    version: str = __version__
    fetch: Fetcher | None = None
    """Gets documents from where clients say; None if nothing can be fetched."""


class Dialect(ABC, Generic[C, A]):
    """One HTTP API below one prefix; ``C`` is what its handlers are given, ``A`` what its routes
    say of who may use them.
    """

    name: ClassVar[str]
    """Leads its actions in the audit trail."""
    head: ClassVar[bool] = True
    """Whether HEAD is answered where GET is."""

    def __init__(self, context: DialectContext, prefix: str = "") -> None:
        """Serve this engine; ``prefix`` was taken off the paths, empty at a listener's root."""
        self.context = context
        self.prefix = prefix

    @property
    def engine(self) -> Engine:
        """The engine that is asked."""
        return self.context.engine

    @abstractmethod
    async def enter(self, route: Route[C, A], scope: Scope, receive: Receive) -> C:
        """What the route's handler is given, with the caller in the connection's state.

        Raises what :meth:`answer_of` knows an answer to, such as ``NotAuthenticated``.
        """

    @abstractmethod
    def answer_of(self, error: Exception, scope: Scope) -> Answer | None:
        """The answer to an error; None for a defect."""

    @abstractmethod
    def defect(self, scope: Scope) -> Answer:
        """The answer to a defect: 500. The log has what happened."""

    @abstractmethod
    def no_route(self, scope: Scope, allowed: list[str]) -> Answer:
        """The answer where no route is: 404; 405 if other methods are ``allowed`` at the path."""

    def no_socket(self, scope: Scope, allowed: list[str]) -> Answer:
        """The answer to a handshake where no WebSocket is; ``allowed`` are methods of HTTP."""
        return self.no_route(scope, [])

    async def options(self, scope: Scope, allowed: list[str]) -> Answer:
        """The answer to ``OPTIONS`` for a path with these methods."""
        return Answer(204, b"", (allow_header(allowed),))

    def audited_as(self, route: Route[C, A], scope: Scope) -> tuple[str, str]:
        """Action and target in the audit trail of a request whose caller lacks a role.

        The target is the route, not the path: what is asked for may be anything.
        """
        method = scope.get("method", "WEBSOCKET")
        return f"{self.name}.request", f"{method} {scope['path_template']}"

    async def refuse(self, route: Route[C, A], scope: Scope, error: Exception) -> Answer:
        """The answer to an error; a missing role is audited, a defect logged."""
        if isinstance(error, NotAllowed):
            caller: Caller | None = scope["state"].get(CALLER_KEY)
            if caller is not None:
                action, target = self.audited_as(route, scope)
                await self.engine.audit.not_allowed(caller, error, action, target)
        answer = self.answer_of(error, scope)
        if answer is not None:
            return answer
        log.error("request_failed", dialect=self.name, path=scope["path"], exc_info=error)
        return self.defect(scope)


@dataclass(frozen=True, slots=True)
class Call(Generic[D_co]):
    """One request whose caller is known."""

    dialect: D_co
    caller: Caller
    scope: Scope
    receive: Receive

    @property
    def context(self) -> DialectContext:
        """What the server gave to the dialect."""
        return self.dialect.context

    @property
    def engine(self) -> Engine:
        """The engine that is asked."""
        return self.dialect.context.engine

    @property
    def path_params(self) -> Mapping[str, str]:
        """The named segments of the path, not decoded further."""
        found: Mapping[str, str] = self.scope["path_params"]
        return found

    def path(self, name: str) -> str:
        """A named segment of the path, decoded; slashes that were encoded are in it."""
        segment: str = self.scope["path_params"][name]
        return segment.replace(SLASH, "/")

    def header(self, name: bytes) -> str | None:
        """The first header of this (lower-case) name."""
        return header_of(self.scope, name)

    def parameters(self) -> dict[str, str]:
        """Query parameters; of several with one name, the first. Raises ``TooManyParameters``."""
        return first_values(query_pairs(self.scope["query_string"]))

    async def read(self, limit: int | None = None) -> bytes:
        """The whole body, of at most ``limit`` bytes (the server's limit when None).

        Raises ``BodyTooLarge``, ``BodyIncomplete``, ``Overloaded``.
        """
        most = self.dialect.context.max_body_bytes if limit is None else limit
        return await read_body(self.scope, self.receive, most, self.caller.workspace)


def allow_header(allowed: list[str]) -> tuple[bytes, bytes]:
    """``Allow``, with these methods."""
    return b"allow", ", ".join(allowed).encode()
