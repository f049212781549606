"""Who is calling, and about which workspace."""

import re
from dataclasses import dataclass
from typing import Final

from taskyard.core.access.principals import Caller
from taskyard.core.errors import NotAllowed
from taskyard.core.ids import GroupName
from taskyard.core.lists import ListKey
from taskyard.dialects.gx.errors import BAD_WORKSPACE, FORBIDDEN, refused
from taskyard.dialects.gx.settings import GxSettings
from taskyard.services.engine import Engine

DEFAULT: Final = "default"
LENGTH: Final = 128
# To be taken literally: A-z has six signs between Z and a.
_PATTERN: Final = re.compile(r"[A-z\-_0-9]+\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace of a caller."""

    id: str
    key: ListKey


async def caller_of(engine: Engine, query: dict[str, str], address: str | None) -> Caller:
    """Whose key this is. Raises ``Refused`` (403), ``NotAuthenticated``, ``NotAllowed``."""
    api_key = query.get("api_key", "").strip()
    if not api_key:
        raise refused(FORBIDDEN)
    access = engine.access
    caller = access.known_token(api_key, address)
    caller = caller or await access.authenticate_token(api_key, address)
    if caller.is_of_installation:
        error = NotAllowed(f"{caller.actor} belongs to the installation and to no workspace")
        await engine.audit.not_allowed(caller, error, "gx.enter")
        raise error
    return caller


async def workspace_of(
    engine: Engine, settings: GxSettings, caller: Caller, query: dict[str, str]
) -> Workspace:
    """The workspace that a request names, created if it is new.

    Raises ``Refused`` (400), ``TooManyLists``, or as the store does.
    """
    name = query.get("workspace_id", "").strip() or DEFAULT
    if len(name) > LENGTH or not _PATTERN.match(name):
        raise refused(BAD_WORKSPACE)
    owner = (caller.credential or caller.actor).removeprefix("token ")
    key = ListKey(caller.workspace, GroupName(f"gx/{owner}/{name}"))
    await engine.lists.open(
        key, owner, most=settings.workspaces, concurrency_limit=settings.running
    )
    return Workspace(name, key)
