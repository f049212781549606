"""Workers on other machines at one control plane: judged by their leases, believed in nothing."""

from collections.abc import AsyncIterator

import anyio
import pytest
from joined_world import JoinedWorld, counting
from msgspec.structs import replace

from fakes.worker import FakeWorker
from taskyard.core.attempts import Ended, KillReport, Started
from taskyard.core.availability import RuntimeStatus
from taskyard.core.errors import InvalidInput, NotAuthenticated, Unavailable
from taskyard.core.ids import IncarnationId, WorkerId
from taskyard.core.instants import Instant, after
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState
from taskyard.ports.dispatching import JOINED, LEASE_S
from taskyard.ports.transport import Heartbeat, Hello, LeaseState
from taskyard.services.scheduling.hearing import JUDGES_AFTER_S

pytestmark = pytest.mark.anyio

FAR = WorkerId("far")


@pytest.fixture
async def world() -> AsyncIterator[JoinedWorld]:
    """A control plane that has been connected for long enough to judge."""
    world = JoinedWorld()
    async with world.running():
        await world.advance(JUDGES_AFTER_S)
        yield world


@pytest.fixture
async def plane() -> AsyncIterator[JoinedWorld]:
    """One of several control planes: what is stored decides."""
    world = JoinedWorld(is_only_plane=False)
    async with world.running():
        await world.advance(JUDGES_AFTER_S)
        yield world


def _hello(incarnation: str = "x1") -> Hello:
    return Hello(
        FAR, IncarnationId(incarnation), "host", "1", Capacity(1, 1000, 1 << 30), ("command",)
    )


async def test_runs_and_reports(world: JoinedWorld) -> None:
    """As any other worker; it is known to live beside no plane."""
    worker = await world.far()
    task = await world.submit()
    (assignment,) = worker.assigned
    await worker.start(assignment.attempt_id)
    await worker.end(assignment.attempt_id)
    assert await world.state(task.id) == "succeeded"
    ((record, _),) = world.dispatch.workers()
    assert record.plane_id == JOINED
    assert world.places.joined_life(FAR) == worker.incarnation


async def test_silence_is_judged_by_the_lease(world: JoinedWorld) -> None:
    """It gets nothing new soon, and is given up when its lease is over, in under twelve seconds."""
    worker = await world.far()
    first = await world.submit()
    assert len(worker.assigned) == 1
    worker.silent = True
    await world.advance(4)
    assert await world.state(first.id) == "running"
    other = await world.far("other", 2)
    await world.submit()
    assert len(other.assigned) == 1
    await world.advance(LEASE_S - 4.5)
    assert await world.state(first.id) == "running"
    assert len(other.assigned) == 1
    await world.advance(2)
    assert [one.task_id for one in other.assigned][-1] == first.id
    attempts = await world.store.tasks.attempts(first.workspace, first.id)
    assert attempts[0].state is AttemptState.LOST


async def test_quiet_worker_gets_work_again_once_it_is_heard(world: JoinedWorld) -> None:
    """Without joining again."""
    worker = await world.far()
    worker.silent = True
    await world.advance(4)
    task = await world.submit()
    assert worker.assigned == []
    before, worker.silent = worker.incarnation, False
    await world.advance(2)
    assert [one.task_id for one in worker.assigned] == [task.id]
    assert worker.incarnation == before


async def test_nobody_is_judged_while_nats_is_away(world: JoinedWorld) -> None:
    """Nor for a while after, until all can have been heard; nothing is placed there meanwhile."""
    worker = await world.far()
    running = await world.submit()
    world.is_connected = False
    worker.silent = True
    await world.advance(120)
    queued = await world.submit()
    assert len(worker.assigned) == 1
    assert await world.state(running.id) == "running"
    world.is_connected, world.connects = True, 2
    await world.advance(JUDGES_AFTER_S - 1)
    assert await world.state(running.id) == "running"
    worker.silent = False
    await world.advance(4)
    await worker.end(worker.assigned[0].attempt_id)
    await world.advance(1)
    assert await world.state(running.id) == "succeeded"
    assert [one.task_id for one in worker.assigned] == [running.id, queued.id]


async def test_who_never_comes_back_is_judged_after_nats_is_there(world: JoinedWorld) -> None:
    """Not spared forever."""
    worker = await world.far()
    running = await world.submit()
    worker.silent = True
    world.is_connected = False
    await world.advance(60)
    world.is_connected, world.connects = True, 2
    await world.advance(JUDGES_AFTER_S + 2)
    assert await world.state(running.id) == "queued"


async def test_heartbeats_are_gathered(plane: JoinedWorld) -> None:
    """A statement for all that came within a quarter of a second."""
    for number in range(20):
        await plane.far(f"far-{number}")
    counts = counting(plane.store)
    await plane.advance(10)
    assert sum(counts) >= 200
    assert len([one for one in counts if one]) <= 22


