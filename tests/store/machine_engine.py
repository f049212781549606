# ruff: noqa: D102 - rules tell by their names; ``shell`` is a member of a specification
"""What the engine does to the store."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from machine_base import MachineBase, by_id
from machine_inputs import (
    ENDS,
    INDEX,
    SPECS,
    WORKERS,
)

from taskyard.core.attempts import Ended, KillReport, Report, Started, StreamSize, Usage
from taskyard.core.ids import (
    AttemptId,
    IncarnationId,
    LeaseToken,
    TaskId,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import after
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.core.tasks import TaskSpec
from taskyard.ports.dispatching import Placement, WorkerRecord


class EngineRules(MachineBase):
    """Placements, reports, time, workers, retention, restarts."""

    @rule(
        picks=st.lists(INDEX, min_size=1, max_size=4),
        worker=WORKERS,
        stale=st.sampled_from([False] * 7 + [True]),
    )
    def place(self, picks: list[int], worker: WorkerId, stale: bool) -> None:
        placements = []
        queued = [t for t in self.model.tasks.values() if t.state is TaskState.QUEUED]
        for index in picks:
            _, task_id = self.pick(index)
            task = next((t for t in self.model.tasks.values() if t.id == task_id), None)
            if queued and index % 8 != 7:
                task = queued[index % len(queued)]
                task_id = task.id
            seq = task.seq if task is not None else 10_000 + index
            placements.append(self.placement(task_id, seq, worker, stale=stale))
        placed, _ = self.both(
            self.store.dispatch.place(placements, self.now),
            lambda: self.model.place(placements, self.now),
        )
        self.issued += [(one.attempt.id, one.attempt.lease_token) for one in placed]

    @rule(
        spec=SPECS,
        expires=st.none() | st.integers(-1, 4),
        worker=WORKERS,
        stale=st.sampled_from([False] * 7 + [True]),
    )
    def submit_placed(
        self, spec: TaskSpec, expires: int | None, worker: WorkerId, stale: bool
    ) -> None:
        new = self.new(WorkspaceName("a"), spec, None, expires)
        chosen = self.placement(new.id, 0, worker, stale=stale)
        stored = self.both(
            self.store.tasks.submit_placed(new, "token ci", chosen),
            lambda: self.model.submit_placed(new, "token ci", chosen),
        )
        self.note([new])
        if stored.attempt is not None:
            self.issued.append((chosen.attempt_id, chosen.lease_token))

    def placement(self, task_id: TaskId, seq: int, worker: WorkerId, *, stale: bool) -> Placement:
        """A decision to have a worker run a task; ``stale`` means an earlier life of it."""
        record = self.model.workers.get(worker)
        incarnation = record.incarnation if record is not None and not stale else "gone"
        number = self.fresh()
        return Placement(
            task_id=task_id,
            seq=seq,
            attempt_id=AttemptId(f"attempt-{number}"),
            lease_token=LeaseToken(f"lease-{number}"),
            lease_expires_at=after(self.now, 10),
            worker_id=worker,
            incarnation=IncarnationId(incarnation),
        )

    def lease(self, index: int, *, forged: bool) -> tuple[AttemptId, LeaseToken]:
        if not self.issued:
            return AttemptId("none"), LeaseToken("none")
        running = self.model.running()
        if running and index % 4 != 3:
            attempt = running[index % len(running)]
            return attempt.id, LeaseToken("forged") if forged else attempt.lease_token
        attempt_id, token = self.issued[-1 - index % len(self.issued)]
        return attempt_id, LeaseToken("forged") if forged else token

    @precondition(lambda self: self.model.held)
    @rule(index=INDEX, forged=st.sampled_from([False] * 7 + [True]), end=st.none() | ENDS)
    def report(
        self,
        index: int,
        forged: bool,
        end: tuple[AttemptState, Reason | None, int | None] | None,
    ) -> None:
        attempt_id, token = self.lease(index, forged=forged)
        report: Report
        if end is None:
            report = Started(attempt_id, token, self.now, {"pid": 7})
        else:
            state, reason, code = end
            killed = KillReport(self.now, self.now) if state is AttemptState.KILLED else None
            report = Ended(
                attempt_id,
                token,
                self.now,
                state,
                started_at=self.now,
                reason=reason,
                message="said so" if reason is not None else None,
                exit_code=code,
                kill_report=killed,
                usage=Usage(0.5, 0.25, 1 << 20) if code == 0 else None,
                stdout=StreamSize(3),
                inline_output={"stdout": b"a\0b"},
            )
        self.reports.append(report)
        self.apply([report])

    @precondition(lambda self: self.reports)
    @rule(index=INDEX, count=st.integers(1, 3))
    def report_again(self, index: int, count: int) -> None:
        """Answers get lost, and workers repeat themselves."""
        start = index % len(self.reports)
        self.apply(self.reports[start : start + count])

    def apply(self, reports: list[Report]) -> None:
        chances = [0.25] * len(reports)
        self.both(
            self.store.dispatch.apply(reports, self.now, chances),
            lambda: self.model.apply(reports, self.now, chances),
        )

    @rule(seconds=st.sampled_from([0.000001, 1, 30, 60, 3600, 90000]))
    def pass_time(self, seconds: float) -> None:
        self.now = after(self.now, seconds)

    @rule()
    def turn_clock_back(self) -> None:
        self.now = after(self.now, -1800)

    @rule(limit=st.sampled_from([1, 3, 500]))
    def due(self, limit: int) -> None:
        changes = self.both(
            self.store.dispatch.due(self.now, limit), lambda: self.model.due(self.now, limit)
        )
        for change in changes:
            if change.kind == "fired":
                task = self.model.tasks[change.seq]
                firing = (str(task.schedule_id), int(task.due_at or 0))
                assert firing not in self.fired
                self.fired.add(firing)
        self.note_fired()

    @rule()
    def due_until_done(self) -> None:
        for _ in range(100):
            before = len(self.model.tasks)
            self.due(500)
            next_due = self.run(self.store.dispatch.next_due())
            if next_due is None or next_due > self.now:
                return
            assert len(self.model.tasks) > before or next_due is not None
        raise AssertionError("time never gets done")

    @rule(worker=WORKERS)
    def join(self, worker: WorkerId) -> None:
        record = WorkerRecord(
            id=worker,
            incarnation=IncarnationId(f"life-{self.fresh()}"),
            hostname="h",
            version="1",
            capacity=Capacity(4, 4000, 8 << 30),
            runtimes=("command",),
            joined_at=self.now,
            beat_at=self.now,
        )
        got = self.run(self.store.dispatch.join(record))
        assert by_id(got) == by_id(self.model.join(record))

    @rule(worker=WORKERS, draining=st.booleans())
    def drain(self, worker: WorkerId, draining: bool) -> None:
        if worker in self.model.workers:
            got = self.run(self.store.dispatch.set_draining(worker, draining=draining))
            assert got == self.model.set_draining(worker, draining=draining)
            assert self.run(self.store.dispatch.is_drained(worker)) == draining

    def incarnation(self, worker: WorkerId, *, stale: bool) -> IncarnationId:
        record = self.model.workers.get(worker)
        return IncarnationId("gone") if record is None or stale else record.incarnation

    @rule(worker=WORKERS, stale=st.booleans())
    def renew(self, worker: WorkerId, stale: bool) -> None:
        incarnation = self.incarnation(worker, stale=stale)
        holders = [(worker, incarnation)]
        self.both(
            self.store.dispatch.renew(holders, self.now, 10.0),
            lambda: self.model.renew(holders, self.now, 10.0),
        )

    @rule(worker=WORKERS, stale=st.sampled_from([False, False, True]))
    def lose(self, worker: WorkerId, stale: bool) -> None:
        incarnation = self.incarnation(worker, stale=stale)
        got = self.run(self.store.dispatch.lose(worker, incarnation, self.now))
        wanted = self.model.lose(worker, incarnation, self.now)
        assert sorted(got, key=lambda c: c.seq) == sorted(wanted, key=lambda c: c.seq)

    @precondition(lambda self: self.model.running())
    @rule(index=INDEX, restarts=st.booleans(), end=st.none() | ENDS)
    def report_after_the_loss(
        self,
        index: int,
        restarts: bool,
        end: tuple[AttemptState, Reason | None, int | None] | None,
    ) -> None:
        """A worker that was taken for dead speaks up."""
        running = self.model.running()
        attempt = running[index % len(running)]
        self.lose(attempt.worker_id, stale=False)
        if restarts:
            self.restart()
        report: Report = Started(attempt.id, attempt.lease_token, self.now)
        if end is not None:
            report = Ended(attempt.id, attempt.lease_token, self.now, end[0], reason=end[1])
        self.apply([report])

    @rule(
        age=st.none() | st.sampled_from([0, 60, 3600]),
        keep=st.none() | st.integers(0, 3),
        limit=st.sampled_from([1, 2, 200]),
    )
    def prune(self, age: int | None, keep: int | None, limit: int) -> None:
        older_than = after(self.now, -age) if age is not None else None
        surplus = self.model.prune_count(self.now, older_than, keep)
        before = set(self.model.tasks)
        removed, attempts = self.run(self.store.dispatch.prune(self.now, older_than, keep, limit))
        left = {task.seq for task in self.everything()[0]}
        gone = before - left
        assert removed == len(gone) == min(limit, sum(surplus.values()))
        for workspace, most in surplus.items():
            mine = [seq for seq in self.model.oldest_ended(workspace) if seq in gone]
            assert len(mine) <= most
            ends = [self.model.tasks[seq].finished_at or 0 for seq in mine]
            kept = [
                self.model.tasks[seq].finished_at or 0
                for seq in self.model.oldest_ended(workspace)
                if seq not in gone
            ]
            assert not ends or not kept or max(ends) <= min(kept)
        assert set(attempts) == self.model.pruned(gone)
        self.forget()

    @rule()
    def restart(self) -> None:
        self.runner.run(self.store.close())
        self.store = self.opened()
        self.model.restart()
