"""The dialect as the kit knows it, and what its handlers are given."""

from dataclasses import dataclass
from typing import Final

from litestar.types import Receive, Scope

from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.dialects.gx.auth import Workspace, caller_of, workspace_of
from taskyard.dialects.gx.errors import (
    BAD_REQUEST,
    INTERNAL,
    NOT_FOUND,
    WRONG_METHOD,
    answer_of,
    message,
)
from taskyard.dialects.gx.projection import Snapshots, WorkspaceFeeds
from taskyard.dialects.gx.settings import GxSettings
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.dialect import CALLER_KEY, Call, Dialect, DialectContext, allow_header
from taskyard.dialects.http.requests import address_of, first_values, query_pairs
from taskyard.dialects.http.routes import Route

PUBLIC: Final = True
"""Marks routes that ask for no key."""
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    (b"access-control-allow-headers", b"Content-Type"),
    (b"access-control-max-age", b"86400"),
)


class Gx(Dialect["Call[Gx]", bool]):
    """The dialect below one prefix."""

    name = "gx"

    def __init__(self, context: DialectContext, settings: GxSettings) -> None:
        super().__init__(context)
        self.settings = settings
        self.snapshots = Snapshots()
        self.feeds = WorkspaceFeeds(context.engine, self.snapshots)
        self.started_at = context.engine.clock.now()

    async def enter(
        self, route: Route["Call[Gx]", bool], scope: Scope, receive: Receive
    ) -> "Call[Gx]":
        """The call, with its workspace, which comes into being with it.

        Raises ``Refused`` (403, then 400), ``TooManyLists``, or as the store does.
        """
        address = address_of(scope)
        if route.access is PUBLIC:
            anybody = Caller("anybody", INSTALLATION, Role.READ, address)
            return Call(self, anybody, scope, receive)
        query = first_values(query_pairs(scope["query_string"]))
        caller = await caller_of(self.engine, query, address)
        scope["state"][CALLER_KEY] = caller
        workspace = await workspace_of(self.engine, self.settings, caller, query)
        return GxCall(self, caller, scope, receive, workspace)

    def answer_of(self, error: Exception, scope: Scope) -> Answer | None:
        """See the kit."""
        return answer_of(error)

    def defect(self, scope: Scope) -> Answer:
        """See the kit."""
        return message(*INTERNAL)

    def no_route(self, scope: Scope, allowed: list[str]) -> Answer:
        """See the kit."""
        return message(*WRONG_METHOD, (allow_header(allowed),)) if allowed else message(*NOT_FOUND)

    def no_socket(self, scope: Scope, allowed: list[str]) -> Answer:
        """400 where there is something else."""
        return message(*(BAD_REQUEST if allowed else NOT_FOUND))

    async def options(self, scope: Scope, allowed: list[str]) -> Answer:
        """What browsers ask before they send anything."""
        return Answer(204, b"", _PREFLIGHT)


@dataclass(frozen=True, slots=True)
class GxCall(Call[Gx]):
    """A request about a workspace."""

    workspace: Workspace
