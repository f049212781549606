"""A worker in a process of its own, which dies, hangs, is cut off, is stopped, or has a rival."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from joined_site import OPERATOR, SOON_S, Site, joined_site

from eventually import eventually_async
from taskyard.core.states import AttemptState
from taskyard.ports.dispatching import JOINED

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(180)]

UNTIL_FILE = 'while [ ! -e "$0" ]; do sleep 0.05; done; echo done'
"""Runs until there is a file, whose path is its first argument."""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A control plane that two workers may join."""
    async with joined_site(tmp_path, "far", "other") as site:
        yield site


async def test_runs_commands_and_reports_them(site: Site) -> None:
    """Their ends, exit codes and output arrive; a kill is proven."""
    await site.worker("far", "--tag", "big", "--drain", "2s")
    (record,) = [one for one, _ in site.node.engine.dispatch.workers() if one.id == "far"]
    assert (record.plane_id, record.tags) == (JOINED, ("big",))
    assert record.runtimes == ("command", "function", "simulation")
    good = await site.submit("sh", "-c", "echo hello; echo oops >&2")
    bad = await site.submit("sh", "-c", "exit 3")
    assert (await site.until(good, "succeeded")).state.value == "succeeded"
    assert await site.output(good) == b"hello\n"
    await site.until(bad, "failed")
    (attempt,) = await site.attempts(bad)
    assert (attempt.exit_code, attempt.worker_id) == (3, "far")
    endless = await site.submit("sleep", "600")
    await _running(site, endless)
    await site.cancel(endless)
    await site.until(endless, "cancelled")
    (attempt,) = await site.attempts(endless)
    assert attempt.kill_report is not None
    assert attempt.kill_report.survivors == ()


async def _running(site: Site, task: object) -> None:
    async def look() -> bool:
        found = await site.attempts(task)  # type: ignore[arg-type]
        return found[-1:] != [] and found[-1].state is AttemptState.RUNNING

    await eventually_async(look, within_s=SOON_S)


