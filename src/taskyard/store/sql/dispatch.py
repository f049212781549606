"""The engine's side of tasks, on SQLite: placing, leases, reports, workers, retention."""

from collections.abc import Sequence
from functools import partial

from taskyard.core.access.principals import AuditEntry
from taskyard.core.attempts import Attempt, Report
from taskyard.core.changes import Cached, Change
from taskyard.core.errors import NotFound, NotLeading
from taskyard.core.ids import (
    AttemptId,
    GroupName,
    IncarnationId,
    LeaseToken,
    PlaneId,
    Term,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import SECOND, Instant
from taskyard.core.scheduling.requirements import ReadyTask
from taskyard.core.states import TaskState
from taskyard.ports.dispatching import (
    LEASE_S,
    Backlog,
    Holder,
    PlacedAttempt,
    Placement,
    Running,
    WorkerLease,
    WorkerRecord,
)
from taskyard.store.sql.access import append_given
from taskyard.store.sql.connection import Connection, Row
from taskyard.store.sql.leadership import ask_leads, check_term
from taskyard.store.sql.parking import guarded, put_aside
from taskyard.store.sql.prune import prune
from taskyard.store.sql.reports import apply_reports, lose_attempt
from taskyard.store.sql.rows import (
    PLAIN_SPEC,
    attempt_of,
    attempt_row,
    readable,
    ready_of,
    requirements_in,
    task_of,
    text,
)
from taskyard.store.sql.submits import assigned, destination
from taskyard.store.sql.timers import run_due
from taskyard.store.sql.transactions import Repository, writes
from taskyard.store.sql.transitions import park_task, stored_task_of
from taskyard.store.sql.worker_rows import details_of, lease_of, worker_of


class SqlDispatch(Repository):
    """Implements ``ports.dispatching.DispatchStore``."""

    async def backlogs(self) -> list[Backlog]:
        """See the port."""
        rows = await self._session.read(lambda c: c.execute("dispatch.backlogs").fetchall())
        return [Backlog(*row) for row in rows]

    async def counts(self) -> dict[tuple[WorkspaceName, TaskState], int]:
        """See the port."""
        rows = await self._session.read(lambda c: c.execute("dispatch.all_counts").fetchall())
        return {(WorkspaceName(w), TaskState(state)): total for w, state, total in rows}

    async def ready(
        self,
        workspace: WorkspaceName,
        group: GroupName,
        after: tuple[int, int] | None,
        limit: int,
    ) -> list[ReadyTask]:
        """See the port."""
        parameters: dict[str, object] = {
            "workspace": workspace,
            "group_name": group,
            "limit": limit,
        }
        sql = "dispatch.ready"
        if after is not None:
            sql = "dispatch.ready_behind"
            parameters["priority"], parameters["seq"] = after
        rows = await self._session.read(lambda c: c.execute(sql, parameters).fetchall())
        return [ready_of(workspace, group, row) for row in rows]

    @writes
    async def place(
        self, placements: Sequence[Placement], now: Instant
    ) -> tuple[list[PlacedAttempt], list[Change]]:
        """See the port."""

        def write(connection: Connection) -> tuple[list[PlacedAttempt], list[Change]]:
            terms = [ask_leads(connection, term) for term in {one.term for one in placements}]
            # All at once, or, where one of them cannot be read, one by one.
            placed: list[PlacedAttempt] = []
            parked: list[Change] = []
            done = guarded(
                connection, counts, partial(self._place_all, connection, placements, now)
            )
            if isinstance(done, list):
                placed = done
            else:
                for one in placements:
                    alone = partial(self._place_all, connection, [one], now)
                    done = guarded(connection, counts, alone)
                    if isinstance(done, list):
                        placed += done
                    else:
                        parked += self._put_aside(connection, one, done, now)
            if any(term is not None and term.fetchone() is None for term in terms):
                raise NotLeading
            return placed, [*(one.change for one in placed), *parked]

        counts = self._session.counts
        return await self._session.write(write)

    def _place_all(
        self, connection: Connection, placements: Sequence[Placement], now: Instant
    ) -> list[PlacedAttempt]:
        # Their rows are locked in one order, so that nobody waits in a circle.
        asked: dict[int, Placement] = {}
        for one in sorted(placements, key=lambda one: one.seq):
            asked.setdefault(one.seq, one)
        rows = connection.change_many(
            "dispatch.place_task",
            [
                (one.attempt_id, one.seq, one.task_id, now, one.worker_id, one.incarnation)
                for one in asked.values()
            ],
        )
        found = {row[0]: row for row in rows}
        placed = [
            self._placed(one, found[one.seq], now)
            for one in placements
            if one.seq in found and asked[one.seq] is one
        ]
        rows = [attempt_row(one.task.seq, one.attempt) for one in placed]
        connection.write_later("dispatch.insert_attempt", rows)
        return placed

    def _put_aside(
        self, connection: Connection, placement: Placement, error: Exception, now: Instant
    ) -> list[Change]:
        """Park a task that cannot be placed."""
        parameters = {"seq": placement.seq}
        workspace, group, state = connection.execute("dispatch.place_of", parameters).fetchone()
        subject = stored_task_of(
            placement.seq, placement.task_id, workspace, state, PLAIN_SPEC, 0, group
        )
        return park_task(connection, self._session.counts, subject, error, now)

    def _placed(self, placement: Placement, row: Row, now: Instant) -> PlacedAttempt:
        """Count and note what was placed; its row is as it was written."""
        task = task_of(row)
        attempt = assigned(placement, task, now, task.attempt_count)
        counts = self._session.counts
        counts.transition(task.workspace, task.spec.group, TaskState.QUEUED, TaskState.RUNNING)
        detail = destination(attempt)
        counts.event(task.seq, "assigned", now, attempt.id, detail=detail, is_held=True)
        spec = task.spec
        counts.recent.keep(attempt, task.seq, spec.group, spec.priority, spec.expires_at, row[3])
        placed = PlacedAttempt(attempt, task)
        if counts.keeps_changes:
            counts.announce(placed.change)
        return placed

    @writes
    async def apply(
        self,
        reports: Sequence[Report],
        now: Instant,
        chances: Sequence[float],
        worker_id: WorkerId | None = None,
    ) -> tuple[list[Change], list[LeaseToken]]:
        """See the port."""

        def write(connection: Connection) -> tuple[list[Change], list[LeaseToken]]:
            counts = self._session.counts
            return apply_reports(connection, counts, reports, now, chances, worker_id)

        return await self._session.write_urgently(write)

    async def next_due(self) -> Instant | None:
        """See the port."""
        (moment,) = await self._session.read(lambda c: c.execute("dispatch.next_due").fetchone())
        return Instant(moment) if moment is not None else None

    @writes
    async def due(self, now: Instant, limit: int, term: Term | None = None) -> list[Change]:
        """See the port."""

        def write(connection: Connection) -> list[Change]:
            check_term(connection, term)
            return run_due(connection, self._session, now, limit)

        return await self._session.write(write)

    @writes
    async def join(self, worker: WorkerRecord, lease_s: float = LEASE_S) -> list[Attempt]:
        """See the port."""

        def write(connection: Connection) -> list[Attempt]:
            connection.execute(
                "dispatch.upsert_worker",
                {
                    "id": worker.id,
                    "incarnation": worker.incarnation,
                    "hostname": worker.hostname,
                    "version": worker.version,
                    "capacity": text(worker.capacity),
                    "runtimes": text(worker.runtimes),
                    "joined_at": worker.joined_at,
                    "beat_at": worker.beat_at,
                    "state": worker.state,
                    "plane_id": worker.plane_id,
                    "details": text(details_of(worker)),
                    "lease": round(lease_s * SECOND),
                },
            )
            parameters = {"worker_id": worker.id, "incarnation": worker.incarnation}
            connection.execute("dispatch.adopt_attempts", parameters)
            rows = connection.execute("tasks.attempts_unended_of", {"worker_id": worker.id})
            return readable(attempt_of, rows.fetchall())

        return await self._session.write_urgently(write)

    @writes
    async def describe(self, worker: WorkerRecord) -> bool:
        """See the port."""
        parameters = {
            "id": worker.id,
            "incarnation": worker.incarnation,
            "runtimes": text(worker.runtimes),
            "details": text(details_of(worker)),
        }

        def write(connection: Connection) -> bool:
            return connection.execute("dispatch.describe_worker", parameters).rowcount == 1

        return await self._session.write(write)

    @writes
    async def renew(
        self, holders: Sequence[Holder], now: Instant, lease_s: float = LEASE_S
    ) -> frozenset[WorkerId]:
        """See the port."""
        parameters = {
            "ids": text(sorted({worker_id for worker_id, _ in holders})),
            "incarnations": text(sorted(incarnation for _, incarnation in holders)),
            "now": now,
            "lease": round(lease_s * SECOND),
        }
        asked = set(holders)

        def write(connection: Connection) -> frozenset[WorkerId]:
            renewed = connection.execute("dispatch.renew_workers", parameters).fetchall()
            return frozenset(WorkerId(row[0]) for row in renewed if (row[0], row[1]) in asked)

        return await self._session.write(write)

    async def leases(self) -> list[WorkerLease]:
        """See the port."""
        rows = await self._session.read(lambda c: c.execute("dispatch.all_leases").fetchall())
        return readable(lease_of, rows)

    @writes
    async def lose(
        self,
        worker_id: WorkerId,
        incarnation: IncarnationId,
        now: Instant,
        *,
        term: Term | None = None,
        only_expired: bool = False,
    ) -> list[Change]:
        """See the port."""
        query = "dispatch.lose_expired_worker" if only_expired else "dispatch.lose_worker"

        def write(connection: Connection) -> list[Change]:
            check_term(connection, term)
            parameters = {"worker_id": worker_id, "incarnation": incarnation}
            if connection.execute(query, parameters).rowcount != 1:
                return []
            rows = connection.execute(
                "tasks.attempts_unended_of", {"worker_id": worker_id}
            ).fetchall()
            changes = []
            for row in rows:
                lose = partial(lose_attempt, connection, counts, row[0], row[6], row[4], now)
                done = guarded(connection, counts, lose)
                if isinstance(done, Exception):
                    put_aside(connection, "attempt", row[0], row[2], done, now)
                elif done is not None:
                    changes.append(done)
            return changes

        counts = self._session.counts

        return await self._session.write_urgently(write)

    async def workers(self) -> list[WorkerRecord]:
        """See the port."""
        rows = await self._session.read(lambda c: c.execute("dispatch.all_workers").fetchall())
        return readable(worker_of, rows)

    @writes
    async def set_draining(
        self, worker_id: WorkerId, *, draining: bool, audit: AuditEntry | None = None
    ) -> WorkerRecord:
        """See the port."""

        def write(connection: Connection) -> WorkerRecord:
            parameters = {"id": worker_id, "draining": int(draining)}
            row = connection.execute("dispatch.set_draining", parameters).fetchone()
            if row is None:
                raise NotFound("worker", worker_id)
            self._session.counts.outdate(Cached.WORKERS)
            append_given(connection, audit)
            return worker_of(row)

        return await self._session.write_urgently(write)

    async def running(self) -> list[Running]:
        """See the port."""

        def read(connection: Connection) -> list[Running]:
            found = []
            rows = connection.execute("tasks.attempts_unended").fetchall()
            for attempt in readable(attempt_of, rows):
                asked = connection.execute("dispatch.group_and_demand", (attempt.task_id,))
                group, requirements = asked.fetchone()
                found.append(
                    Running(attempt, group, requirements_in(requirements, attempt.resources))
                )
            return found

        return await self._session.read(read)

    async def plane_of(self, attempt_id: AttemptId) -> PlaneId | None:
        """See the port."""
        name, values = "dispatch.plane_of_attempt", {"attempt_id": attempt_id}
        row = await self._session.read(lambda c: c.execute(name, values).fetchone())
        return None if row is None else PlaneId(row[0])

    async def holder_of(self, attempt_id: AttemptId) -> WorkerId | None:
        """See the port."""
        name, values = "dispatch.holder_of_attempt", {"attempt_id": attempt_id}
        row = await self._session.read(lambda c: c.execute(name, values).fetchone())
        return None if row is None else WorkerId(row[0])

    async def is_drained(self, worker_id: WorkerId) -> bool:
        """See the port."""
        name, values = "dispatch.draining", {"id": worker_id}
        row = await self._session.read(lambda c: c.execute(name, values).fetchone())
        return row is not None and bool(row[0])

    @writes
    async def prune(
        self,
        now: Instant,
        older_than: Instant | None,
        keep_count: int | None,
        limit: int,
    ) -> tuple[int, list[AttemptId]]:
        """See the port."""
        return await self._session.write_urgently(
            lambda c: prune(c, self._session.counts, now, older_than, keep_count, limit)
        )
