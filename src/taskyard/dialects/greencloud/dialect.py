"""The dialect as the kit knows it, and what its handlers are given."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from litestar.types import Receive, Scope

from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.functions.functions import Function
from taskyard.core.functions.invocations import Allowance
from taskyard.core.functions.resources import Build, Endpoint, Schedule, Tag, Trigger
from taskyard.dialects.greencloud.auth import Accounts, SignIn
from taskyard.dialects.greencloud.errors import answer_of, error_answer, unknown
from taskyard.dialects.greencloud.schemas import Members, PageRequest, members_of, page_request
from taskyard.dialects.greencloud.settings import GreenCloudSettings
from taskyard.dialects.http import dialect as kit
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.dialect import CALLER_KEY, Dialect, DialectContext, allow_header
from taskyard.dialects.http.requests import address_of, header_of
from taskyard.dialects.http.routes import Route
from taskyard.services.engine import Engine

ID: Final = re.compile(r"[0-9a-f]{24}\Z")
_OBJECT_BYTES: Final = 1 << 20
PUBLIC: Final = True
"""Marks routes that ask for no token."""
R = TypeVar("R", Build, Endpoint, Schedule, Trigger)
Tagged = Endpoint | Function | Trigger


class GreenCloud(Dialect["Call", bool]):
    """The dialect below one prefix."""

    name = "greencloud"
    head = False

    def __init__(
        self, context: DialectContext, settings: GreenCloudSettings, prefix: str, sign_in: SignIn
    ) -> None:
        super().__init__(context, prefix)
        self.settings = settings
        self.accounts = Accounts(context, settings)
        self.sign_in = sign_in

    async def enter(self, route: Route["Call", bool], scope: Scope, receive: Receive) -> "Call":
        """The call; no token is asked for where the route is ``PUBLIC``.

        Raises ``Refused`` (401), and ``Overloaded`` for guesses.
        """
        address = address_of(scope)
        caller = Caller("anybody", INSTALLATION, Role.READ, address)
        if route.access is not PUBLIC:
            caller = await self.accounts.caller(header_of(scope, b"authorization"), address)
        scope["state"][CALLER_KEY] = caller
        return Call(self, caller, scope, receive)

    def answer_of(self, error: Exception, scope: Scope) -> Answer | None:
        """See the kit."""
        return answer_of(error)

    def defect(self, scope: Scope) -> Answer:
        """See the kit."""
        return error_answer(500, "INTERNAL", "this should not have happened")

    def no_route(self, scope: Scope, allowed: list[str]) -> Answer:
        """See the kit."""
        if not allowed:
            return error_answer(404, "NOT_FOUND", "there is no such path")
        allow = allow_header([one for one in allowed if one != "OPTIONS"])
        return error_answer(405, "METHOD_NOT_ALLOWED", "not with this method", (allow,))


@dataclass(frozen=True, slots=True)
class Call(kit.Call[GreenCloud]):
    """One request."""

    def path(self, name: str) -> str:
        """A segment of the path, decoded; ``list`` where a route of that name stands aside."""
        return kit.Call.path(self, name) if name in self.path_params else "list"

    async def members(self, *, empty: bool = False) -> Members:
        """The members of the JSON object that was sent. Raises ``Refused``."""
        return members_of(await self.read(_OBJECT_BYTES), empty=empty)

    async def page_request(self) -> PageRequest:
        """Which page of a list is asked for. Raises ``Refused``."""
        return page_request(await self.members(empty=True), self.parameters())

    async def page_of(
        self, kind: type[R], *, by_timezone: bool = False
    ) -> tuple[PageRequest, list[R], int]:
        """The page that is asked for, its resources, and how many there are in all.

        Raises ``Refused``.
        """
        wanted = await self.page_request()
        found, total = await self.engine.function_resources.page(
            self.caller,
            kind,
            function_id=wanted.function_id,
            timezone=wanted.timezone if by_timezone else None,
            offset=wanted.offset,
            limit=wanted.limit,
        )
        return wanted, found, total

    async def function(self, key: str | None = None) -> Function:
        """The function in the path, or of this id. Raises ``Refused`` (404)."""
        return await function_of(self.engine, self.caller, self.path("id") if key is None else key)

    async def tags(self, ids: Iterable[str]) -> dict[str, Tag]:
        """The account's tags with these ids."""
        found = await self.engine.function_resources.some(
            self.caller, Tag, {*filter(ID.match, ids)}
        )
        return {one.id: one for one in found}

    async def tags_of(self, *carriers: Tagged) -> dict[str, Tag]:
        """The tags that these carry."""
        return await self.tags(one for carrier in carriers for one in carrier.tags)

    async def given_tags(self, members: Members) -> tuple[str, ...] | None:
        """The tags that a request names; unknown ones are noted as errors."""
        return members.tags(await self.tags(members.tag_ids()))

    def quota(self) -> tuple[Allowance, ...]:
        """What is left to the account, if its tasks are counted."""
        return self.engine.invocations.quota(self.caller.workspace)


async def function_of(engine: Engine, caller: Caller, key: str) -> Function:
    """A function by its id alone. Raises ``Refused`` (404), ``NotFound``."""
    if not ID.match(key):
        raise unknown("function", key)
    found = await engine.functions.find(caller.workspace, key)
    if found.id != key:  # some other function has this for a name
        raise unknown("function", key)
    return found
