"""Output of joined workers that is too much for their reports: all of it is there after the end."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from joined_site import ME, SOON_S, Site, joined_site

from eventually import eventually_async
from taskyard.core.attempts import Attempt
from taskyard.core.ids import AttemptId
from taskyard.core.tasks import Task
from taskyard.ports.logs import Stream

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(180)]

MUCH = 'head -c "$0" /dev/zero | tr "\\0" x; echo the end; echo to the other stream >&2'
UNTIL_FILE = 'while [ ! -e "$1" ]; do sleep 0.05; done'


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A control plane on SQLite that a worker may join."""
    async with joined_site(tmp_path, "far") as site:
        yield site


async def _attempt(site: Site, task: Task) -> Attempt:
    await site.until(task, "succeeded")
    (attempt,) = await site.attempts(task)
    assert attempt.worker_id == "far"
    return attempt


async def _stdout(site: Site, attempt: Attempt) -> bytes:
    logs, found = site.node.engine.logs, bytearray()
    while part := (await logs.slice(attempt, Stream.STDOUT, len(found), 1 << 20)).data:
        found += part
    return bytes(found)


def _kept(data: Path) -> list[str]:
    root = data / "attempts"
    return sorted(one.name for one in root.iterdir() if not one.name.startswith("."))


async def test_much_output_is_kept_by_the_control_plane(site: Site) -> None:
    """To the last byte; the worker keeps none of it, and it goes with its task."""
    worker = await site.worker("far")
    task = await site.submit("sh", "-c", MUCH, "8000000")
    attempt = await _attempt(site, task)
    assert attempt.stdout.stored_bytes == 8_000_008
    found = await _stdout(site, attempt)
    assert len(found) == 8_000_008
    assert found == b"x" * 8_000_000 + b"the end\n"
    errors = await site.node.engine.logs.slice(attempt, Stream.STDERR, 0, 100)
    assert errors.data == b"to the other stream\n"
    await eventually_async(lambda: attempt.id not in _kept(worker.data), within_s=SOON_S)
    assert _objects(site, attempt.id)
    await site.node.engine.tasks.delete(ME, [task.id])
    await eventually_async(lambda: not _objects(site, attempt.id), within_s=SOON_S)


def _objects(site: Site, attempt_id: AttemptId) -> list[Path]:
    return list((site.root / "plane-data" / "objects" / "output").glob(f"{attempt_id}/*"))


async def test_worker_killed_while_it_stores_output_stores_it_again(site: Site) -> None:
    """When it is back; the task runs once."""
    worker = await site.worker("far")
    file = site.root / "file"
    task = await site.submit("sh", "-c", f"{UNTIL_FILE}; {MUCH}", "30000000", str(file))
    record = await site.joined(worker)
    file.touch()
    unfinished = site.root / "plane-data" / "objects" / ".unfinished"
    await eventually_async(
        lambda: [one for one in unfinished.glob("*") if one.stat().st_size >= 1 << 20],
        within_s=SOON_S,
    )
    worker.send(signal.SIGKILL)
    worker.kill()
    assert (await site.task(task)).state.value == "running"
    worker.start()
    await site.joined(worker, record.incarnation)
    attempt = await _attempt(site, task)
    found = await _stdout(site, attempt)
    assert len(found) == 30_000_008
    assert found.endswith(b"xthe end\n")
    await eventually_async(lambda: not list(unfinished.glob("*")), within_s=SOON_S)
