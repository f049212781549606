"""Restarts and outages: containers live on, ends are told once, strays are removed."""

from pathlib import Path

import anyio
import httpx2
import pytest
from anyio import to_thread
from harbour import Harbour

from engines import RealEngine
from eventually import eventually_async
from taskyard.core.ids import AttemptId
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.runtimes.container.request import container_name

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.xdist_group("containers")]


async def test_released_containers_are_removed(harbour: Harbour) -> None:
    """And not before."""
    ended = await harbour.run("true")
    assert container_name(ended.attempt_id) in harbour.names()
    await harbour.runtime.release([ended.attempt_id])
    await eventually_async(lambda: container_name(ended.attempt_id) not in harbour.names())


async def test_adopting_what_is_over_reports_its_end(harbour: Harbour) -> None:
    """The end is not forgotten before it is released, whether or not the start was reported."""
    first = await harbour.start("exit 9")
    await harbour.ended(first)
    await harbour.reopen()
    await harbour.adopt(first, {})
    assert (await harbour.ended(first)).exit_code == 9


async def test_adopting_what_never_began_begins_it(harbour: Harbour) -> None:
    """No container and no start reported: it has to be run."""
    assignment = harbour.assignment("exit 9")
    harbour.directory(assignment.attempt_id).mkdir(parents=True)
    await harbour.adopt(assignment, {})
    assert (await harbour.ended(assignment)).exit_code == 9


async def test_adopting_what_was_made_but_not_started_starts_it(
    harbour: Harbour, engine: RealEngine
) -> None:
    """A crash between the two leaves a container that never ran."""
    assignment = harbour.assignment("exit 1")
    harbour.directory(assignment.attempt_id).mkdir(parents=True)
    labels = {
        "taskyard.installation": harbour.runtime.installation,
        "taskyard.attempt": assignment.attempt_id,
    }
    name = container_name(assignment.attempt_id)
    engine.create(name, labels, "echo ran; exit 9", start=False)
    await harbour.adopt(assignment, {})
    assert (await harbour.ended(assignment)).exit_code == 9
    assert await harbour.output(assignment) == b"ran\n"


async def test_adopting_what_is_gone_says_lost(harbour: Harbour) -> None:
    """It ran, and nobody knows how it ended."""
    assignment = await harbour.start("sleep 600")
    started = await harbour.started(assignment)
    await harbour.runtime.close()
    harbour.engine.clear()
    await harbour.reopen()
    await harbour.adopt(assignment, started.handle)
    ended = await harbour.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.LOST, Reason.EXIT_UNKNOWN)


async def test_timeout_goes_on_over_a_restart(harbour: Harbour) -> None:
    """The limit counts from the start of the container."""
    assignment = await harbour.start("sleep 600", timeout_s=1.0, kill_signal="SIGKILL")
    started = await harbour.started(assignment)
    await harbour.reopen()
    await harbour.adopt(assignment, started.handle)
    assert (await harbour.ended(assignment)).reason is Reason.TIMEOUT


async def test_somebody_elses_removal_says_lost(harbour: Harbour) -> None:
    """A container that vanishes under our eyes is no success."""
    assignment = await harbour.start("sleep 600")
    await harbour.started(assignment)
    harbour.engine.clear()
    ended = await harbour.ended(assignment)
    assert ended.state in {AttemptState.LOST, AttemptState.FAILED}


async def test_strays_are_removed_and_others_left_alone(
    harbour: Harbour, engine: RealEngine
) -> None:
    """Ours that nobody knows of go; those of other installations and of people stay."""
    mine = harbour.runtime.installation
    kept = await harbour.start("sleep 600")
    await harbour.started(kept)
    stray = {"taskyard.installation": mine, "taskyard.attempt": "unknown"}
    engine.create("stray", stray, "sleep 600")
    engine.create("neighbour", {**stray, "taskyard.installation": "other"}, "sleep 600")
    engine.create("somebody", {}, "sleep 600")
    await harbour.runtime.keep_only(frozenset({kept.attempt_id}))
    await eventually_async(lambda: "stray" not in harbour.names())
    assert {"neighbour", "somebody", container_name(kept.attempt_id)} <= harbour.names()
    await harbour.runtime.keep_only(frozenset())
    assert (await harbour.ended(kept)).state is AttemptState.KILLED


