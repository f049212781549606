"""What workers may call: joining, beating, reporting, asking what to adopt."""

from collections.abc import AsyncIterator

import anyio
import pytest

from fakes.engine import CALLER, World
from fakes.faults import Stall
from taskyard.core.attempts import Ended
from taskyard.core.errors import StaleLease, Unavailable
from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken
from taskyard.core.states import AttemptState
from taskyard.core.tasks import Command, SecretRef, environment_of
from taskyard.ports.dispatching import LEASE_S
from taskyard.ports.transport import Heartbeat
from taskyard.services.scheduling.leases import RENEW_EVERY_S

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Running services without a worker."""
    world = World()
    async with world.running():
        yield world


async def test_a_joining_worker_is_told_what_it_should_hold(world: World) -> None:
    """Its next incarnation takes over attempts with their leases."""
    worker = await world.worker()
    await world.submit()
    (assignment,) = worker.assigned
    (attempt,) = await worker.join()
    assert attempt.id == assignment.attempt_id
    assert attempt.lease_token == assignment.lease_token
    assert attempt.incarnation == worker.incarnation


async def test_leases_are_renewed_before_they_run_out(world: World) -> None:
    """All of them in one statement, and not at every beat."""
    for name in ("w1", "w2", "w3"):
        await world.worker(name)
    real, calls = world.store.dispatch.renew, 0

    async def renew(*args: object) -> object:
        nonlocal calls
        calls += 1
        return await real(*args)

    world.store.dispatch.renew = renew
    for _ in range(60):
        await world.advance(0.5)
        leases = await world.store.dispatch.leases()
        assert len(leases) == 3
        for lease in leases:
            assert LEASE_S - RENEW_EVERY_S - 1 < lease.left_s <= LEASE_S
    assert calls <= 30 / RENEW_EVERY_S + 1


async def test_a_renewal_that_failed_is_tried_at_the_next_beat(world: World) -> None:
    """A moment without a store does not let a lease run out."""
    worker = await world.worker()
    await world.advance(RENEW_EVERY_S - 0.5)
    real, calls = world.store.dispatch.renew, 0

    async def renew(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise Unavailable("away")
        return await real(*args)

    world.store.dispatch.renew = renew
    await world.advance(3)
    assert calls == 3
    assert not worker.silent


async def test_a_beat_does_not_wait_for_the_store(world: World) -> None:
    """Whatever the store is busy with, a worker is heard at once, and its leases are kept later."""
    worker = await world.worker()
    task = await world.submit()
    stall = Stall()
    world.store.dispatch.renew = stall.wrap(world.store.dispatch).renew
    stall.begin()
    await world.advance(RENEW_EVERY_S + 1)
    assert stall.waiting == 1
    beat = Heartbeat(worker.id, worker.incarnation, world.clock.now())
    with anyio.fail_after(1):
        assert await world.gateway.beat(beat)
    assert not world.rooms.silent(0.1)
    stall.end()
    await world.advance(1)
    (lease,) = await world.store.dispatch.leases()
    assert lease.left_s > 0
    assert await world.state(task.id) == "running"


async def test_a_worker_that_the_store_has_given_up_joins_again(world: World) -> None:
    """Its beats say so as soon as a renewal found out."""
    worker = await world.worker()
    before = worker.incarnation
    await world.store.dispatch.lose(worker.id, worker.incarnation, world.clock.now())
    await world.advance(RENEW_EVERY_S + 1)
    assert worker.incarnation != before
    await world.advance(RENEW_EVERY_S + 1)
    assert (await world.submit()).id in {one.task_id for one in worker.assigned}


async def test_a_fenced_incarnation_has_to_join_again(world: World) -> None:
    """Its heartbeats say so."""
    worker = await world.worker()
    beat = Heartbeat(worker.id, IncarnationId("before"), world.clock.now())
    assert not await world.gateway.beat(beat)
    assert await world.gateway.beat(Heartbeat(worker.id, worker.incarnation, world.clock.now()))


async def test_a_repeated_report_is_acknowledged_again(world: World) -> None:
    """Its answer got lost; nothing happens twice, nothing is refused."""
    worker = await world.worker()
    task = await world.submit()
    (assignment,) = worker.assigned
    report = Ended(
        assignment.attempt_id, assignment.lease_token, world.clock.now(), AttemptState.SUCCEEDED
    )
    await worker.start(assignment.attempt_id)
    for _ in range(3):
        assert await world.gateway.report([report]) == []
    kinds = [event.kind for event in await world.tasks.events(CALLER, task.id)]
    assert kinds == ["submitted", "assigned", "started", "succeeded"]


async def test_reports_nobody_can_place_are_refused(world: World) -> None:
    """Unknown attempts and forged tokens; the good ones among them count."""
    worker = await world.worker()
    task = await world.submit()
    (assignment,) = worker.assigned
    now = world.clock.now()
    refused = await world.gateway.report(
        [
            Ended(AttemptId("none"), LeaseToken("x"), now, AttemptState.FAILED),
            Ended(assignment.attempt_id, LeaseToken("y"), now, AttemptState.FAILED),
            Ended(assignment.attempt_id, assignment.lease_token, now, AttemptState.SUCCEEDED),
        ]
    )
    assert refused == ["x", "y"]
    assert await world.state(task.id) == "succeeded"


async def test_an_adopted_attempt_does_without_secrets_that_are_gone(world: World) -> None:
    """It runs already; what it needed it has."""
    world.secrets.values["db"] = "x"
    worker = await world.worker()
    work = Command(argv=("true",), env={"P": SecretRef("db"), "Q": "q"})
    task = await world.submit(work=work)
    (attempt,) = await world.store.tasks.attempts(task.workspace, task.id)
    found = await world.gateway.resolve(attempt)
    assert found is not None
    assert environment_of(found.work) == {"P": "x", "Q": "q"}
    world.secrets.values.clear()
    found = await world.gateway.resolve(attempt)
    assert found is not None
    assert environment_of(found.work) == {"Q": "q"}
    assert worker.held


async def test_only_the_current_attempt_is_resolved(world: World) -> None:
    """One that was fenced is not; one whose task is gone is None."""
    worker = await world.worker()
    task = await world.submit()
    (attempt,) = await world.store.tasks.attempts(task.workspace, task.id)
    await worker.end(attempt.id)
    with pytest.raises(StaleLease):
        await world.gateway.resolve(attempt)
    await world.tasks.delete(CALLER, [task.id])
    assert await world.gateway.resolve(attempt) is None
