"""Both streams are followed in the order they came, whatever becomes of the output meanwhile."""

import tempfile
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_world import CALLER, TASK, LogWorld

from taskyard.core.instants import Instant
from taskyard.core.output_index import STDERR, STDOUT, encode
from taskyard.core.states import AttemptState, TaskState
from taskyard.ports.logs import Stream
from taskyard.services.tasks import follow, followed
from taskyard.services.tasks.follow import CaughtUp, Exit
from taskyard.services.tasks.followed import ORDER_S, Output

pytestmark = pytest.mark.anyio

OUT, ERR = Stream.STDOUT, Stream.STDERR
PIECES = st.lists(
    st.tuples(st.sampled_from([OUT, ERR]), st.binary(min_size=1, max_size=40)), max_size=12
)


@pytest.fixture
def world(tmp_path: Path) -> LogWorld:
    """One waiting task."""
    return LogWorld(tmp_path)


async def outputs(
    world: LogWorld, stdout: int = 0, stderr: int = 0, *, wait: bool = True, timed: bool = False
) -> list[Output]:
    """What a follower gets, to its end."""
    stream = world.follow.follow(CALLER, TASK, 1, stdout, stderr, wait=wait, timed=timed)
    async with aclosing(stream) as items:
        return [item async for item in items if isinstance(item, Output)]


def mixed(found: list[Output]) -> bytes:
    """The bytes of both streams as one."""
    return b"".join(output.data for output in found)


async def say_some(world: LogWorld) -> None:
    """An attempt that has written to both streams by turns, and runs."""
    attempt_id = world.begin()
    for number in range(6):
        world.say(attempt_id, ERR if number % 2 else OUT, b"line %d\n" % number, 1_000_000 * number)


SAID = b"".join(b"line %d\n" % number for number in range(6))


async def test_output_comes_in_order_while_it_runs(world: LogWorld) -> None:
    """To one who takes what there is, and to one who waits for the end."""
    await say_some(world)
    assert mixed(await outputs(world, wait=False)) == SAID


@pytest.mark.parametrize("inline_limit_bytes", [0, 1000])
@pytest.mark.parametrize("compressed", [True, False])
async def test_output_comes_in_order_afterwards(
    tmp_path: Path, inline_limit_bytes: int, compressed: bool
) -> None:
    """Out of the store, plain files and archives."""
    world = LogWorld(tmp_path, inline_limit_bytes=inline_limit_bytes)
    await say_some(world)
    (attempt_id,) = world.store.all
    await world.end(attempt_id)
    if compressed:
        world.compress(attempt_id)
    assert (tmp_path / attempt_id).exists() == (not inline_limit_bytes)
    assert mixed(await outputs(world)) == SAID


async def test_a_reader_goes_on_at_both_offsets(world: LogWorld) -> None:
    """From every place in between."""
    await say_some(world)
    (attempt_id,) = world.store.all
    await world.end(attempt_id)
    for cut in range(len(SAID)):
        lines = SAID[:cut].splitlines(keepends=True)
        stdout = sum(len(line) for line in lines[::2])
        assert mixed(await outputs(world, stdout, cut - stdout)) == SAID[cut:]


async def test_times_are_told_if_asked_for(world: LogWorld) -> None:
    """Then each piece is by itself; what the index does not cover has none."""
    await say_some(world)
    (attempt_id,) = world.store.all
    world.write(attempt_id, ERR, b"more")
    found = await outputs(world, wait=False, timed=True)
    assert [output.at for output in found] == [
        *(Instant(1_000_000 * number) for number in range(6)),
        None,
    ]
    assert all(output.at is None for output in await outputs(world, wait=False))


async def test_one_who_does_not_wait_is_told_that_more_may_come(world: LogWorld) -> None:
    """Unless the attempt has ended."""
    last: list[object] = []

    async def look(attempt: int | None) -> None:
        stream = world.follow.follow(CALLER, TASK, attempt, 0, 0, wait=False)
        async with aclosing(stream) as items:
            last[:] = [[item async for item in items][-1]]

    with anyio.fail_after(10):
        await look(None)
        assert last == [CaughtUp(0)]
        await say_some(world)
        await look(None)
        assert last == [CaughtUp(1)]
        (attempt_id,) = world.store.all
        await world.end(attempt_id)
        await look(1)
    assert isinstance(last[0], Exit)


