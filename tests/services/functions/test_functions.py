"""Deploying: versions, names, calls and their results."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from function_services import ADA, BOB, READER, World, opened

from taskyard.core.attempts import Ended, Progress, Report, Started
from taskyard.core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from taskyard.core.functions.functions import (
    CallRequest,
    CallResult,
    Language,
    Limits,
)
from taskyard.core.ids import IncarnationId, WorkerId
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState, TaskState
from taskyard.core.tasks import NewTask
from taskyard.ports.dispatching import Placement, WorkerRecord
from taskyard.server.clock import SystemIds
from taskyard.services.functions.calls import FunctionNotReady, FunctionPaused
from taskyard.services.functions.deployments import Deployment

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """See :func:`opened`."""
    async with opened(tmp_path) as world:
        yield world


async def test_calls_are_bound_to_the_live_version(world: World) -> None:
    """With the function's limits; there has to be a version, and no pause."""
    with pytest.raises(NotFound):
        await world.calls.prepare(ADA, "f", CallRequest())
    await world.deploy(b"bad", limits=Limits(timeout_s=3.0, memory_bytes=64 << 20))
    with pytest.raises(FunctionNotReady):
        await world.calls.prepare(ADA, "f", CallRequest())
    await world.deploy()
    spec = await world.calls.prepare(ADA, "f", CallRequest(body=b"x"))
    assert (spec.timeout_s, spec.resources.memory_bytes) == (3.0, 64 << 20)
    assert getattr(spec.work, "version", None) == 2
    with pytest.raises(NotFound):
        await world.calls.prepare(BOB, "f", CallRequest())
    await world.functions.pause(ADA, "f", paused=True)
    assert world.quiet.paused == {spec.group: True}
    with pytest.raises(FunctionPaused):
        await world.calls.prepare(ADA, "f", CallRequest())


async def test_rolling_back(world: World) -> None:
    """To a version that was built; to nothing else."""
    for content in (b"1", b"2", b"bad"):
        await world.deploy(content)
    assert (await world.functions.roll_back(ADA, "f")).live_version == 1
    with pytest.raises(Conflict):
        await world.functions.roll_back(ADA, "f")
    with pytest.raises(Conflict):
        await world.functions.roll_back(ADA, "f", 3)
    with pytest.raises(NotFound):
        await world.functions.roll_back(ADA, "f", 9)
    assert (await world.functions.roll_back(ADA, "f", 2)).live_version == 2


async def test_names_are_free_after_a_delete(world: World) -> None:
    """Restoring is refused while somebody else has the name."""
    await world.deploy()
    first = (await world.functions.find(ADA.workspace, "f")).id
    await world.functions.delete(ADA, "f")
    with pytest.raises(NotFound):
        await world.functions.delete(ADA, "f")
    await world.deploy()
    with pytest.raises(Conflict):
        await world.functions.restore(ADA, first)
    await world.functions.delete(ADA, "f")
    with pytest.raises(NotFound):
        await world.functions.restore(BOB, first)
    assert (await world.functions.restore(ADA, first)).name == "f"
    assert (await world.functions.find(ADA.workspace, "f")).id == first


async def test_what_breaks_a_rule_is_refused(world: World) -> None:
    """Before anything is stored."""
    good = Deployment(bundle=b"x", language=Language.PYTHON)
    with pytest.raises(NotAllowed):
        await world.functions.deploy(READER, "f", good)
    wrong: list[tuple[str, Deployment]] = [
        ("a b", good),
        ("f", Deployment(bundle=b"", language=Language.PYTHON)),
        ("f", Deployment(bundle=b"x")),
        ("f", Deployment(bundle=b"x", language=Language.PYTHON, handler="../x")),
        ("f", Deployment(bundle=b"x", language=Language.PYTHON, entry="a.b")),
        ("f", Deployment(bundle=b"x", language=Language.PYTHON, dependencies=("--x",))),
        ("f", Deployment(bundle=b"x", language=Language.PYTHON, limits=Limits(timeout_s=0))),
    ]
    for name, deployment in wrong:
        with pytest.raises(InvalidInput):
            await world.functions.deploy(ADA, name, deployment)
    assert await world.functions.page(ADA, None, 10) == []


async def test_a_result_is_stored_with_the_end_and_goes_with_the_task(world: World) -> None:
    """Progress is kept too, and never goes back."""
    await world.deploy()
    ids, store, now = SystemIds(), world.store, Instant(1_000)
    spec = await world.calls.prepare(ADA, "f", CallRequest())
    task = NewTask(ids.task(), ADA.workspace, spec, TaskState.QUEUED, now)
    (stored,) = await store.tasks.submit([task], "ada")
    worker, life = WorkerId("w"), IncarnationId("i")
    room = Capacity(9, 9_000, 1 << 40)
    await store.dispatch.join(WorkerRecord(worker, life, "h", "v", room, ("function",), now, now))
    lease, attempt_id = ids.lease(), ids.attempt()
    placement = Placement(task.id, stored.seq, attempt_id, lease, now, worker, life)
    await store.dispatch.place([placement], now)
    reports: list[Report] = [
        Started(attempt_id, lease, now),
        Progress(attempt_id, lease, now, 0.75, "most"),
        Progress(attempt_id, lease, now, 0.5, "less"),
    ]
    await store.dispatch.apply(reports, now, [0.5] * 3)
    attempt = await store.tasks.attempt(ADA.workspace, attempt_id)
    assert (attempt.progress, attempt.progress_text) == (0.75, "less")
    result = CallResult(201, (("a", "b"),), b"body", 4)
    ended = Ended(attempt_id, lease, now, AttemptState.SUCCEEDED, result=result)
    for _ in range(2):
        await store.dispatch.apply([ended], now, [0.5])
    assert await store.functions.result(ADA.workspace, task.id) == (attempt_id, result)
    with pytest.raises(NotFound):
        await store.functions.result(BOB.workspace, task.id)
    await store.tasks.delete(ADA.workspace, [task.id], now)
    left = await store.session.read(
        lambda c: c.select("SELECT count(*) FROM call_results").fetchone()
    )
    assert left == (0,)
