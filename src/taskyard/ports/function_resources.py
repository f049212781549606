"""The ports of endpoints, triggers, schedules and tags of functions, and of invocations."""

from collections.abc import Collection, Sequence
from typing import Protocol

from msgspec import Struct

from taskyard.core.access.principals import AuditEntry
from taskyard.core.changes import Change
from taskyard.core.functions.functions import FunctionId
from taskyard.core.functions.invocations import Allowance, CallCounts, Invocation, InvocationView
from taskyard.core.functions.resources import FunctionResource, Schedule, Trigger
from taskyard.core.ids import Term, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.tasks import NewTask
from taskyard.ports.dispatching import Placement
from taskyard.ports.store import Submitted


class NewInvocation(Struct, frozen=True):
    """A call that is ready to be stored."""

    task: NewTask
    call: Invocation
    actor: str
    allowances: tuple[Allowance, ...] = ()


class FunctionResourceStore(Protocol):
    """Endpoints, triggers, schedules, tags, nodes, builds. Raises as the store ports do."""

    async def add(
        self,
        entry: FunctionResource,
        due_at: Instant | None = None,
        audit: AuditEntry | None = None,
    ) -> None:
        """Store a new entry; ``due_at`` is when a schedule fires.

        Raises ``Conflict`` if the workspace has one of this kind with its id.
        """
        ...

    async def get(
        self, kind: type[FunctionResource], entry_id: str, workspace: WorkspaceName | None
    ) -> FunctionResource:
        """Of any workspace when None. Raises ``NotFound``, also while its function is deleted."""
        ...

    async def page(
        self,
        kind: type[FunctionResource],
        workspace: WorkspaceName,
        *,
        function_id: str | None,
        timezone: str | None,
        offset: int,
        limit: int,
    ) -> tuple[list[FunctionResource], int]:
        """Newest first, and how many there are in all; without those of deleted functions."""
        ...

    async def oldest_first(
        self, kind: type[FunctionResource], workspace: WorkspaceName, after: int, limit: int
    ) -> list[tuple[int, FunctionResource]]:
        """Entries with their positions, behind position ``after``; deleted functions' as well."""
        ...

    async def some(
        self, kind: type[FunctionResource], workspace: WorkspaceName, ids: Collection[str]
    ) -> list[FunctionResource]:
        """Those that have one of these ids, in no order; deleted functions' as well."""
        ...

    async def replace(
        self,
        entry: FunctionResource,
        due_at: Instant | None = None,
        was: FunctionResource | None = None,
    ) -> bool:
        """Store an entry's new content and when it is due; its function stays the same.

        False if it is not there any more, which it stays, or if it is not what it ``was``.
        """
        ...

    async def remove(self, entry: FunctionResource, audit: AuditEntry | None = None) -> None:
        """Forget an entry; one that is not there is forgotten already."""
        ...

    async def remove_of_function(self, function_id: FunctionId) -> None:
        """Forget endpoints, triggers and schedules of a function, and triggers that lead to it."""
        ...

    async def triggers(self, function_id: FunctionId, now: Instant) -> list[Trigger]:
        """What follows the calls of a function, oldest first. Puts aside what cannot be read."""
        ...

    async def followed(self) -> set[str]:
        """Functions whose calls are followed by others."""
        ...

    async def due(self, now: Instant, limit: int) -> list[tuple[Instant, Schedule]]:
        """Schedules of all workspaces that fire now, earliest first, with when they were due.

        Puts aside what cannot be read.
        """
        ...

    async def next_due(self) -> Instant | None:
        """When a schedule fires next."""
        ...

    async def build_began(self, function_id: FunctionId, number: int) -> Instant | None:
        """When the build of a version began; None if it has not."""
        ...

    async def pending_builds(self, workspace: WorkspaceName) -> int:
        """Builds that have not ended, of functions that are not deleted."""
        ...


class InvocationStore(Protocol):
    """Calls under ids of their own."""

    async def check(self, allowances: Sequence[Allowance]) -> None:
        """Raise ``AllowanceSpent`` if a call could not be issued now."""
        ...

    async def issue(self, issue: NewInvocation, placement: Placement | None = None) -> Submitted:
        """Store a call and its task, or nothing of either.

        With a placement, as ``TaskStore.submit_placed``.

        Raises:
            AllowanceSpent: one of its allowances is; none of them is used up then.
            Conflict: there is a call under its id, or its task's idempotency key is known.
        """
        ...

    async def use_once(self, name: str, until: str, today: str) -> bool:
        """Mark a name as used until the day is over; False if it was used before.

        Days are ``YYYY-MM-DD``; names whose day is over are forgotten on the way.
        """
        ...

    async def fire(
        self,
        schedule: Schedule,
        was: Instant,
        to: Instant | None,
        issue: NewInvocation | None,
        term: Term | None = None,
    ) -> Change | None:
        """Let a schedule go on to its next firing, and store the call of this one.

        None if somebody did that before, if there is no call, or if its allowance is spent. It goes
        on to None if it fires no more. Raises ``Conflict`` as :meth:`issue`, and ``NotLeading`` if
        ``term`` has ended; without one it is done whoever leads.
        """
        ...

    async def complete(
        self, call_id: str, issues: Sequence[NewInvocation], term: Term | None = None
    ) -> list[Change]:
        """Store what follows an ended call, once; without those whose allowance is spent.

        Nothing if that was done before, or there is no such call. Raises ``Conflict`` as
        :meth:`issue`, and ``NotLeading`` as :meth:`fire`; then the call is not settled.
        """
        ...

    async def view(self, call_id: str) -> InvocationView:
        """Of any workspace. Raises ``NotFound``."""
        ...

    async def views(
        self,
        workspace: WorkspaceName,
        function_id: str | None,
        *,
        after: InvocationView | None,
        offset: int,
        limit: int,
    ) -> list[InvocationView]:
        """In the order in which they were issued, ``offset`` of them left out behind ``after``."""
        ...

    async def unsettled(self, after: int, limit: int) -> list[InvocationView]:
        """Ended calls of all workspaces whose followers were not issued yet, behind ``after``.

        In order of position. None of functions that had no trigger while the call went on.
        """
        ...

    async def counts(
        self,
        workspace: WorkspaceName,
        midnight: Instant,
        week_ago: Instant,
        *,
        function_id: str | None = None,
        endpoint_id: str | None = None,
    ) -> CallCounts:
        """Of a workspace, a function or an endpoint; those whose records were removed included."""
        ...
