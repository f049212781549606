"""Who is asking, and about which workspace: the checks that every route begins with."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from taskyard.core.access.principals import Caller
from taskyard.core.errors import NotAllowed, NotAuthenticated
from taskyard.core.ids import GroupName
from taskyard.core.lists import ListKey
from taskyard.dialects.gx.errors import BAD_REQUEST, BAD_WORKSPACE, FORBIDDEN, Refusal
from taskyard.dialects.gx.settings import GxSettings
from taskyard.services.engine import Engine

DEFAULT: Final = "default"
LENGTH: Final = 128
_PARAMETERS: Final = 64
# To be taken literally: A-z has six signs between Z and a.
_PATTERN: Final = re.compile(r"[A-z\-_0-9]+\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace of a caller."""

    caller: Caller
    api_key: str
    id: str
    key: ListKey
    query: dict[str, str]
    """All parameters, the first value of each."""


def parameters(query_string: bytes) -> dict[str, str]:
    """Query parameters; of one that is repeated, the first value counts. Raises ``Refusal``."""
    try:
        pairs = parse_qsl(
            query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=_PARAMETERS
        )
    except ValueError as error:
        raise Refusal(BAD_REQUEST) from error
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(name, value)
    return found


async def caller_of(engine: Engine, api_key: str, address: str | None) -> Caller:
    """Whose key this is. Raises ``Refusal``."""
    caller = engine.access.known_token(api_key, address)
    if caller is not None:
        return caller
    try:
        return await engine.access.authenticate_token(api_key, address)
    except NotAuthenticated as error:
        raise Refusal(FORBIDDEN) from error


async def enter(
    engine: Engine, settings: GxSettings, query_string: bytes, address: str | None
) -> Workspace:
    """The workspace that a request names, which comes into being with it.

    Raises ``Refusal`` (403, then 400), ``TooManyLists``, or as the store does.
    """
    query = parameters(query_string)
    api_key = query.get("api_key", "").strip()
    if not api_key:
        raise Refusal(FORBIDDEN)
    caller = await caller_of(engine, api_key, address)
    if caller.is_of_installation:
        refused = NotAllowed(f"{caller.actor} belongs to the installation and to no workspace")
        await engine.audit.not_allowed(caller, refused, "gx.enter")
        raise refused
    name = query.get("workspace_id", "").strip() or DEFAULT
    if len(name) > LENGTH or not _PATTERN.match(name):
        raise Refusal(BAD_WORKSPACE)
    owner = (caller.credential or caller.actor).removeprefix("token ")
    key = ListKey(caller.workspace, GroupName(f"gx/{owner}/{name}"))
    await engine.lists.open(
        key, owner, most=settings.workspaces, concurrency_limit=settings.running
    )
    return Workspace(caller, api_key, name, key, query)