async def test_lapsed_life_is_given_up_at_once(world: JoinedWorld) -> None:
    """What it stopped runs elsewhere before it has work again."""
    worker = await world.far()
    task = await world.submit()
    lapsed = worker.incarnation
    attempts = await world.joined.joined(FAR, _hello(), [lapsed])
    await world.complete()
    assert attempts == []
    states = [one.state for one in await world.store.tasks.attempts(task.workspace, task.id)]
    assert states[0] is AttemptState.LOST


async def test_joining_again_keeps_what_runs(world: JoinedWorld) -> None:
    """Its leases are the same."""
    worker = await world.far()
    task = await world.submit()
    held = dict(worker.held)
    attempts = await worker.join()
    assert [one.id for one in attempts] == list(held)
    assert worker.held == held
    assert await world.state(task.id) == "running"


async def _beat(world: JoinedWorld, worker_id: WorkerId, incarnation: str) -> LeaseState:
    found: list[LeaseState] = []

    async def beat() -> None:
        now = world.clock.now()
        said = Heartbeat(worker_id, IncarnationId(incarnation), now)
        found.append(await world.joined.beat(worker_id, said))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beat)
        await world.advance(1)
    return found[0]


async def test_replaced_life_is_told_apart_from_a_fenced_one(plane: JoinedWorld) -> None:
    """The one has a rival; the other has only to join again."""
    first = await plane.far()
    before = first.incarnation
    first.silent = True
    await plane.joined.joined(FAR, _hello("x2"), [])
    assert await _beat(plane, FAR, before) is LeaseState.REPLACED
    assert await _beat(plane, FAR, "x2") is LeaseState.HELD
    await plane.store.dispatch.lose(FAR, IncarnationId("x2"), plane.clock.now())
    assert await _beat(plane, FAR, "x2") is LeaseState.FENCED
    assert await _beat(plane, WorkerId("nobody"), "x3") is LeaseState.FENCED


async def test_two_lives_in_one_statement(plane: JoinedWorld) -> None:
    """Only the present one holds."""
    plane.tags[FAR] = ()
    await plane.joined.joined(FAR, _hello("x1"), [])
    await plane.joined.joined(FAR, _hello("x2"), [])
    found: dict[str, LeaseState] = {}

    async def beat(life: str) -> None:
        said = Heartbeat(FAR, IncarnationId(life), plane.clock.now())
        found[life] = await plane.joined.beat(FAR, said)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beat, "x1")
        tasks.start_soon(beat, "x2")
        await plane.advance(1)
    assert found == {"x1": LeaseState.REPLACED, "x2": LeaseState.HELD}


async def test_beats_are_not_answered_before_they_are_stored(plane: JoinedWorld) -> None:
    """A store that fails fails them; the worker counts on nothing then."""
    worker = await plane.far()

    async def away(*_: object) -> frozenset[WorkerId]:
        raise Unavailable("the store is away")

    plane.store.dispatch.renew = away
    with pytest.raises(Unavailable):
        await _unpacked(_beat(plane, FAR, worker.incarnation))


async def test_the_only_plane_answers_without_its_store(world: JoinedWorld) -> None:
    """It is the judge, and hears: a store that stands still stops nothing that runs."""
    worker = await world.far()

    async def away(*_: object) -> frozenset[WorkerId]:
        raise Unavailable("the store is away")

    world.store.dispatch.renew = away
    assert await _beat(world, FAR, worker.incarnation) is LeaseState.HELD
    await world.joined.joined(FAR, _hello("x2"), [])
    with pytest.raises(Unavailable):
        await _unpacked(_beat(world, FAR, worker.incarnation))


async def _unpacked(call: object) -> None:
    try:
        await call  # type: ignore[misc]
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def test_only_valid_credentials_join(world: JoinedWorld) -> None:
    """With the tags of the credential, and those it says it has."""
    with pytest.raises(NotAuthenticated):
        await world.joined.joined(FAR, _hello(), [])
    world.tags[FAR] = ("gpu",)
    await world.joined.joined(FAR, replace(_hello(), tags=("big", "gpu")), [])
    ((record, _),) = world.dispatch.workers()
    assert record.tags == ("gpu", "big")


async def test_a_worker_is_who_it_is(world: JoinedWorld) -> None:
    """Whatever name it says."""
    world.tags[FAR] = ()
    await world.joined.joined(FAR, replace(_hello(), worker_id=WorkerId("local")), [])
    assert [record.id for record, _ in world.dispatch.workers()] == ["far"]


