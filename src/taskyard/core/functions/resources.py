"""Resources of functions: endpoints, triggers, schedules, tags, nodes, and builds by id."""

import re
import secrets
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from taskyard.core.errors import InvalidInput
from taskyard.core.functions.functions import FunctionId
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import SECOND, Instant, to_datetime

_ID: Final = re.compile(r"[0-9a-f]{24}\Z")
_MINUTE: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]\Z", re.ASCII)


def new_id(now: Instant) -> str:
    """24 hex digits, the first 8 the time in seconds: sorts by creation, cannot be guessed."""
    return f"{now // SECOND:08x}{secrets.token_hex(8)}"


def may_be_call_id(text: str) -> bool:
    """Whether a text has the form of :func:`new_id`; ids of tasks have another one."""
    return _ID.match(text) is not None


class TimeWindow(Struct, frozen=True):
    """A part of every day. One whose start is later than its end goes past midnight."""

    start: str = "00:00"
    """``HH:MM``."""
    end: str = "23:59"
    """``HH:MM``, to the end of that minute."""
    timezone: str = "UTC"
    """IANA name."""

    def check(self) -> None:
        """Raise ``InvalidInput`` naming ``start``, ``end`` or ``timezone``."""
        for name in ("start", "end"):
            if not _MINUTE.match(getattr(self, name)):
                raise InvalidInput(name, "must be HH:MM, from 00:00 to 23:59")
        check_zone(self.timezone)

    def holds(self, now: Instant) -> bool:
        """Whether an instant is inside."""
        minute = to_datetime(now).astimezone(ZoneInfo(self.timezone)).strftime("%H:%M")
        if self.start <= self.end:
            return self.start <= minute <= self.end
        return minute >= self.start or minute <= self.end


def check_zone(name: str) -> None:
    """Raise ``InvalidInput`` unless this is a time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(
            "timezone", f"{name[:64]!r} is not a known time zone, such as Europe/Berlin"
        ) from error


class Endpoint(Struct, frozen=True, tag="endpoint", tag_field="kind"):
    """A public address of a function; knowing its id is the only credential."""

    id: str
    workspace: WorkspaceName
    created_at: Instant
    function_id: FunctionId
    description: str = ""
    tags: tuple[str, ...] = ()
    daily_limit: int | None = None
    """Calls from midnight to midnight, UTC; None for any number."""
    origins: tuple[str, ...] = ()
    """Origins of pages that may call it; any when empty."""
    addresses: tuple[str, ...] = ()
    """IPv4 addresses that may call it; any when empty."""
    window: TimeWindow = TimeWindow()


class Trigger(Struct, frozen=True, tag="trigger", tag_field="kind"):
    """When a call of one function ends, another function is called."""

    id: str
    workspace: WorkspaceName
    created_at: Instant
    function_id: FunctionId
    next_id: FunctionId
    include_result: bool
    status: int | None = None
    """Only if the call ended with this status; whatever it is when None."""
    description: str = ""
    tags: tuple[str, ...] = ()


class Schedule(Struct, frozen=True, tag="schedule", tag_field="kind"):
    """A function is called whenever a rule says so."""

    id: str
    workspace: WorkspaceName
    created_at: Instant
    function_id: FunctionId
    cron: str
    timezone: str
    description: str = ""
    active: bool = True
    query: str = ""
    body: bytes = b""
    content_type: str = ""


class Tag(Struct, frozen=True, tag="tag", tag_field="kind"):
    """A coloured word that other entries refer to by its id."""

    id: str
    workspace: WorkspaceName
    created_at: Instant
    name: str
    color: str


class Node(Struct, frozen=True, tag="node", tag_field="kind"):
    """A registered machine; stored, and otherwise unused."""

    id: str
    workspace: WorkspaceName
    created_at: Instant
    description: str = ""
    disabled: bool = False


class Build(Struct, frozen=True, tag="build", tag_field="kind"):
    """The id that a build goes by outside."""

    id: str
    workspace: WorkspaceName
    created_at: Instant
    function_id: FunctionId
    number: int
    """Of the version that is built."""


FunctionResource = Endpoint | Trigger | Schedule | Tag | Node | Build
