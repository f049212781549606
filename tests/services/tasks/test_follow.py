"""Following output to its end."""

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import cast

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_world import CALLER, STRANGER, TASK, LogWorld

from taskyard.core.attempts import Ended
from taskyard.core.errors import InvalidInput, NotFound
from taskyard.core.ids import AttemptId
from taskyard.core.states import AttemptState, TaskState
from taskyard.ports.logs import Stream
from taskyard.services.tasks.follow import Exit, Ping
from taskyard.services.tasks.followed import CHUNK_BYTES, Output
from taskyard.worker.output import archive

pytestmark = pytest.mark.anyio

OUT, ERR = Stream.STDOUT, Stream.STDERR


class Reader:
    """A follower that can lose its connection and come back at its offsets."""

    def __init__(self, world: LogWorld) -> None:
        self.world = world
        self.got = {OUT: bytearray(), ERR: bytearray()}
        self.exit: Exit | None = None
        self.pings = 0
        self.attempt: int | None = None

    async def run(self, gate: anyio.Semaphore | None = None) -> None:
        """Follow to the end, taking one item for each token of the gate."""
        sizes = (len(self.got[OUT]), len(self.got[ERR]))
        stream = self.world.follow.follow(CALLER, TASK, self.attempt, *sizes)
        async with aclosing(stream) as items:
            async for item in items:
                if gate is not None:
                    await gate.acquire()
                if isinstance(item, Output):
                    assert item.offset == len(self.got[item.stream])
                    assert 0 < len(item.data) <= CHUNK_BYTES
                    self.got[item.stream] += item.data
                    self.attempt = item.attempt
                elif isinstance(item, Exit):
                    self.exit = item
                else:
                    self.pings += 1


@pytest.fixture
def world(tmp_path: Path) -> LogWorld:
    """One waiting task."""
    return LogWorld(tmp_path)


async def test_follower_sees_output_and_exit(world: LogWorld) -> None:
    """From before the first attempt to the exit record, each byte once."""
    reader = Reader(world)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.run)
            await anyio.wait_all_tasks_blocked()
            attempt_id = world.begin()
            await anyio.wait_all_tasks_blocked()
            world.write(attempt_id, OUT, b"hello\n")
            await anyio.sleep(0.01)
            world.write(attempt_id, ERR, b"oh")
            await world.end(attempt_id, TaskState.RETRYING)
    assert reader.got == {OUT: b"hello\n", ERR: b"oh"}
    assert reader.exit == Exit(
        attempt=1,
        state=AttemptState.FAILED,
        exit_code=3,
        signal=None,
        reason=None,
        message="exited with code 3",
        task_state=TaskState.RETRYING,
        stdout=6,
        stderr=2,
        stdout_dropped=0,
        stderr_dropped=0,
    )


async def test_task_that_never_ran_ends_with_attempt_zero(world: LogWorld) -> None:
    """A cancelled or expired task has an exit record too."""
    reader = Reader(world)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.run)
            await anyio.wait_all_tasks_blocked()
            world.announce(TaskState.CANCELLED)
    assert reader.exit is not None
    assert (reader.exit.attempt, reader.exit.state) == (0, None)
    assert reader.exit.task_state is TaskState.CANCELLED


async def test_left_out_stream_is_not_sent(world: LogWorld) -> None:
    """-1 leaves a stream out; its size is in the exit record nevertheless."""
    attempt_id = world.begin()
    world.write(attempt_id, OUT, b"a" * 300)
    world.write(attempt_id, ERR, b"b" * 20)
    await world.end(attempt_id)
    items = [item async for item in world.follow.follow(CALLER, TASK, None, 290, -1)]
    assert items[:-1] == [Output(OUT, 290, b"a" * 10, 1)]
    assert isinstance(items[-1], Exit)
    assert (items[-1].stdout, items[-1].stderr) == (300, 20)
    (only,) = [item async for item in world.follow.follow(CALLER, TASK, 1, -1, -1)]
    assert only == items[-1]
    (only,) = [item async for item in world.follow.follow(CALLER, TASK, 1, 5000, 20)]
    assert only == items[-1]