def _runs(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_killed_process_comes_back_to_what_ran(site: Site) -> None:
    """Nothing is run twice, nor lost; what ended meanwhile is reported."""
    worker = await site.worker("far")
    goes_on, ends = site.root / "goes-on", site.root / "ends"
    running = await site.submit("sh", "-c", UNTIL_FILE, str(goes_on))
    ending = await site.submit("sh", "-c", UNTIL_FILE, str(ends))
    await _running(site, running)
    await _running(site, ending)
    before = (await site.joined(worker)).incarnation
    worker.kill()
    ends.touch()
    worker.start()
    await site.joined(worker, before)
    await site.until(ending, "succeeded")
    assert (await site.task(running)).state.value == "running"
    goes_on.touch()
    await site.until(running, "succeeded")
    for task in (running, ending):
        assert len(await site.attempts(task)) == 1
        assert await site.output(task) == b"done\n"


async def test_frozen_process_loses_what_it_runs(site: Site) -> None:
    """It goes elsewhere when its lease is over; back again, the worker kills what it still runs."""
    worker = await site.worker("far")
    file, pids = site.root / "file", site.root / "pids"
    script = f"echo $$ >> {pids}; {UNTIL_FILE}"
    task = await site.submit("sh", "-c", script, str(file))
    await _running(site, task)
    await site.worker("other")
    worker.send(signal.SIGSTOP)
    await eventually_async(lambda: site.attempts(task), lambda now: len(now) == 2, within_s=SOON_S)
    first, second = await site.attempts(task)
    assert (first.state, first.worker_id) == (AttemptState.LOST, "far")
    assert second.worker_id == "other"
    await _running(site, task)
    old, new = await eventually_async(lambda: pids.read_text().split(), lambda now: len(now) == 2)
    assert _runs(old)
    worker.send(signal.SIGCONT)
    await eventually_async(lambda: not _runs(old), within_s=SOON_S)
    assert _runs(new)
    file.touch()
    await site.until(task, "succeeded")
    assert len(await site.attempts(task)) == 2
    # And it takes new work.
    await site.joined(worker, first.incarnation)
    assert worker.process.poll() is None


async def test_nothing_is_lost_while_nats_is_away(site: Site) -> None:
    """For longer than a lease: what runs goes on, what ended is reported afterwards."""
    await site.worker("far")
    goes_on, ends = site.root / "goes-on", site.root / "ends"
    running = await site.submit("sh", "-c", UNTIL_FILE, str(goes_on))
    ending = await site.submit("sh", "-c", UNTIL_FILE, str(ends))
    await _running(site, running)
    await _running(site, ending)
    site.nats.stop()
    ends.touch()
    # What is placed in the moment before that is known waits for its worker instead.
    await eventually_async(
        site.node.engine.dispatch.rooms,
        lambda now: not any(one.accepting for one in now),
        within_s=SOON_S,
    )
    queued = await site.submit("true")
    with anyio.move_on_after(13):
        await site.until(running, "queued", "failed", "succeeded")
        pytest.fail("it was given up")
    assert (await site.task(ending)).state.value == "running"
    assert (await site.task(queued)).state.value == "queued"
    site.nats.start()
    await site.until(ending, "succeeded")
    goes_on.touch()
    await site.until(running, "succeeded")
    await site.until(queued, "succeeded")
    for task in (running, ending, queued):
        assert len(await site.attempts(task)) == 1


async def test_stopped_worker_finishes_what_it_runs(site: Site) -> None:
    """It takes nothing new meanwhile, and is known to be gone at once."""
    worker = await site.worker("far", "--drain", "60s")
    file = site.root / "file"
    task = await site.submit("sh", "-c", UNTIL_FILE, str(file))
    await _running(site, task)
    worker.send(signal.SIGTERM)
    await eventually_async(
        site.node.engine.dispatch.workers,
        lambda now: any(one.id == "far" and not one.runtimes for one, _ in now),
        within_s=SOON_S,
    )
    queued = await site.submit("true")
    file.touch()
    await site.until(task, "succeeded")
    await eventually_async(lambda: worker.process.poll() is not None, within_s=SOON_S)
    assert worker.process.returncode == 0, worker.said()
    assert "far" not in [one.id for one, _ in site.node.engine.dispatch.workers()]
    assert (await site.task(queued)).state.value == "queued"


async def test_revoked_worker_ends(site: Site) -> None:
    """What it ran goes elsewhere at once, nothing new comes, and its process says why it ends."""
    worker = await site.worker("far")
    task = await site.submit("sh", "-c", UNTIL_FILE, str(site.root / "file"))
    await _running(site, task)
    await site.node.engine.worker_tokens.revoke(OPERATOR, "far")
    assert "far" not in [one.id for one, _ in site.node.engine.dispatch.workers()]
    assert (await site.task(task)).state.value == "queued"
    await eventually_async(lambda: worker.process.poll() is not None, within_s=SOON_S)
    assert worker.process.returncode != 0
    assert "revoked" in worker.said()
    assert (await site.task(task)).state.value == "queued"


async def test_one_process_has_a_directory(site: Site) -> None:
    """A second one says so; so does one on a server's directory, or on another worker's."""
    worker = await site.worker("far")
    worker_again = await site.process("other")
    for data, said in (
        (worker.data, "is in use by process"),
        (site.root / "plane-data", "is the data directory of a server"),
    ):
        worker_again.data = data
        worker_again.log = site.root / "again.log"
        worker_again.start()
        await eventually_async(lambda: worker_again.process.poll() is not None, within_s=SOON_S)
        assert worker_again.process.returncode not in {0, None}
        assert said in worker_again.said()
    worker.stop()
    worker_again.data = worker.data
    worker_again.start()
    await eventually_async(lambda: worker_again.process.poll() is not None, within_s=SOON_S)
    assert "belongs to worker far" in worker_again.said()


async def test_rival_with_the_same_join_string_takes_over(site: Site) -> None:
    """The first gives way, and says what to do; the other one works."""
    worker = await site.worker("far")
    rival = site.copy_of(worker)
    rival.start()
    await eventually_async(lambda: worker.process.poll() is not None, within_s=SOON_S)
    assert "give each machine a join string of its own" in worker.said()
    assert worker.process.returncode != 0
    task = await site.submit("true")
    await site.until(task, "succeeded")
    assert rival.process.poll() is None