async def test_strays_are_looked_for_regularly(engine: RealEngine, tmp_path: Path) -> None:
    """Those that run and those that were only made; what an attempt has is left alone."""
    harbour = Harbour(tmp_path, engine, sweep_s=0.2)
    await harbour.open()
    try:
        kept = await harbour.start("sleep 600")
        await harbour.started(kept)
        over = await harbour.run("true")
        await harbour.runtime.keep_only(frozenset({kept.attempt_id, over.attempt_id}))
        mine = {"taskyard.installation": harbour.runtime.installation}
        engine.create("neighbour", {"taskyard.installation": "other"}, "true", start=False)
        for name, start in (("made", False), ("running", True)):
            engine.create(name, {**mine, "taskyard.attempt": name}, "sleep 600", start=start)
        await eventually_async(lambda: not {"made", "running"} & harbour.names())
        known = {container_name(one.attempt_id) for one in (kept, over)}
        assert {"neighbour", *known} == harbour.names()
    finally:
        await harbour.close()


def names_of(harbour: Harbour) -> set[str] | None:
    """All containers; None if the engine does not say so while it makes or removes one."""
    try:
        return harbour.names()
    except httpx2.HTTPStatusError:
        return None


async def test_kills_in_the_middle_of_creation_leave_nothing(
    engine: RealEngine, tmp_path: Path
) -> None:
    """Whatever the engine makes after its maker has given up is found."""
    harbour = Harbour(tmp_path, engine, sweep_s=0.5)
    await harbour.open()
    try:
        await harbour.runtime.keep_only(frozenset())
        for number in range(12):
            assignment = await harbour.start("sleep 600")
            await anyio.sleep(0.004 * number)  # at another moment of its creation each time
            await harbour.kill(assignment)
            await harbour.runtime.release([assignment.attempt_id])
        await eventually_async(lambda: names_of(harbour) == set())
    finally:
        await harbour.close()


async def test_installation_keeps_its_name(harbour: Harbour) -> None:
    """A restart finds what belongs to it."""
    before = harbour.runtime.installation
    await harbour.reopen()
    assert harbour.runtime.installation == before


async def test_engine_away_while_ten_run(harbour: Harbour, engine: RealEngine) -> None:
    """No attempt ends for the engine being away; then each ends once, and none by its own fault."""
    # Docker Engine takes its containers with it, and lets them end by themselves at first.
    wait = "sleep 6" if engine.kind == "podman" else "trap 'exit 143' TERM; sleep 600 & wait"
    running = [await harbour.start(f"{wait}; echo {n}; exit {n}") for n in range(10)]
    for assignment in running:
        await harbour.started(assignment)
    await to_thread.run_sync(engine.stop)
    await eventually_async(lambda: not harbour.runtime.watch.connected.is_set())
    assert not harbour.ear.ends
    assert await harbour.runtime.check() is not None
    await to_thread.run_sync(engine.start)
    for number, assignment in enumerate(running):
        ended = await harbour.ended(assignment)
        if engine.kind == "podman":
            # Its containers do not need the service.
            assert ended.exit_code == number
            assert await harbour.output(ended) == b"%d\n" % number
        else:
            assert ended.reason is Reason.RUNTIME_TROUBLE, ended
    assert await harbour.runtime.check() is None
    assert (await harbour.run("echo again")).state is AttemptState.SUCCEEDED


async def test_starting_without_engine_is_trouble_of_the_machinery(
    harbour: Harbour, engine: RealEngine
) -> None:
    """It does not count against the task, and says what is wrong."""
    await to_thread.run_sync(engine.stop)
    try:
        ended = await harbour.run("true")
        assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.RUNTIME_TROUBLE)
        assert ended.message is not None
        assert str(engine.socket) in ended.message
    finally:
        await to_thread.run_sync(engine.start)


async def test_opening_without_engine_says_what_to_do(engine: RealEngine, harbour: Harbour) -> None:
    """The message names the place that was tried."""
    await to_thread.run_sync(engine.stop)
    try:
        await harbour.runtime.close()
        with pytest.raises(RuntimeUnavailable, match=str(engine.socket)):
            await harbour.open()
        assert await harbour.runtime.check() is not None
    finally:
        await to_thread.run_sync(engine.start)
    await harbour.open()
    assert await harbour.runtime.check() is None


async def test_killing_the_unknown_is_ignored(harbour: Harbour) -> None:
    """Nothing is raised, nothing changes."""
    never = harbour.assignment("true")
    await harbour.order(never, "SIGKILL", 0.0)
    await harbour.runtime.release([AttemptId("unknown")])
    done = await harbour.start("true")
    await harbour.ended(done)
    await harbour.order(done, "SIGKILL", 0.0)
    assert len(harbour.ear.ends) == 1