@pytest.mark.parametrize(
    "hello",
    [
        replace(_hello(), capacity=Capacity(-1, 1, 1)),
        replace(_hello(), capacity=Capacity(1, 1, 1 << 63)),
        replace(_hello(), hostname="h" * 300),
        replace(_hello(), incarnation=IncarnationId("")),
        replace(_hello(), tags=tuple(map(str, range(1000)))),
    ],
)
async def test_odd_greetings_are_refused(world: JoinedWorld, hello: Hello) -> None:
    """Before they are stored."""
    world.tags[FAR] = ()
    with pytest.raises(InvalidInput):
        await world.joined.joined(FAR, hello, [])


async def test_reports_about_what_others_hold_are_refused(world: JoinedWorld) -> None:
    """Though the lease is right; the attempt goes on."""
    worker = await world.far()
    await world.far("thief")
    task = await world.submit()
    holder = next(one for one in world.transport.workers.values() if one.assigned)
    (assignment,) = holder.assigned
    thief = WorkerId("thief") if holder is worker else FAR
    report = Ended(
        assignment.attempt_id, assignment.lease_token, Instant(0), AttemptState.SUCCEEDED
    )
    now = world.clock.now()
    assert await world.joined.report(thief, [report], now) == [assignment.lease_token]
    assert await world.state(task.id) == "running"
    (attempt,) = await world.store.tasks.attempts(task.workspace, task.id)
    assert await world.joined.resolve(thief, attempt) is None
    assert await world.joined.resolve(holder.id, attempt) is not None


async def test_what_is_to_be_adopted_is_read_again(world: JoinedWorld) -> None:
    """A worker gets nothing by making up an attempt."""
    worker = await world.far()
    task = await world.submit()
    (attempt,) = await world.store.tasks.attempts(task.workspace, task.id)
    forged = replace(attempt, lease_token=attempt.lease_token + "x", task_id=task.id)
    resolved = await world.joined.resolve(worker.id, forged)
    assert resolved is not None
    assert resolved.lease_token == attempt.lease_token
    await worker.end(attempt.id)
    assert await world.joined.resolve(worker.id, attempt) is None


async def _reported(world: JoinedWorld, worker: FakeWorker, off_s: float) -> tuple[int, int]:
    """Seconds from now at which a run from 3 s ago to 1 s ago is stored, by a clock that is off."""
    task = await world.submit()
    assignment = worker.assigned[-1]
    now = world.clock.now()
    theirs = after(now, off_s)
    killed = KillReport(after(theirs, -2), after(theirs, -1), "SIGTERM")
    ended = Ended(
        assignment.attempt_id,
        assignment.lease_token,
        after(theirs, -1),
        AttemptState.SUCCEEDED,
        started_at=after(theirs, -3),
        kill_report=killed,
    )
    await world.joined.report(worker.id, [ended], theirs)
    worker.held.clear()
    await world.complete()
    (attempt,) = await world.store.tasks.attempts(task.workspace, task.id)
    assert attempt.started_at is not None
    assert attempt.finished_at is not None
    return round((attempt.started_at - now) / 1e6), round((attempt.finished_at - now) / 1e6)


@pytest.mark.parametrize("off_s", [0.0, 3600.0, -3600.0, 1e9])
async def test_times_are_by_our_clock(world: JoinedWorld, off_s: float) -> None:
    """Whatever the worker's clock says."""
    worker = await world.far()
    assert await _reported(world, worker, off_s) == (-3, -1)


async def test_nothing_ends_in_the_future(world: JoinedWorld) -> None:
    """Of a worker that makes up its times."""
    worker = await world.far()
    task = await world.submit()
    (assignment,) = worker.assigned
    now = world.clock.now()
    at = after(now, 1e12)
    ended = Ended(assignment.attempt_id, assignment.lease_token, at, AttemptState.SUCCEEDED)
    await world.joined.report(worker.id, [ended], now)
    (attempt,) = await world.store.tasks.attempts(task.workspace, task.id)
    assert attempt.finished_at == now


async def test_handles_that_cannot_be_shown_are_dropped(world: JoinedWorld) -> None:
    """They are read whenever the task is."""
    worker = await world.far()
    task = await world.submit()
    (assignment,) = worker.assigned
    now = world.clock.now()
    handle = {"confinement": {"user": 5, "isolation": "moon"}, "pid": 1}
    started = Started(assignment.attempt_id, assignment.lease_token, now, handle)
    await world.joined.report(worker.id, [started], now)
    (attempt,) = await world.store.tasks.attempts(task.workspace, task.id)
    assert attempt.handle == {}


async def test_statuses_reach_the_scheduler(world: JoinedWorld) -> None:
    """A runtime that is gone gets nothing."""
    worker = await world.far()
    worker.statuses = {"command": RuntimeStatus(available=False, reason="broken")}
    await world.advance(2)
    task = await world.submit()
    assert await world.state(task.id) == "queued"
    worker.statuses = {"command": RuntimeStatus()}
    await world.advance(2)
    assert await world.state(task.id) == "running"
