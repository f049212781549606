"""The worker between an engine and its runtimes."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from worker_world import FakeRuntime, World, assignment, attempt

from eventually import eventually_async
from taskyard.core.attempts import Started
from taskyard.core.errors import Unavailable
from taskyard.core.ids import AttemptId, LeaseToken
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.runtime import KillOrder
from taskyard.worker import worker as workers

pytestmark = pytest.mark.anyio

A, B = AttemptId("a"), AttemptId("b")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A world with a worker that was not started yet."""
    world = World(tmp_path)
    await world.transport.serve(world.engine)
    yield world
    await world.worker.stop()


async def test_attempt_goes_all_the_way(world: World) -> None:
    """Assigned, started, ended with its output, stored, released."""
    await world.worker.start()
    await world.worker.assign([assignment("a")])
    assert world.worker.holds(A)
    await eventually_async(lambda: len(world.engine.reports) == 1)
    assert isinstance(world.engine.reports[0], Started)
    world.runtime.end(A)
    await eventually_async(lambda: world.keeper.stored_ids == [A])
    assert world.engine.ends()[0].inline_output == {"stdout": b"word"}
    assert world.runtime.released == [A]
    assert not world.worker.holds(A)


async def test_hello_names_what_is_there(world: World, tmp_path: Path) -> None:
    """Runtimes that are not available are left out; without any the worker does not start."""
    absent = FakeRuntime(available=False)
    world.worker = world.make({"command": world.runtime, "container": absent})
    await world.worker.start()
    assert world.engine.hellos[0].runtimes == ("command",)
    lonely = World(tmp_path / "other").make({"command": absent})
    with pytest.raises(RuntimeUnavailable):
        await lonely.start()


async def test_assigning_twice_starts_once(world: World) -> None:
    """An assignment that is repeated is taken on once."""
    await world.worker.start()
    await world.worker.assign([assignment("a")])
    await world.worker.assign([assignment("a"), assignment("b")])
    await eventually_async(lambda: len(world.engine.reports) == 2)
    assert set(world.runtime.began) == {A, B}


async def test_assignment_that_arrives_after_the_end_starts_nothing(world: World) -> None:
    """An order may be delivered twice, the second time when all is over."""
    await world.worker.start()
    await world.worker.assign([assignment("a")])
    world.runtime.end(A)
    await eventually_async(lambda: not world.worker.holds(A))
    await world.worker.assign([assignment("a"), assignment("b")])
    await eventually_async(lambda: B in [one.attempt_id for one in world.engine.reports])
    began = [one.attempt_id for one in world.engine.reports if isinstance(one, Started)]
    assert began == [A, B]


async def test_reports_gather_while_one_is_under_way(world: World) -> None:
    """One call at a time; what came up meanwhile goes in the next, in order."""
    await world.worker.start()
    world.engine.gate = anyio.Event()
    await world.worker.assign([assignment("first")])
    await anyio.wait_all_tasks_blocked()
    await world.worker.assign([assignment(str(n)) for n in range(20)])
    for n in range(20):
        world.runtime.end(AttemptId(str(n)))
    await eventually_async(lambda: len(world.worker._reporting._ready) == 40)
    world.engine.gate.set()
    await eventually_async(lambda: len(world.engine.reports) == 41)
    assert world.engine.calls == [1, 40]
    kinds = [type(one).__name__ for one in world.engine.reports if one.attempt_id == "7"]
    assert kinds == ["Started", "Ended"]


async def test_reports_are_repeated_until_stored(world: World) -> None:
    """An engine that is away for a moment loses nothing."""
    await world.worker.start()
    world.engine.fail_reports = 3
    await world.worker.assign([assignment("a")])
    world.runtime.end(A)
    await eventually_async(lambda: world.keeper.stored_ids == [A])
    assert world.engine.fail_reports == 0


async def test_end_is_reported_even_if_its_output_cannot_be_read(world: World) -> None:
    """A broken disk does not keep an attempt from ending."""
    await world.worker.start()
    world.keeper.broken = True
    await world.worker.assign([assignment("a")])
    world.runtime.end(A)
    await eventually_async(lambda: len(world.engine.ends()) == 1)
    assert world.engine.ends()[0].inline_output == {}