async def test_bad_requests_are_refused(world: LogWorld) -> None:
    """Before anything is sent, by the check as by following."""
    world.begin()
    follow = world.follow
    for caller, attempt, stdout, error in (
        (STRANGER, None, 0, NotFound),
        (CALLER, 2, 0, NotFound),
        (CALLER, None, -2, InvalidInput),
    ):
        with pytest.raises(error):
            await follow.check(caller, TASK, attempt, stdout, 0)
        with pytest.raises(error):
            await anext(follow.follow(caller, TASK, attempt, stdout, 0))
    await follow.check(CALLER, TASK, None, 0, -1)


async def test_idle_followers_are_pinged(tmp_path: Path) -> None:
    """While waiting for an attempt, and while it is silent."""
    world = LogWorld(tmp_path, ping_s=0.01)
    items = world.follow.follow(CALLER, TASK, None, 0, 0)
    with anyio.fail_after(10):
        assert await anext(items) == Ping()
        attempt_id = world.begin()
        assert await anext(items) == Ping()
        assert await anext(items) == Ping()
        world.write(attempt_id, OUT, b"x")
        assert await anext(items) == Output(OUT, 0, b"x", 1)


async def test_chunks_are_bounded_and_streams_take_turns(world: LogWorld) -> None:
    """Much output of one stream does not hold up the other."""
    attempt_id = world.begin()
    world.write(attempt_id, OUT, b"a" * 300_000)
    world.write(attempt_id, ERR, b"b")
    items = world.follow.follow(CALLER, TASK, None, 0, 0)
    first, second, third = [await anext(items) for _ in range(3)]
    assert first == Output(OUT, 0, b"a" * CHUNK_BYTES, 1)
    assert second == Output(ERR, 0, b"b", 1)
    assert third == Output(OUT, CHUNK_BYTES, b"a" * CHUNK_BYTES, 1)


