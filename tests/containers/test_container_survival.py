"""Restarts and outages: containers live on, ends are told once, strays are removed."""

from pathlib import Path

import anyio
import httpx2
import pytest
from anyio import to_thread
from container_harness import ContainerHarness

from engines import RealEngine
from eventually import eventually_async
from taskyard.core.ids import AttemptId
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.runtimes.container.request import container_name

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.xdist_group("containers")]


async def test_released_containers_are_removed(harness: ContainerHarness) -> None:
    """And not before."""
    ended = await harness.run("true")
    assert container_name(ended.attempt_id) in harness.names()
    await harness.runtime.release([ended.attempt_id])
    await eventually_async(lambda: container_name(ended.attempt_id) not in harness.names())


async def test_adopting_what_is_over_reports_its_end(harness: ContainerHarness) -> None:
    """The end is not forgotten before it is released, whether or not the start was reported."""
    first = await harness.start("exit 9")
    await harness.ended(first)
    await harness.reopen()
    await harness.adopt(first, {})
    assert (await harness.ended(first)).exit_code == 9


async def test_adopting_what_never_began_begins_it(harness: ContainerHarness) -> None:
    """No container and no start reported: it has to be run."""
    assignment = harness.assignment("exit 9")
    harness.directory(assignment.attempt_id).mkdir(parents=True)
    await harness.adopt(assignment, {})
    assert (await harness.ended(assignment)).exit_code == 9


async def test_adopting_what_was_made_but_not_started_starts_it(
    harness: ContainerHarness, engine: RealEngine
) -> None:
    """A crash between the two leaves a container that never ran."""
    assignment = harness.assignment("exit 1")
    harness.directory(assignment.attempt_id).mkdir(parents=True)
    labels = {
        "taskyard.installation": harness.runtime.installation,
        "taskyard.attempt": assignment.attempt_id,
    }
    name = container_name(assignment.attempt_id)
    engine.create(name, labels, "echo ran; exit 9", start=False)
    await harness.adopt(assignment, {})
    assert (await harness.ended(assignment)).exit_code == 9
    assert await harness.output(assignment) == b"ran\n"


async def test_adopting_what_is_gone_says_lost(harness: ContainerHarness) -> None:
    """It ran, and nobody knows how it ended."""
    assignment = await harness.start("sleep 600")
    started = await harness.started(assignment)
    await harness.runtime.close()
    harness.engine.clear()
    await harness.reopen()
    await harness.adopt(assignment, started.handle)
    ended = await harness.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.LOST, Reason.EXIT_UNKNOWN)


async def test_timeout_goes_on_over_a_restart(harness: ContainerHarness) -> None:
    """The limit counts from the start of the container."""
    assignment = await harness.start("sleep 600", timeout_s=1.0, kill_signal="SIGKILL")
    started = await harness.started(assignment)
    await harness.reopen()
    await harness.adopt(assignment, started.handle)
    assert (await harness.ended(assignment)).reason is Reason.TIMEOUT


async def test_somebody_elses_removal_says_lost(harness: ContainerHarness) -> None:
    """A container that vanishes under our eyes is no success."""
    assignment = await harness.start("sleep 600")
    await harness.started(assignment)
    harness.engine.clear()
    ended = await harness.ended(assignment)
    assert ended.state in {AttemptState.LOST, AttemptState.FAILED}


async def test_strays_are_removed_and_others_left_alone(
    harness: ContainerHarness, engine: RealEngine
) -> None:
    """Ours that nobody knows of go; those of other installations and of people stay."""
    mine = harness.runtime.installation
    kept = await harness.start("sleep 600")
    await harness.started(kept)
    stray = {"taskyard.installation": mine, "taskyard.attempt": "unknown"}
    engine.create("stray", stray, "sleep 600")
    engine.create("neighbour", {**stray, "taskyard.installation": "other"}, "sleep 600")
    engine.create("somebody", {}, "sleep 600")
    await harness.runtime.keep_only(frozenset({kept.attempt_id}))
    await eventually_async(lambda: "stray" not in harness.names())
    assert {"neighbour", "somebody", container_name(kept.attempt_id)} <= harness.names()
    await harness.runtime.keep_only(frozenset())
    assert (await harness.ended(kept)).state is AttemptState.KILLED


