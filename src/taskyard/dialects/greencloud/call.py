"""One request whose caller is known, and the dialect it came to."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from litestar.types import Receive, Scope

from taskyard.core.access.principals import Caller
from taskyard.core.functions.functions import Function
from taskyard.core.functions.invocations import Allowance
from taskyard.core.functions.resources import Endpoint, Tag, Trigger
from taskyard.dialects.greencloud.accounts import Accounts
from taskyard.dialects.greencloud.errors import JSON, Headers, unknown
from taskyard.dialects.greencloud.fields import Members, members_of
from taskyard.dialects.greencloud.settings import GreenCloudSettings
from taskyard.dialects.greencloud.sign_in import SignIn
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.bodies import read_body
from taskyard.dialects.http.dialect import DialectContext
from taskyard.services.engine import Engine

ID: Final = re.compile(r"[0-9a-f]{24}\Z")
_OBJECT_BYTES: Final = 1 << 20
_QUERY_MEMBERS: Final = 64
Tagged = Endpoint | Function | Trigger


@dataclass(frozen=True, slots=True)
class GreenCloud:
    """The dialect below one prefix."""

    host: DialectContext
    settings: GreenCloudSettings
    prefix: str
    accounts: Accounts
    sign_in: SignIn


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    greencloud: GreenCloud
    caller: Caller
    scope: Scope
    receive: Receive

    @property
    def engine(self) -> Engine:
        """The engine that is asked."""
        return self.greencloud.host.engine

    def path(self, name: str) -> str:
        """A segment of the path, decoded; ``list`` where a route of that name stands aside."""
        return str(self.scope["path_params"].get(name, "list"))

    def query(self) -> dict[str, str]:
        """Parameters by name; of several with one name, the first."""
        text = self.scope["query_string"].decode("latin-1")
        found: dict[str, str] = {}
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_QUERY_MEMBERS)
        except ValueError:
            return found
        for name, value in pairs:
            found.setdefault(name, value)
        return found

    async def body(self, limit: int = _OBJECT_BYTES) -> bytes:
        """The whole of it. Raises ``BodyTooLarge``, ``BodyIncomplete``."""
        return await read_body(self.scope, self.receive, limit, self.caller.workspace)

    async def members(self, *, empty: bool = False) -> Members:
        """The members of the JSON object that was sent. Raises ``Refusal``."""
        return members_of(await self.body(), empty=empty)

    def function(self, key: str | None = None) -> Function:
        """The function in the path, or of this id. Raises ``Refusal`` (404)."""
        return function_of(self.engine, self.caller, self.path("id") if key is None else key)

    async def tags(self, ids: Iterable[str]) -> dict[str, Tag]:
        """Those of the account's tags that have one of these ids."""
        found = await self.engine.catalogue.some(self.caller, Tag, {*filter(ID.match, ids)})
        return {one.id: one for one in found}

    async def tags_of(self, *carriers: Tagged) -> dict[str, Tag]:
        """The tags that these carry."""
        return await self.tags(one for carrier in carriers for one in carrier.tags)

    async def given_tags(self, members: Members) -> tuple[str, ...] | None:
        """The tags that a request names; those that are none are noted."""
        return members.tags(await self.tags(members.tag_ids()))

    def quota(self) -> tuple[Allowance, ...]:
        """What is left to the account, if its tasks are counted."""
        return self.engine.issuing.quota(self.caller.workspace)


def function_of(engine: Engine, caller: Caller, key: str) -> Function:
    """A function by its id alone. Raises ``Refusal`` (404), ``NotFound``."""
    if not ID.match(key):
        raise unknown("function", key)
    found = engine.functions.find(caller.workspace, key)
    if found.id != key:  # some other function has this for a name
        raise unknown("function", key)
    return found


def json(document: Any, status: int = 200, headers: Headers = ()) -> Answer:
    """A document as JSON."""
    return Answer(status, msgspec.json.encode(document), (JSON, *headers))


def created(object_id: str) -> Answer:
    """201 with the new object's id."""
    return json({"id": object_id}, 201)
