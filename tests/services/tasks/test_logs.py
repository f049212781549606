"""Reading output, wherever it is."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from log_world import CALLER, STRANGER, TASK, LogWorld

from taskyard.core.errors import InvalidInput, NotFound, StoreDamaged
from taskyard.core.ids import AttemptId
from taskyard.core.states import AttemptState
from taskyard.ports.logs import Stream

pytestmark = pytest.mark.anyio

OUT, ERR = Stream.STDOUT, Stream.STDERR


async def test_output_that_is_gone_is_told(tmp_path: Path) -> None:
    """Deleted by hand or by damage: neither empty nor the end, but an error that says so."""
    world = LogWorld(tmp_path, inline_limit_bytes=0)
    attempt_id = world.begin()
    world.write(attempt_id, Stream.STDOUT, b"0123456789")
    world.write(attempt_id, Stream.STDERR, b"abc")
    await world.end(attempt_id)
    file = tmp_path / attempt_id / "stdout"
    file.write_bytes(b"0123")
    found = await world.logs.read(CALLER, TASK, Stream.STDOUT, 1, 0, 100)
    assert (found.data, found.size) == (b"0123", 10)
    with pytest.raises(StoreDamaged, match="6 bytes of stdout of attempt 1 are gone"):
        await world.logs.read(CALLER, TASK, Stream.STDOUT, 1, 4, 100)
    file.unlink()
    for offset, length in ((0, 0), (0, 100), (5, 1)):
        with pytest.raises(StoreDamaged, match="10 bytes of stdout of attempt 1 are gone"):
            await world.logs.read(CALLER, TASK, Stream.STDOUT, 1, offset, length)
    assert (await world.logs.read(CALLER, TASK, Stream.STDERR, 1, 0, 100)).data == b"abc"
    del world.store.all[attempt_id]
    with pytest.raises(NotFound):
        await world.logs.read(CALLER, TASK, Stream.STDOUT, None, 0, 100)


@pytest.fixture
def world(tmp_path: Path) -> LogWorld:
    """One waiting task."""
    return LogWorld(tmp_path)


async def test_unknown_tasks_and_attempts_are_not_found(world: LogWorld) -> None:
    """Without an attempt there is nothing to read, and other workspaces' tasks do not exist."""
    with pytest.raises(NotFound):
        await world.logs.read(CALLER, TASK, OUT, None, 0, 10)
    world.begin()
    with pytest.raises(NotFound):
        await world.logs.read(CALLER, TASK, OUT, 2, 0, 10)
    with pytest.raises(NotFound):
        await world.logs.read(STRANGER, TASK, OUT, 1, 0, 10)


async def test_negative_numbers_are_refused(world: LogWorld) -> None:
    """With the name of the number."""
    world.begin()
    with pytest.raises(InvalidInput, match="offset"):
        await world.logs.read(CALLER, TASK, OUT, None, -1, 10)
    with pytest.raises(InvalidInput, match="length"):
        await world.logs.read(CALLER, TASK, OUT, None, 0, -10)


async def test_latest_attempt_is_the_default(world: LogWorld) -> None:
    """A number chooses an earlier one."""
    first, second = world.begin(1), world.begin(2)
    world.write(first, OUT, b"one")
    world.write(second, OUT, b"two!")
    latest = await world.logs.read(CALLER, TASK, OUT, None, 1, 2)
    assert (latest.data, latest.offset, latest.size) == (b"wo", 1, 4)
    assert latest.attempt.number == 2
    assert not latest.complete
    assert (await world.logs.read(CALLER, TASK, OUT, 1, 0, 99)).data == b"one"


@pytest.mark.parametrize("size", [0, 10, 64, 100, 5000])
async def test_ended_output_is_complete_wherever_it_is(world: LogWorld, size: int) -> None:
    """Folded, plain or compressed: the same bytes, sizes and flags."""
    attempt_id = world.begin()
    world.limit = 4000
    (world.root / attempt_id / "meta.json").write_text('{"log_limit_bytes": 4000}')
    content = bytes(n % 251 for n in range(size))
    world.write(attempt_id, OUT, content)
    ended = await world.end(attempt_id)
    if size > 200:
        world.compress(attempt_id)
        assert not (world.root / attempt_id / "stdout").exists()
    if size <= 64:
        assert not (world.root / attempt_id).exists()
    expected = content
    if size > 4000:
        expected = content[:4000] + b"\n[taskyard: output limit reached, 1000 bytes dropped]\n"
    whole = await world.logs.read(CALLER, TASK, OUT, None, 0, 10**6)
    assert whole.data == expected
    assert whole.size == len(expected) == ended.stdout.stored_bytes
    assert whole.dropped == max(0, size - 4000)
    assert whole.complete
    part = await world.logs.read(CALLER, TASK, OUT, None, 5, 20)
    assert part.data == expected[5:25]
    past = await world.logs.read(CALLER, TASK, OUT, None, 10**6, 20)
    assert (past.data, past.size, past.offset) == (b"", len(expected), 10**6)
    other = await world.logs.read(CALLER, TASK, ERR, None, 0, 20)
    assert (other.data, other.size, other.complete) == (b"", 0, True)


async def test_output_of_a_lost_attempt_is_read_from_files(world: LogWorld) -> None:
    """Nobody reported its size; what it wrote is there all the same."""
    attempt_id = world.begin()
    world.write(attempt_id, OUT, b"last words")
    world.lose(attempt_id)
    found = await world.logs.read(CALLER, TASK, OUT, None, 0, 99)
    assert (found.data, found.size, found.complete) == (b"last words", 10, True)
    assert found.attempt.state is AttemptState.LOST


@pytest.mark.parametrize("method", ["size", "read"])
async def test_folding_between_the_looks_is_noticed(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The directory goes while it is being read: the store has the bytes by then."""
    attempt_id = world.begin()
    world.write(attempt_id, OUT, b"short")
    original: Callable[..., Awaitable[object]] = getattr(world.files, method)

    async def ends_before(*arguments: object) -> object:
        monkeypatch.undo()
        await world.end(attempt_id)
        return await original(*arguments)

    monkeypatch.setattr(world.files, method, ends_before)
    found = await world.logs.read(CALLER, TASK, OUT, None, 0, 99)
    assert (found.data, found.size, found.complete) == (b"short", 5, True)


async def test_deleted_task_is_not_found(world: LogWorld) -> None:
    """Output goes with its task."""
    attempt_id = world.begin()
    world.write(attempt_id, OUT, b"x")
    await world.end(attempt_id)
    del world.store.tasks[TASK]
    await world.keeper.delete([AttemptId(attempt_id)])
    with pytest.raises(NotFound):
        await world.logs.read(CALLER, TASK, OUT, None, 0, 99)