async def test_nothing_is_read_before_it_is_asked_for(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow follower holds no output in memory."""
    attempt_id = world.begin()
    world.write(attempt_id, OUT, b"a" * 1_000_000)
    reads = 0
    original: Callable[..., Awaitable[bytes]] = world.files.read

    async def counted(*arguments: object) -> bytes:
        nonlocal reads
        reads += 1
        return await original(*arguments)

    monkeypatch.setattr(world.files, "read", counted)
    items = world.follow.follow(CALLER, TASK, None, 0, 0)
    await anext(items)
    await anyio.sleep(0.02)
    assert reads == 1


async def test_output_at_the_limit_ends_with_the_marker(tmp_path: Path) -> None:
    """A live follower sees the marker last, and the count in the exit record."""
    world = LogWorld(tmp_path, limit=100)
    attempt_id = world.begin()
    reader = Reader(world)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.run)
            world.write(attempt_id, OUT, b"x" * 500)
            await anyio.wait_all_tasks_blocked()
            await world.end(attempt_id)
    marker = b"\n[taskyard: output limit reached, 400 bytes dropped]\n"
    assert reader.got[OUT] == b"x" * 100 + marker
    assert reader.exit is not None
    assert (reader.exit.stdout, reader.exit.stdout_dropped) == (100 + len(marker), 400)


async def test_deleted_task_ends_its_followers(world: LogWorld) -> None:
    """They do not mistake missing output for the end of it."""
    attempt_id = world.begin()
    world.write(attempt_id, OUT, b"x" * 200_000)
    items = world.follow.follow(CALLER, TASK, None, 0, 0)
    await anext(items)
    await world.end(attempt_id)
    del world.store.tasks[TASK]
    await world.keeper.delete([attempt_id])
    with pytest.raises(NotFound):
        await anext(items)


async def test_stopping_service_ends_followers_without_exit(world: LogWorld) -> None:
    """Waiting for an attempt or for output, they go, so that the server can."""
    early, late = Reader(world), Reader(world)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(early.run)
            await anyio.wait_all_tasks_blocked()
            world.begin()
            tasks.start_soon(late.run)
            await anyio.wait_all_tasks_blocked()
            world.bus.close()
    assert early.exit is None
    assert late.exit is None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(Stream), st.binary(min_size=1, max_size=90)),
        st.tuples(st.just("take"), st.integers(1, 5)),
        st.tuples(st.sampled_from(["reconnect", "settle", "poll"]), st.just(0)),
        st.tuples(st.sampled_from(["end", "compress"]), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=STEPS,
    limit=st.sampled_from([0, 10, 90, 10**6]),
    inline_limit_bytes=st.sampled_from([0, 64, 10**4]),
)
def test_every_byte_is_delivered_once(
    steps: list[tuple[str, object]], limit: int, inline_limit_bytes: int
) -> None:
    """However writing, reading, reconnecting, ending, folding and compressing interleave."""
    with (
        tempfile.TemporaryDirectory() as root,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(archive, "MEMBER_BYTES", 50)
        world = LogWorld(Path(root), limit=limit, inline_limit_bytes=inline_limit_bytes)
        anyio.run(_Story(world).tell, steps)


class _Story:
    """Acts out one interleaving. An end is taken in steps, as races and crashes find it."""

    def __init__(self, world: LogWorld) -> None:
        self.world = world
        self.reader = Reader(world)
        self.attempt_id: AttemptId = world.begin()
        self.written = {OUT: b"", ERR: b""}
        self.gate = anyio.Semaphore(0)
        self.ended: Ended | None = None
        self.ending = 0

    async def tell(self, steps: list[tuple[str, object]]) -> None:
        remaining = list(steps)
        connected = False
        with anyio.fail_after(20):
            while not connected:
                connected = True
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self.reader.run, self.gate)
                    while remaining and connected:
                        step, argument = remaining.pop(0)
                        await self.act(step, argument)
                        connected = step != "reconnect"
                    if connected:
                        await self.complete()
                    else:
                        tasks.cancel_scope.cancel()
        self.compare()

    async def complete(self) -> None:
        """The rest of the end, with the reader taking all it can get."""
        for _ in range(4):
            await self.act("end", 0)
        for _ in range(1000):
            self.gate.release()

    async def act(self, step: str, argument: object) -> None:
        if step == "take":
            for _ in range(cast("int", argument)):
                self.gate.release()
                await checkpoint()
        elif step == "settle":
            await anyio.wait_all_tasks_blocked()
        elif step == "poll":
            await anyio.sleep(0.003)
        elif step == "end":
            await self.end_further()
        elif step == "compress":
            # Only what is over and not inline_output is ever compressed.
            if self.ending == 4 and (self.world.root / self.attempt_id).exists():
                self.world.compress(self.attempt_id)
        elif step != "reconnect" and not self.ending:
            stream = Stream(step)
            self.world.write(self.attempt_id, stream, cast("bytes", argument))
            self.written[stream] += cast("bytes", argument)

    async def end_further(self) -> None:
        if self.ending == 0:
            self.ended = await self.world.finish(self.attempt_id)
        assert self.ended is not None
        if self.ending == 1:
            self.world.commit(self.ended)
        elif self.ending == 2:
            await self.world.store_done(self.ended)
        elif self.ending == 3:
            self.world.announce(TaskState.FAILED)
        self.ending = min(self.ending + 1, 4)

    def compare(self) -> None:
        limit = self.world.limit
        found = self.reader.exit
        assert found is not None
        for stream, size, dropped in (
            (OUT, found.stdout, found.stdout_dropped),
            (ERR, found.stderr, found.stderr_dropped),
        ):
            expected = self.written[stream]
            lost = max(0, len(expected) - limit)
            if lost:
                expected = expected[:limit]
                expected += b"\n[taskyard: output limit reached, %d bytes dropped]\n" % lost
            assert bytes(self.reader.got[stream]) == expected
            assert (size, dropped) == (len(expected), lost)
