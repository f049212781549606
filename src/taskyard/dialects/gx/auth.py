"""The dialect itself: who is calling, about which workspace, and what is shared by its routes."""

import re
from dataclasses import dataclass
from typing import Final

from litestar.types import Receive, Scope

from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.errors import NotAllowed
from taskyard.core.ids import GroupName
from taskyard.core.lists import ListKey
from taskyard.dialects.gx.errors import (
    BAD_REQUEST,
    BAD_WORKSPACE,
    FORBIDDEN,
    INTERNAL,
    NOT_FOUND,
    WRONG_METHOD,
    answer_of,
    message,
    refused,
)
from taskyard.dialects.gx.projection import Snapshots, WorkspaceFeeds
from taskyard.dialects.gx.settings import GxSettings
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.dialect import CALLER_KEY, Call, Dialect, DialectContext, allow_header
from taskyard.dialects.http.requests import address_of
from taskyard.dialects.http.routes import Route

DEFAULT: Final = "default"
LENGTH: Final = 128
PUBLIC: Final = True
"""Marks routes that ask for no key."""
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    (b"access-control-allow-headers", b"Content-Type"),
    (b"access-control-max-age", b"86400"),
)
# To be taken literally: A-z has six signs between Z and a.
_PATTERN: Final = re.compile(r"[A-z\-_0-9]+\Z", re.ASCII)


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
        unknown = Caller("unknown", INSTALLATION, Role.READ, address)
        query = Call(self, unknown, scope, receive).parameters()
        api_key = query.get("api_key", "").strip()
        if not api_key:
            raise refused(FORBIDDEN)
        access = self.engine.access
        caller = access.known_token(api_key, address)
        caller = caller or await access.authenticate_token(api_key, address)
        scope["state"][CALLER_KEY] = caller
        if caller.is_of_installation:
            error = NotAllowed(f"{caller.actor} belongs to the installation and to no workspace")
            await self.engine.audit.not_allowed(caller, error, "gx.enter")
            raise error
        name = query.get("workspace_id", "").strip() or DEFAULT
        if len(name) > LENGTH or not _PATTERN.match(name):
            raise refused(BAD_WORKSPACE)
        owner = (caller.credential or caller.actor).removeprefix("token ")
        key = ListKey(caller.workspace, GroupName(f"gx/{owner}/{name}"))
        await self.engine.lists.open(
            key, owner, most=self.settings.workspaces, concurrency_limit=self.settings.running
        )
        return GxCall(self, caller, scope, receive, Workspace(name, key))

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
class Workspace:
    """A workspace of a caller."""

    id: str
    key: ListKey


@dataclass(frozen=True, slots=True)
class GxCall(Call[Gx]):
    """A request about a workspace."""

    workspace: Workspace