async def test_strays_are_looked_for_regularly(engine: RealEngine, tmp_path: Path) -> None:
    """Those that run and those that were only made; what an attempt has is left alone."""
    harness = ContainerHarness(tmp_path, engine, sweep_s=0.2)
    await harness.open()
    try:
        kept = await harness.start("sleep 600")
        await harness.started(kept)
        over = await harness.run("true")
        await harness.runtime.keep_only(frozenset({kept.attempt_id, over.attempt_id}))
        mine = {"taskyard.installation": harness.runtime.installation}
        engine.create("neighbour", {"taskyard.installation": "other"}, "true", start=False)
        for name, start in (("made", False), ("running", True)):
            engine.create(name, {**mine, "taskyard.attempt": name}, "sleep 600", start=start)
        await eventually_async(lambda: not {"made", "running"} & harness.names())
        known = {container_name(one.attempt_id) for one in (kept, over)}
        assert {"neighbour", *known} == harness.names()
    finally:
        await harness.close()


def names_of(harness: ContainerHarness) -> set[str] | None:
    """All containers; None if the engine does not say so while it makes or removes one."""
    try:
        return harness.names()
    except httpx2.HTTPStatusError:
        return None


async def test_kills_in_the_middle_of_creation_leave_nothing(
    engine: RealEngine, tmp_path: Path
) -> None:
    """Whatever the engine makes after its maker has given up is found."""
    harness = ContainerHarness(tmp_path, engine, sweep_s=0.5)
    await harness.open()
    try:
        await harness.runtime.keep_only(frozenset())
        for number in range(12):
            assignment = await harness.start("sleep 600")
            await anyio.sleep(0.004 * number)  # at another moment of its creation each time
            await harness.kill(assignment)
            await harness.runtime.release([assignment.attempt_id])
        await eventually_async(lambda: names_of(harness) == set())
    finally:
        await harness.close()


async def test_installation_keeps_its_name(harness: ContainerHarness) -> None:
    """A restart finds what belongs to it."""
    before = harness.runtime.installation
    await harness.reopen()
    assert harness.runtime.installation == before


async def test_engine_away_while_ten_run(harness: ContainerHarness, engine: RealEngine) -> None:
    """No attempt ends for the engine being away; then each ends once, and none by its own fault."""
    # Docker Engine takes its containers with it, and lets them end by themselves at first.
    wait = "sleep 6" if engine.kind == "podman" else "trap 'exit 143' TERM; sleep 600 & wait"
    running = [await harness.start(f"{wait}; echo {n}; exit {n}") for n in range(10)]
    for assignment in running:
        await harness.started(assignment)
    await to_thread.run_sync(engine.stop)
    await eventually_async(lambda: not harness.runtime.watch.connected.is_set())
    assert not harness.ear.ends
    assert await harness.runtime.check() is not None
    await to_thread.run_sync(engine.start)
    for number, assignment in enumerate(running):
        ended = await harness.ended(assignment)
        if engine.kind == "podman":
            # Its containers do not need the service.
            assert ended.exit_code == number
            assert await harness.output(ended) == b"%d\n" % number
        else:
            assert ended.reason is Reason.RUNTIME_TROUBLE, ended
    assert await harness.runtime.check() is None
    assert (await harness.run("echo again")).state is AttemptState.SUCCEEDED


async def test_starting_without_engine_is_trouble_of_the_machinery(
    harness: ContainerHarness, engine: RealEngine
) -> None:
    """It does not count against the task, and says what is wrong."""
    await to_thread.run_sync(engine.stop)
    try:
        ended = await harness.run("true")
        assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.RUNTIME_TROUBLE)
        assert ended.message is not None
        assert str(engine.socket) in ended.message
    finally:
        await to_thread.run_sync(engine.start)


async def test_opening_without_engine_says_what_to_do(
    engine: RealEngine, harness: ContainerHarness
) -> None:
    """The message names the place that was tried."""
    await to_thread.run_sync(engine.stop)
    try:
        await harness.runtime.close()
        with pytest.raises(RuntimeUnavailable, match=str(engine.socket)):
            await harness.open()
        assert await harness.runtime.check() is not None
    finally:
        await to_thread.run_sync(engine.start)
    await harness.open()
    assert await harness.runtime.check() is None


async def test_killing_the_unknown_is_ignored(harness: ContainerHarness) -> None:
    """Nothing is raised, nothing changes."""
    never = harness.assignment("true")
    await harness.order(never, "SIGKILL", 0.0)
    await harness.runtime.release([AttemptId("unknown")])
    done = await harness.start("true")
    await harness.ended(done)
    await harness.order(done, "SIGKILL", 0.0)
    assert len(harness.ear.ends) == 1
