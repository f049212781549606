"""Function invocations on SQLite: each is stored together with its task."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from taskyard.core.changes import Change
from taskyard.core.errors import Conflict, NotFound, TaskyardError
from taskyard.core.functions.functions import FunctionId, Limits
from taskyard.core.functions.invocations import (
    Allowance,
    AllowanceSpent,
    CallCounts,
    CallOrigin,
    Invocation,
    InvocationView,
)
from taskyard.core.functions.resources import Schedule
from taskyard.core.ids import TaskId, Term, WorkerId, WorkspaceName
from taskyard.core.instants import DAY, Instant
from taskyard.core.states import Reason, TaskState
from taskyard.ports.dispatching import Placement
from taskyard.ports.function_resources import NewInvocation
from taskyard.ports.store import Submitted
from taskyard.store.sql.connection import Connection, Row
from taskyard.store.sql.leadership import check_term
from taskyard.store.sql.locks import lock_name
from taskyard.store.sql.parking import readmit
from taskyard.store.sql.rows import text
from taskyard.store.sql.submits import Submit
from taskyard.store.sql.tasks import SqlTasks
from taskyard.store.sql.transactions import Repository, Session, writes

_limits: Final = msgspec.json.Decoder(Limits).decode
_NO_LIMIT: Final = 2**62


class SqlInvocations(Repository):
    """Implements ``ports.function_resources.InvocationStore``."""

    def __init__(self, session: Session, tasks: SqlTasks) -> None:
        super().__init__(session)
        self._tasks = tasks

    async def check(self, allowances: Sequence[Allowance]) -> None:
        """See the port."""

        def read(connection: Connection) -> None:
            for one in allowances:
                _check(connection, one)

        await self._session.read(read)

    @writes
    async def issue(self, issue: NewInvocation, placement: Placement | None = None) -> Submitted:
        """See the port."""
        return await self._session.write(
            lambda connection: self._store(connection, issue, placement)
        )

    @writes
    async def use_once(self, name: str, until: str, today: str) -> bool:
        """See the port."""

        def write(connection: Connection) -> bool:
            connection.execute("endpoints.forget_used", {"today": today})
            values = {"name": name, "until": until}
            return bool(connection.execute("endpoints.use_once", values).rowcount)

        return await self._session.write(write)

    @writes
    async def fire(
        self,
        schedule: Schedule,
        was: Instant,
        to: Instant | None,
        issue: NewInvocation | None,
        term: Term | None = None,
    ) -> Change | None:
        """See the port."""

        def write(connection: Connection) -> Change | None:
            check_term(connection, term)
            values = {
                "id": schedule.id,
                "workspace": schedule.workspace,
                "was": was,
                "to": to,
            }
            if not connection.execute("endpoints.move_due", values).rowcount:
                return None
            readmit(connection, "schedule", schedule.id)
            if issue is None:
                return None
            return next(iter(self._store_allowed(connection, [issue])), None)

        return await self._session.write(write)

    @writes
    async def complete(
        self, call_id: str, issues: Sequence[NewInvocation], term: Term | None = None
    ) -> list[Change]:
        """See the port."""

        def write(connection: Connection) -> list[Change]:
            check_term(connection, term)
            if not connection.execute("endpoints.settle", {"id": call_id}).rowcount:
                return []
            return self._store_allowed(connection, issues)

        return await self._session.write(write)

    async def view(self, call_id: str) -> InvocationView:
        """See the port."""
        values = {"id": call_id}
        row = await self._session.read(
            lambda c: c.execute("endpoints.call_by_id", values).fetchone()
        )
        if row is None:
            raise NotFound("call", call_id)
        return _view(row)

    async def views(
        self,
        workspace: WorkspaceName,
        function_id: str | None,
        *,
        after: InvocationView | None,
        offset: int,
        limit: int,
    ) -> list[InvocationView]:
        """See the port."""
        values = {
            "workspace": workspace,
            "function_id": function_id,
            "issued_at": after.call.issued_at if after else -1,
            "seq": after.seq if after else 0,
            "offset": offset,
            "limit": limit,
        }
        sql = "endpoints.calls_of_workspace"
        if function_id is not None:
            sql = "endpoints.calls_of_function"
        rows = await self._session.read(lambda c: c.execute(sql, values).fetchall())
        return [_view(row) for row in rows]

    async def unsettled(self, after: int, limit: int) -> list[InvocationView]:
        """See the port."""
        values = {"after": after, "limit": limit}
        rows = await self._session.read(
            lambda c: c.execute("endpoints.unsettled_calls", values).fetchall()
        )
        return [_view(row) for row in rows]

    async def counts(
        self,
        workspace: WorkspaceName,
        midnight: Instant,
        week_ago: Instant,
        *,
        function_id: str | None = None,
        endpoint_id: str | None = None,
    ) -> CallCounts:
        """See the port."""
        values = {
            "workspace": workspace,
            "function_id": function_id,
            "endpoint_id": endpoint_id,
        }
        since, scope = "endpoints.calls_since", f"workspace:{workspace}"
        if endpoint_id is not None:
            since, scope = "endpoints.calls_since_of_endpoint", f"endpoint:{endpoint_id}"
        elif function_id is not None:
            since, scope = "endpoints.calls_since_of_function", f"function:{function_id}"
        removed = {
            "scope": f"removed:{scope}",
            "today": f"{midnight // DAY:05d}",
            # A day of which only a part belongs to the week is left out: the part is not known.
            "week": f"{-(-week_ago // DAY):05d}",
        }

        def read(connection: Connection) -> CallCounts:
            def count(sql: str, **more: int) -> int:
                return int(connection.execute(sql, {**values, **more}).fetchone()[0])

            today, week, total = connection.execute("endpoints.removed_calls", removed).fetchone()
            return CallCounts(
                today=today + count(since, since=midnight),
                week=week + count(since, since=week_ago),
                open=count("endpoints.calls_open"),
                total=total + count(since, since=0),
            )

        return await self._session.read(read)

    def _store_allowed(
        self, connection: Connection, issues: Sequence[NewInvocation]
    ) -> list[Change]:
        """Store these invocations, except those whose allowance is used up."""
        changes = []
        for one in issues:
            before = self._session.counts.savepoint()
            connection.savepoint("call")
            try:
                changes.append(self._store(connection, one).change(one.task))
            except AllowanceSpent:
                connection.undo("call")
                self._session.counts.restore(before)
            else:
                connection.release("call")
        return changes

    def _store(
        self, connection: Connection, issue: NewInvocation, placement: Placement | None = None
    ) -> Submitted:
        """Store an invocation with its task, inside a transaction."""
        for one in issue.allowances:
            _check(connection, one)
        for one in sorted(issue.allowances, key=lambda one: one.key):
            _spend(connection, one)
        new, call = issue.task, issue.call
        (outcome,) = self._tasks.submit_all(connection, [Submit((new,), issue.actor, placement)])
        if isinstance(outcome, TaskyardError):
            raise outcome
        (stored,) = outcome
        values: dict[str, Any] = {
            "seq": stored.seq,
            "id": call.id,
            "workspace": call.workspace,
            "function_id": call.function_id,
            "issued_at": call.issued_at,
            "endpoint_id": call.origin.endpoint_id,
            "trigger_id": call.origin.trigger_id,
            "schedule_id": call.origin.schedule_id,
            "links": call.origin.links,
            "limits": text(call.limits),
        }
        lock_name(connection, "calls", call.function_id, shared=True)
        # A task that an idempotency key stands for belongs to another call, or to none.
        if not stored.created or not connection.execute("endpoints.insert_call", values).rowcount:
            raise Conflict(f"call {call.id} or its task is there already; issue it under a new id")
        return stored


def _check(connection: Connection, allowance: Allowance) -> None:
    counter = {"key": allowance.key, "period": allowance.period}
    row = connection.execute("endpoints.counter", counter).fetchone()
    if allowance.limit is not None and (row[0] if row else 0) >= allowance.limit:
        raise AllowanceSpent(allowance)


def _spend(connection: Connection, allowance: Allowance) -> None:
    """Count one more, unless the limit is reached: the statement that counts looks at it."""
    limit = _NO_LIMIT if allowance.limit is None else allowance.limit
    counter = {"key": allowance.key, "period": allowance.period, "most": limit}
    if not connection.execute("endpoints.count_up", counter).rowcount:
        raise AllowanceSpent(allowance)


def _view(row: Row) -> InvocationView:
    call = Invocation(
        id=row[1],
        workspace=WorkspaceName(row[2]),
        function_id=FunctionId(row[3]),
        issued_at=Instant(row[4]),
        origin=CallOrigin(row[5], row[6], row[7], row[8]),
        limits=_limits(row[9]),
    )
    return InvocationView(
        call=call,
        seq=row[0],
        task_id=TaskId(row[10]),
        state=TaskState(row[11]),
        reason=None if row[12] is None else Reason(row[12]),
        message=row[13],
        finished_at=row[14],
        assigned_at=row[15],
        worker_id=None if row[16] is None else WorkerId(row[16]),
        started=bool(row[17]),
        fraction=row[18] or 0.0,
        status=row[19],
    )
