"""Output of joined workers while it is written: read at the worker, then from where it is kept."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
from joined_site import ME, SOON_S, Site, WorkerProcess, joined_site

from eventually import eventually_async
from taskyard.core.ids import WorkerId
from taskyard.core.tasks import Task
from taskyard.ports.logs import Stream
from taskyard.services.tasks.follow import Exit
from taskyard.services.tasks.followed import Output
from taskyard.transport.remote_output import CHANGED

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(180)]

OUT, ERR = Stream.STDOUT, Stream.STDERR
AWAIT = 'await() { while [ ! -e "$0/$1" ]; do sleep 0.05; done; }'
TALK = f"""{AWAIT}
echo a; await 1; echo b >&2; await 2; echo c; await 3
head -c 3000000 /dev/zero | tr '\\0' x; echo the end"""
"""Goes on whenever there is the next file, in the directory that is its first argument."""
FOLLOWERS = 20


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A control plane on SQLite that a worker may join."""
    async with joined_site(tmp_path, "far") as site:
        yield site


class Follower:
    """Reads the output of a task from its beginning, until its end."""

    def __init__(self, site: Site, task: Task) -> None:
        self._site = site
        self._task = task
        self.pieces: list[tuple[Stream, bytes]] = []
        self.found = {OUT: bytearray(), ERR: bytearray()}
        self.exit: Exit | None = None
        self.may_go_on = anyio.Event()
        """Set for one that reads as soon as there is anything."""

    async def run(self, *, wait: bool = True) -> None:
        """Follow; without ``wait`` up to the present end."""
        items = self._site.node.engine.follow.follow(ME, self._task.id, None, 0, 0, wait=wait)
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Output):
                    assert item.offset == len(self.found[item.stream])
                    self.found[item.stream] += item.data
                    self.pieces.append((item.stream, item.data))
                    await self.may_go_on.wait()
                elif isinstance(item, Exit):
                    self.exit = item

    async def until(self, *pieces: tuple[Stream, bytes]) -> None:
        """Wait until it has read exactly these."""
        await eventually_async(
            lambda: self.pieces, lambda now: now == list(pieces), within_s=SOON_S
        )


async def _task(site: Site, *argv: str) -> Task:
    return await site.submit("sh", "-c", *argv, str(site.root))


def _holds_nothing(worker: WorkerProcess) -> bool:
    root = worker.data / "attempts"
    return not [one for one in root.iterdir() if not one.name.startswith(".")]


async def test_output_is_followed_while_it_is_written(site: Site) -> None:
    """In its order, each byte once, to the end and from the worker to where it is kept then."""
    worker = await site.worker("far")
    task = await _task(site, TALK)
    quick, slow, late = (Follower(site, task) for _ in range(3))
    quick.may_go_on.set()
    late.may_go_on.set()
    a, b, c = (OUT, b"a\n"), (ERR, b"b\n"), (OUT, b"c\n")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(quick.run)
        await quick.until(a)
        tasks.start_soon(slow.run)
        await slow.until(a)
        (site.root / "1").touch()
        await quick.until(a, b)
        (site.root / "2").touch()
        await quick.until(a, b, c)
        with anyio.fail_after(SOON_S):
            await late.run(wait=False)
        assert late.pieces == [a, b, c]
        assert (await site.task(task)).state.value == "running"
        (site.root / "3").touch()
        await site.until(task, "succeeded")
        await eventually_async(lambda: _holds_nothing(worker), within_s=SOON_S)
        slow.may_go_on.set()
    for follower in (quick, slow):
        assert follower.exit is not None
        assert follower.exit.exit_code == 0
        assert bytes(follower.found[OUT]) == b"a\nc\n" + b"x" * 3_000_000 + b"the end\n"
        assert bytes(follower.found[ERR]) == b"b\n"


async def test_many_followers_make_one_poll(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a time; the worker hears it once, however many wait for the same."""
    await site.worker("far")
    messages = site.node.messages
    assert messages is not None
    ask, asked, under_way = messages.ask_worker, Counter[str](), Counter[str]()

    async def counted(worker_id: WorkerId, what: str, payload: bytes, timeout_s: float) -> bytes:
        asked[what] += 1
        under_way[what] += 1
        try:
            return await ask(worker_id, what, payload, timeout_s)
        finally:
            under_way[what] -= 1

    monkeypatch.setattr(messages, "ask_worker", counted)
    task = await _task(site, f"{AWAIT}; echo a; await 1; echo b; await 2")
    followers = [Follower(site, task) for _ in range(FOLLOWERS)]
    async with anyio.create_task_group() as tasks:
        for follower in followers:
            follower.may_go_on.set()
            tasks.start_soon(follower.run)
        for follower in followers:
            await follower.until((OUT, b"a\n"))
        await eventually_async(lambda: under_way[CHANGED] == 1, within_s=SOON_S)
        before = asked[CHANGED]
        (site.root / "1").touch()
        for follower in followers:
            await follower.until((OUT, b"a\n"), (OUT, b"b\n"))
        await eventually_async(lambda: under_way[CHANGED] == 1, within_s=SOON_S)
        # The next one, and perhaps one more because it took its time.
        assert 1 <= asked[CHANGED] - before <= FOLLOWERS // 4
        (site.root / "2").touch()
    assert all(one.exit is not None and bytes(one.found[OUT]) == b"a\nb\n" for one in followers)