async def test_an_end_is_reported_once_its_output_is_stored(world: World) -> None:
    """Others do not wait for it; and it is held meanwhile."""
    await world.worker.start()
    world.keeper.to_ship = {A}
    await world.worker.assign([assignment("a"), assignment("b")])
    world.runtime.end(A)
    world.runtime.end(B)
    await eventually_async(lambda: world.keeper.stored_ids == [B])
    assert world.keeper.shipping == [A]
    assert [one.attempt_id for one in world.engine.ends()] == [B]
    assert world.worker.holds(A)
    world.keeper.may_end.set()
    await eventually_async(lambda: world.keeper.stored_ids == [B, A])
    assert not world.worker.holds(A)


async def test_an_end_is_reported_even_if_its_output_cannot_be_stored(world: World) -> None:
    """The output stays where it is, and is looked at again."""
    await world.worker.start()
    world.keeper.to_ship = {A}
    await world.worker.assign([assignment("a")])
    world.runtime.end(A)
    await eventually_async(lambda: world.keeper.shipping == [A])
    world.keeper.broken = True
    world.keeper.may_end.set()
    await eventually_async(lambda: len(world.engine.ends()) == 1)
    assert world.engine.ends()[0].inline_output == {"stdout": b"word"}


async def test_a_worker_that_stops_reports_ends_without_their_output(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a function answered would be lost otherwise; the output is stored at the next start."""
    monkeypatch.setattr(workers, "_FLUSH_TIMEOUT_S", 0.05)
    await world.worker.start()
    world.keeper.to_ship = {A}
    await world.worker.assign([assignment("a")])
    world.runtime.end(A)
    await eventually_async(lambda: world.keeper.shipping == [A])
    await world.worker.stop()
    assert [one.attempt_id for one in world.engine.ends()] == [A]


async def test_output_that_was_being_stored_is_taken_up_after_a_failure(world: World) -> None:
    """The end is neither forgotten nor reported without it."""
    await world.worker.start()
    world.keeper.to_ship = {A}
    await world.worker.assign([assignment("a")])
    world.runtime.end(A)
    await eventually_async(lambda: world.keeper.shipping == [A])
    reporting = world.worker._reporting
    async with anyio.create_task_group() as group:
        assert world.worker._running is not None
        world.worker._running.cancel()
        group.start_soon(reporting.run)
        await eventually_async(lambda: world.keeper.shipping == [A, A])
        assert world.engine.ends() == []
        world.keeper.may_end.set()
        await eventually_async(lambda: len(world.engine.ends()) == 1)
        group.cancel_scope.cancel()


async def test_refused_attempt_is_killed_and_not_settled(world: World) -> None:
    """When the lease is gone the work goes; its output stays where it is."""
    await world.worker.start()
    world.engine.stale = {LeaseToken("lease-a")}
    await world.worker.assign([assignment("a")])
    await eventually_async(lambda: bool(world.runtime.killed))
    assert world.runtime.killed[0].signal == "SIGKILL"
    await eventually_async(lambda: world.runtime.released == [A])
    assert world.keeper.stored_ids == []
    assert not world.worker.holds(A)


async def test_kill_orders_reach_the_runtime(world: World) -> None:
    """Known attempts are killed, unknown ones ignored."""
    await world.worker.start()
    await world.worker.assign([assignment("a")])
    known = KillOrder(A, LeaseToken("lease-a"), "SIGTERM", 3.0)
    await world.worker.kill([KillOrder(B, LeaseToken("x"), "SIGTERM", 3.0), known])
    assert world.runtime.killed == [known]


async def test_start_takes_over_what_the_engine_names(world: World) -> None:
    """Unended attempts are adopted with their handles, others are not wanted any more."""
    world.engine.to_adopt = [attempt("a", {"pid": 7}), attempt("gone")]
    world.engine.assignments = {A: assignment("a")}
    await world.worker.start()
    assert world.runtime.adopted == {A: {"pid": 7}}
    assert world.runtime.kept == [frozenset({A})]
    world.runtime.end(A)
    await eventually_async(lambda: world.keeper.stored_ids == [A])


async def test_fenced_worker_joins_again(world: World) -> None:
    """It comes back as another incarnation and drops what is not its own any more."""
    await world.worker.start()
    await world.worker.assign([assignment("a"), assignment("b")])
    await eventually_async(lambda: len(world.engine.reports) == 2)
    world.engine.to_adopt = [attempt("b")]
    world.engine.assignments = {B: assignment("b")}
    world.engine.fence_next = True
    await eventually_async(lambda: len(world.engine.hellos) == 2)
    await eventually_async(lambda: [order.attempt_id for order in world.runtime.killed] == [A])
    assert world.engine.hellos[0].incarnation != world.engine.hellos[1].incarnation
    assert world.worker.holds(B)
    beats = world.engine.beats
    await eventually_async(lambda: world.engine.beats > beats + 2)


async def test_a_worker_whose_lease_ends_kills_what_it_runs(world: World) -> None:
    """At once, though it cannot join yet; then it comes back as another incarnation."""
    await world.worker.start()
    await world.worker.assign([assignment("a"), assignment("b")])
    await eventually_async(lambda: len(world.engine.reports) == 2)
    world.engine.is_away = True
    world.engine.lapsed = world.engine.hellos[0].incarnation
    await eventually_async(lambda: {one.attempt_id for one in world.runtime.killed} == {A, B})
    assert {(one.signal, one.grace_s) for one in world.runtime.killed} == {("SIGKILL", 0.0)}
    beats = world.engine.beats
    await eventually_async(lambda: world.engine.beats > beats + 2)
    assert len(world.engine.hellos) == 1
    world.engine.is_away = False
    await eventually_async(lambda: len(world.engine.hellos) == 2)
    beats = world.engine.beats
    await eventually_async(lambda: world.engine.beats > beats + 2)
    assert len(world.engine.hellos) == 2


async def test_what_is_assigned_while_it_joins_again_is_kept(world: World) -> None:
    """The engine may place tasks on it before its answer to the join arrives."""
    await world.worker.start()
    await world.worker.assign([assignment("a")])
    await eventually_async(lambda: len(world.engine.reports) == 1)

    async def assign() -> None:
        await world.worker.assign([assignment("b")])

    world.engine.while_joining = assign
    world.engine.fence_next = True
    await eventually_async(lambda: [order.attempt_id for order in world.runtime.killed] == [A])
    await eventually_async(lambda: world.runtime.kept[-1] == frozenset({A, B}))
    assert world.worker.holds(B)
    assert [order.attempt_id for order in world.runtime.killed] == [A]


async def test_work_nobody_can_run_ends(world: World) -> None:
    """An assignment for a runtime that is not there fails at once, for no fault of the task."""
    world.worker = world.make({"container": world.runtime})
    await world.worker.start()
    await world.worker.assign([assignment("a")])
    await eventually_async(lambda: len(world.engine.ends()) == 1)
    ended = world.engine.ends()[0]
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.RUNTIME_TROUBLE)


async def test_attempt_without_a_directory_ends(world: World, tmp_path: Path) -> None:
    """A disk that takes no directory is the machine's trouble."""
    await world.worker.start()
    (tmp_path / "attempts" / ".spare").rmdir()
    (tmp_path / "attempts").rmdir()
    await world.worker.assign([assignment("a")])
    await eventually_async(lambda: len(world.engine.ends()) == 1)
    assert world.engine.ends()[0].reason is Reason.RUNTIME_TROUBLE


async def test_stop_delivers_and_leaves_work_alone(world: World) -> None:
    """Stopping accepts nothing, flushes reports, kills nobody, and tolerates repetition."""
    await world.worker.start()
    await world.worker.start()
    await world.worker.assign([assignment("a"), assignment("b")])
    world.runtime.end(A)
    await world.worker.stop()
    assert [ended.attempt_id for ended in world.engine.ends()] == [A]
    assert world.runtime.killed == []
    assert world.runtime.closed == 1
    with pytest.raises(Unavailable):
        await world.worker.assign([assignment("c")])
    await world.worker.stop()
    await world.worker.start()
    assert len(world.engine.hellos) == 2


async def test_a_worker_that_breaks_down_begins_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It joins again, keeps what it holds, and reports what it was about to report."""
    breaks_down, broken = anyio.Event(), 0

    async def run() -> None:
        nonlocal broken
        await breaks_down.wait()
        broken += 1
        if broken < 3:
            raise LookupError("a defect")
        await anyio.sleep_forever()

    monkeypatch.setattr(world.worker._runtimes, "run", run)
    await world.worker.start()
    await world.worker.assign([assignment("a")])
    await eventually_async(lambda: len(world.engine.reports) == 1)
    world.engine.to_adopt = [attempt("a")]
    world.engine.gate = anyio.Event()
    world.runtime.end(A)
    await eventually_async(lambda: world.worker._reporting._delivering)
    breaks_down.set()
    await eventually_async(lambda: broken == 3)
    assert world.worker.is_running
    world.engine.gate.set()
    await eventually_async(lambda: world.keeper.stored_ids == [A])
    assert len(world.engine.hellos) == 3
    assert not world.worker.holds(A)
