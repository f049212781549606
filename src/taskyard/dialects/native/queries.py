"""Query parameters of routes, declared once for decoding and for the description.

None is no default here: decoding would take the text ``null`` for it.
"""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from taskyard.core.states import TaskState
from taskyard.dialects.native.paging import DEFAULT_LIMIT, MAX_LIMIT

Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="Maximum number of items on a page.")]
Cursor = Annotated[
    str, Meta(min_length=1, max_length=1024, description="`next_cursor` of the previous page.")
]
Moment = Annotated[
    str, Meta(min_length=20, max_length=64, extra_json_schema={"format": "date-time"})
]
Filter = Annotated[str, Meta(min_length=1, max_length=255)]
Number = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Offset = Annotated[int, Meta(ge=0, le=1 << 53)]
StartOffset = Annotated[
    int, Meta(ge=-1, le=1 << 53, description="Offset to start at; -1 leaves the stream out.")
]


class PageQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which page of a list."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor = ""


WorkspaceChoice = Annotated[
    str,
    Meta(
        pattern=r"^(\*|[a-z0-9][a-z0-9_-]{0,62})$",
        description="Workspace; the caller's own by default. Another one, or `*` for the "
        "installation, needs the installation role `admin`.",
    ),
]


class WorkspaceQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """In which workspace."""

    workspace: WorkspaceChoice = ""


class WorkspacePageQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which page of a list of which workspace."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor = ""
    workspace: WorkspaceChoice = ""


class ScalingQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which tasks workers are wanted for, and which workers."""

    group: Annotated[str, Meta(min_length=1, max_length=255)]
    slots: Annotated[int, Meta(ge=1, le=1 << 20, description="Slots of one worker.")] = 1
    tag: Annotated[
        str, Meta(max_length=255, description="Only tasks that ask for this tag; empty for all.")
    ] = ""


class TasksQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which tasks to list."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor = ""
    state: Annotated[list[TaskState], Meta(max_length=16)] = []
    group: Filter = ""
    label: Annotated[
        list[Annotated[str, Meta(pattern=r"^[^:]+:", max_length=512, examples=["team:x"])]],
        Meta(max_length=16, description="`key:value`; all must match."),
    ] = []
    text: Filter = ""
    created_after: Moment = ""
    created_before: Moment = ""
    schedule: Annotated[
        str, Meta(min_length=1, max_length=64, description="Runs of this recurring task.")
    ] = ""
    order: Annotated[str, Meta(pattern=r"^(newest|oldest)$")] = "newest"


class CountsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which tasks to count."""

    group: Filter = ""


class WaitQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """How long to wait for a task's end."""

    timeout_s: Annotated[float, Meta(ge=0, le=60)] = 60.0


class CancelQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether to wait for the end of what is cancelled."""

    wait: Annotated[float, Meta(ge=0, le=60, description="Seconds to wait for the end.")] = 0.0


class LogQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a stream."""

    attempt: Number | UnsetType = UNSET
    offset: Offset | UnsetType = UNSET
    length: Offset | UnsetType = UNSET
    download: bool = False


Timestamps = Annotated[bool, Meta(description="Whether to say when each piece was written.")]


class FollowQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Where to begin to follow, and how."""

    attempt: Number | UnsetType = UNSET
    stdout: StartOffset = 0
    stderr: StartOffset = 0
    wait: Annotated[
        bool, Meta(description="Whether to go on at the present end, until the attempt has ended.")
    ] = True
    timestamps: Timestamps = False


class BothQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Where to begin to read both streams, and how."""

    attempt: Number | UnsetType = UNSET
    stdout: StartOffset = 0
    stderr: StartOffset = 0
    timestamps: Timestamps = False
    download: bool = False


class ChangesQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which changes to stream."""

    group: Filter = ""
    task: Annotated[str, Meta(min_length=1, max_length=64)] = ""


class DeliveriesQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which deliveries to list."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor = ""
    state: Annotated[str, Meta(pattern=r"^(pending|delivered|failed)$")] = ""
