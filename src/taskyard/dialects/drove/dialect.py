"""The dialect as the kit knows it, and what its handlers are given."""

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from litestar.types import Receive, Scope

from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.dialects.drove.auth import ALL, LOG_READERS, PUBLIC, DroveRole, caller_of, check_role
from taskyard.dialects.drove.cluster import Cluster
from taskyard.dialects.drove.errors import (
    UnsupportedMediaType,
    ValidationFailed,
    answer_of,
    defect,
)
from taskyard.dialects.http import dialect as kit
from taskyard.dialects.http.answers import JSON, Answer
from taskyard.dialects.http.dialect import CALLER_KEY, Dialect, allow_header
from taskyard.dialects.http.requests import (
    address_of,
    decode_json,
    first_values,
    media_type,
    query_pairs,
)
from taskyard.dialects.http.routes import Route

JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "application/x-www-form-urlencoded"
BASE: Final = "/apis/v1"
_PARAMETERS: Final = 4096
_LARGEST: Final = (1 << 63) - 1
T = TypeVar("T")
Roles = frozenset[DroveRole]


class Drove(Dialect["Call", Roles]):
    """The dialect below one prefix; routes say which roles may use them."""

    name = "drove"

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        super().__init__(cluster.context, prefix)
        self.cluster = cluster
        self.settings = cluster.settings

    async def enter(self, route: Route["Call", Roles], scope: Scope, receive: Receive) -> "Call":
        """The call; a credential and a role are asked for before anything else.

        Raises ``NotAuthenticated``, ``NotAllowed``, ``Overloaded``.
        """
        roles = route.access
        if roles is PUBLIC:
            anybody = Caller("anybody", INSTALLATION, Role.READ, address_of(scope))
            return Call(self, anybody, scope, receive)
        caller = await caller_of(self.engine, self.settings, scope)
        scope["state"][CALLER_KEY] = caller
        check_role(caller, ALL if roles is LOG_READERS and self.settings.open_logs else roles)
        return Call(self, caller, scope, receive)

    def answer_of(self, error: Exception, scope: Scope) -> Answer | None:
        """See the kit."""
        return answer_of(error)

    def defect(self, scope: Scope) -> Answer:
        """See the kit."""
        return defect()

    def no_route(self, scope: Scope, allowed: list[str]) -> Answer:
        """See the kit."""
        if allowed:
            return Answer(405, b"", (JSON, allow_header(allowed)))
        return Answer(404, b"", (JSON,))

    def no_socket(self, scope: Scope, allowed: list[str]) -> Answer:
        """See the kit."""
        return Answer(404)

    async def options(self, scope: Scope, allowed: list[str]) -> Answer:
        """See the kit."""
        return Answer(200, b"", (allow_header(allowed),))


@dataclass(frozen=True, slots=True)
class Call(kit.Call[Drove]):
    """One request whose caller has the role that is needed."""

    @property
    def cluster(self) -> Cluster:
        """What is shown."""
        return self.dialect.cluster

    def pairs(self) -> list[tuple[str, str]]:
        """The parameters of the query, in order. Raises ``TooManyParameters``."""
        return query_pairs(self.scope["query_string"], _PARAMETERS)

    def number(self, name: str, default: int, least: int) -> int:
        """A whole number of the query. Raises :class:`ValidationFailed`."""
        given = [value for key, value in self.pairs() if key == name]
        if not given or not given[0]:
            return default
        try:
            value = int(given[0]) if len(given[0]) <= 20 else None
        except ValueError:
            value = None
        if value is None or value > _LARGEST:
            raise ValidationFailed([f"query param {name} must be a whole number"])
        if value < least:
            raise ValidationFailed([f"query param {name} must be greater than or equal to {least}"])
        return value

    async def json(self, decoder: "msgspec.json.Decoder[T]") -> T | None:
        """What the JSON body says; None if it is empty.

        Raises ``UnsupportedMediaType``, ``Undecodable``, ``BodyTooLarge``, ``BodyIncomplete``.
        """
        body = await self._read_as(JSON_TYPE)
        found: Any = decode_json(decoder, body) if body.strip() else None
        decoded: T | None = found
        return decoded

    async def form(self) -> dict[str, str]:
        """The fields of the form in the body, the first value of each.

        Raises ``TooManyParameters``, or as :meth:`json`.
        """
        return first_values(query_pairs(await self._read_as(FORM_TYPE), _PARAMETERS))

    async def _read_as(self, wanted: str) -> bytes:
        given = self.header(b"content-type")
        if given is None and wanted != JSON_TYPE:
            raise UnsupportedMediaType
        if given is not None and media_type(given.encode("latin-1")) != wanted:
            raise UnsupportedMediaType
        return await self.read()