async def test_output_is_held_back_until_its_order_is_known(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime writes the output first, and then in which order it came."""
    for module in (follow, followed):
        monkeypatch.setattr(module, "ORDER_S", 1000.0)
    attempt_id = world.begin()
    world.say(attempt_id, OUT, b"a")
    world.write(attempt_id, OUT, b"c")
    world.write(attempt_id, ERR, b"b")
    found: list[Output] = []

    async def read() -> None:
        async with aclosing(world.follow.follow(CALLER, TASK, 1, 0, 0)) as items:
            async for item in items:
                if isinstance(item, Output):
                    found.append(item)
                if len(found) == 3:
                    return

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            assert mixed(found) == b"a"
            with (world.root / attempt_id / "order").open("ab") as file:
                file.write(encode(0, 1, STDERR) + encode(0, 1, STDOUT))
    assert mixed(found) == b"abc"


async def test_output_of_one_stream_is_not_held_back(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes of the other one comes later; only its time is not known yet."""
    for module in (follow, followed):
        monkeypatch.setattr(module, "ORDER_S", 1000.0)
    attempt_id = world.begin()
    world.say(attempt_id, ERR, b"a")
    world.write(attempt_id, OUT, b"b")
    with anyio.fail_after(10):
        assert mixed(await outputs(world, wait=False)) == b"ab"
        async with aclosing(world.follow.follow(CALLER, TASK, 1, 0, 0, timed=True)) as items:
            assert isinstance(await anext(items), Output)
            with anyio.move_on_after(0.1):
                await anext(items)
                raise AssertionError("a piece came without its time")


async def test_output_without_an_order_is_not_held_back_for_long(world: LogWorld) -> None:
    """Such as when the index could not be written any more."""
    attempt_id = world.begin()
    world.say(attempt_id, OUT, b"a")
    world.write(attempt_id, ERR, b"b")
    world.write(attempt_id, OUT, b"c")
    began = anyio.current_time()
    found = b""
    with anyio.fail_after(10):
        async with aclosing(world.follow.follow(CALLER, TASK, 1, 0, 0)) as items:
            async for item in items:
                assert isinstance(item, Output)
                found += item.data
                if len(found) == 3:
                    break
    assert found in (b"abc", b"acb")
    assert anyio.current_time() - began < 20 * ORDER_S


@pytest.mark.parametrize("index", [None, b"", b"\xff" * 64, b"\x01" * 15])
async def test_without_a_usable_index_stdout_comes_first(
    world: LogWorld, index: bytes | None
) -> None:
    """Damage to it costs the order, and nothing else."""
    attempt_id = world.begin()
    for stream, data in ((ERR, b"b" * 100), (OUT, b"a" * 70_000), (ERR, b"b" * 70_000)):
        world.write(attempt_id, stream, data)
    if index is not None:
        (world.root / attempt_id / "order").write_bytes(index)
    await world.end(attempt_id)
    assert mixed(await outputs(world)) == b"a" * 70_000 + b"b" * 70_100


async def test_an_archived_index_that_is_damaged_costs_the_order_only(world: LogWorld) -> None:
    """Members of archives have checksums."""
    attempt_id = world.begin()
    for number in range(100):
        world.say(attempt_id, ERR if number % 2 else OUT, b"line %d\n" % number)
    await world.end(attempt_id)
    world.compress(attempt_id)
    archive = world.root / attempt_id / "order.gz"
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    found = await outputs(world)
    assert [output.stream for output in found] == [OUT, ERR]


@pytest.mark.parametrize("compressed", [True, False])
async def test_the_exit_tells_what_is_gone(tmp_path: Path, compressed: bool) -> None:
    """Deleted by hand, or damaged in an archive; the other stream comes all the same."""
    world = LogWorld(tmp_path, inline_limit_bytes=0)
    attempt_id = world.begin()
    world.say(attempt_id, OUT, b"gone")
    world.say(attempt_id, ERR, b"here")
    await world.end(attempt_id)
    if compressed:
        world.compress(attempt_id)
        archive = tmp_path / attempt_id / "stdout.gz"
        archive.write_bytes(archive.read_bytes()[:-5] + b"wrong")
    else:
        (tmp_path / attempt_id / "stdout").unlink()
    async with aclosing(world.follow.follow(CALLER, TASK, 1, 0, 0)) as items:
        found = [item async for item in items]
    exit_ = found.pop()
    assert isinstance(exit_, Exit)
    assert (exit_.stdout, exit_.stdout_missing) == (0, 4)
    assert (exit_.stderr, exit_.stderr_missing) == (4, 0)
    assert mixed([one for one in found if isinstance(one, Output)]) == b"here"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(PIECES, st.data())
async def test_every_byte_once_and_in_order_across_reconnects(
    anyio_backend: str,  # noqa: ARG001 - Hypothesis runs the coroutine by it
    pieces: list[tuple[Stream, bytes]],
    data: st.DataObject,
) -> None:
    """Whatever part was read live, after the end, out of the store or out of an archive."""
    with tempfile.TemporaryDirectory() as directory:
        fold, compress = data.draw(st.sampled_from([0, 10_000])), data.draw(st.booleans())
        world = LogWorld(Path(directory), inline_limit_bytes=fold, compress_bytes=10_000)
        attempt_id = world.begin()
        found: list[tuple[Stream, bytes]] = []
        at = {OUT: 0, ERR: 0}

        async def look() -> None:
            timed = data.draw(st.booleans())
            for output in await outputs(world, at[OUT], at[ERR], wait=False, timed=timed):
                assert output.offset == at[output.stream]
                at[output.stream] += len(output.data)
                found.extend((output.stream, bytes([one])) for one in output.data)
                if data.draw(st.integers(0, 3)) == 0:
                    return  # the connection breaks

        for stream, piece in pieces:
            world.say(attempt_id, stream, piece)
            if data.draw(st.booleans()):
                await look()
        await world.end(attempt_id, TaskState.FAILED)
        assert world.store.all[attempt_id].state is AttemptState.FAILED
        if compress:
            world.compress(attempt_id)
        for _ in range(200):
            await look()
        assert found == [(stream, bytes([one])) for stream, piece in pieces for one in piece]
