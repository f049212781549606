"""What becomes of output at the end of an attempt."""

import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from eventually import eventually_async
from taskyard.core.attempts import Ended, StreamSize
from taskyard.core.ids import AttemptId, LeaseToken
from taskyard.core.instants import Instant
from taskyard.core.output_index import FILE, STDERR, STDOUT, encode
from taskyard.core.states import AttemptState
from taskyard.ports.logs import Stream
from taskyard.worker.output.archive import Halted
from taskyard.worker.output.attempt_log import AttemptOutput
from taskyard.worker.output.log_files import LogFiles
from taskyard.worker.output.log_keeper import LogKeeper

pytestmark = pytest.mark.anyio

ONE = AttemptId("01988a00-0000-7000-8000-000000000001")
TWO = AttemptId("01988a00-0000-7000-8000-000000000002")
OUT, ERR = Stream.STDOUT, Stream.STDERR
EMPTY = StreamSize()


@pytest.fixture
def files(tmp_path: Path) -> LogFiles:
    """A store without attempts."""
    return LogFiles(tmp_path, poll_s=0.001)


@pytest.fixture
async def keeper(files: LogFiles) -> AsyncIterator[LogKeeper]:
    """A running keeper."""
    keeper = LogKeeper(files)
    await keeper.start()
    yield keeper
    await keeper.stop()


def make(root: Path, attempt_id: AttemptId, out: bytes, err: bytes = b"") -> Path:
    """An attempt that has written this."""
    directory = root / attempt_id
    directory.mkdir()
    (directory / "meta.json").write_text(json.dumps({"log_limit_bytes": 10**9}))
    (directory / "stdout").write_bytes(out)
    (directory / "stderr").write_bytes(err)
    (directory / "work").mkdir()
    return directory


def report(attempt_id: AttemptId = ONE, out: StreamSize = EMPTY) -> Ended:
    """A report as the runtime makes it."""
    return Ended(attempt_id, LeaseToken("l"), Instant(1), AttemptState.SUCCEEDED, stdout=out)


async def test_little_output_is_inline_output(keeper: LogKeeper, tmp_path: Path) -> None:
    """Both streams travel with the report; once that is stored the directory goes."""
    directory = make(tmp_path, ONE, b"out", b"err")
    ended = await keeper.finish(ONE, report())
    assert ended.inline_output == {"stdout": b"out", "stderr": b"err"}
    assert (ended.stdout, ended.stderr) == (StreamSize(3), StreamSize(3))
    assert await keeper.finish(ONE, report()) == ended
    assert directory.exists()
    await keeper.stored(ended)
    await eventually_async(lambda: not directory.exists())


async def test_empty_streams_are_left_out(keeper: LogKeeper, tmp_path: Path) -> None:
    """Nothing is stored for nothing, and nothing stays on disk."""
    directory = make(tmp_path, ONE, b"", b"err")
    assert (await keeper.finish(ONE, report())).inline_output == {"stderr": b"err"}
    silent = make(tmp_path, TWO, b"")
    ended = await keeper.finish(TWO, report(TWO))
    assert ended == report(TWO)
    await keeper.stored(ended)
    await eventually_async(lambda: not silent.exists())
    assert directory.exists()


async def test_who_is_known_to_be_silent_is_not_looked_at(
    keeper: LogKeeper, tmp_path: Path
) -> None:
    """Most commands are; their directories go all the same."""
    directory = make(tmp_path, ONE, b"not written by the runtime")
    silent = msgspec.structs.replace(report(), is_silent=True)
    ended = await keeper.finish(ONE, silent)
    assert ended == silent
    await keeper.stored(ended)
    await eventually_async(lambda: not directory.exists())


async def test_the_order_goes_where_the_output_goes(keeper: LogKeeper, tmp_path: Path) -> None:
    """Into the store with little output, unless it is long; counted wherever it is."""
    index = encode(1, 3, STDOUT) + encode(2, 3, STDERR)
    directory = make(tmp_path, ONE, b"out", b"err")
    (directory / FILE).write_bytes(index)
    ended = await keeper.finish(ONE, report())
    assert ended.inline_output == {"stdout": b"out", "stderr": b"err", FILE: index}
    assert ended.order_bytes == len(index)
    await keeper.stored(ended)
    await eventually_async(lambda: not directory.exists())
    long = make(tmp_path, TWO, b"x" * 2000)
    (long / FILE).write_bytes(encode(1, 1, STDOUT) * 2000)
    ended = await keeper.finish(TWO, report(TWO))
    assert ended.inline_output == {}
    assert ended.order_bytes == 32_000
    await keeper.stored(ended)
    assert (long / FILE).stat().st_size == 32_000


async def test_a_long_order_is_compressed(
    files: LogFiles, keeper: LogKeeper, tmp_path: Path
) -> None:
    """Beside the streams, of which each is small; it is read as before, and deleted with them."""
    directory = make(tmp_path, ONE, b"x" * 20_000)
    index = encode(1, 1, STDOUT) * 20_000
    (directory / FILE).write_bytes(index)
    await keeper.stored(await keeper.finish(ONE, report()))
    await eventually_async(lambda: not (directory / FILE).exists())
    assert await files.order(ONE, 0, 1 << 20) == index
    assert await files.order(ONE, 16, 32) == index[16:48]
    assert (directory / "stdout").read_bytes() == b"x" * 20_000
    await keeper.delete([ONE])
    assert not directory.exists()
    assert await files.order(ONE, 0, 100) is None


async def test_fold_limit_is_for_both_streams_together(keeper: LogKeeper, tmp_path: Path) -> None:
    """Exactly the limit is inline_output; one byte more stays in files."""
    make(tmp_path, ONE, b"x" * 16000, b"y" * 384)
    assert len((await keeper.finish(ONE, report())).inline_output) == 2
    directory = make(tmp_path, TWO, b"x" * 16000, b"y" * 385)
    ended = await keeper.finish(TWO, report(TWO))
    assert ended.inline_output == {}
    assert (ended.stdout, ended.stderr) == (StreamSize(16000), StreamSize(385))
    await keeper.stored(ended)
    assert (directory / "stdout").read_bytes() == b"x" * 16000


async def test_marker_is_folded_with_the_output(keeper: LogKeeper, tmp_path: Path) -> None:
    """Truncated output says so wherever it is kept, and the sizes count it."""
    directory = make(tmp_path, ONE, b"x" * 50)
    (directory / "meta.json").write_text('{"log_limit_bytes": 20}')
    ended = await keeper.finish(ONE, report())
    marker = b"\n[taskyard: output limit reached, 30 bytes dropped]\n"
    assert ended.inline_output == {"stdout": b"x" * 20 + marker}
    assert ended.stdout == StreamSize(20 + len(marker), 30)
    assert await keeper.finish(ONE, ended) == ended


async def test_reported_drop_counts(keeper: LogKeeper, tmp_path: Path) -> None:
    """A runtime that truncates by itself says how much; that is kept over a second finish."""
    make(tmp_path, ONE, b"x" * 50)
    ended = await keeper.finish(ONE, report(out=StreamSize(50, 9)))
    assert ended.stdout.dropped_bytes == 9
    assert ended.inline_output["stdout"].endswith(b"9 bytes dropped]\n")
    assert await keeper.finish(ONE, report()) == ended


async def test_attempt_without_files_ends_empty(keeper: LogKeeper) -> None:
    """What could not even be started has no output."""
    for attempt_id in (ONE, AttemptId("no id")):
        ended = await keeper.finish(attempt_id, report(attempt_id))
        assert ended == report(attempt_id)
        await keeper.stored(ended)


async def test_much_output_is_compressed(
    keeper: LogKeeper, files: LogFiles, tmp_path: Path
) -> None:
    """Only the large stream, in the background, and it reads the same."""
    content = os.urandom(100) * 5000
    directory = make(tmp_path, ONE, content, b"small")
    ended = await keeper.finish(ONE, report())
    await keeper.stored(ended)
    await eventually_async(lambda: not (directory / "stdout").exists())
    assert (directory / "stdout.gz").stat().st_size < len(content) // 10
    assert (directory / "stderr").exists()
    assert await files.read(ONE, OUT, 0, len(content)) == content
    assert await files.size(ONE, OUT) == ended.stdout


async def test_stop_halts_compression_and_a_sweep_takes_it_up(
    files: LogFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost by stopping in the middle; the next process goes on."""
    content = b"0123456789" * 50_000
    directory = make(tmp_path, ONE, content)
    active = make(tmp_path, TWO, content)
    keeper = LogKeeper(files)
    await keeper.start()
    await keeper.start()
    began = False
    original = AttemptOutput.compress

    def slow(self: AttemptOutput, stream: Stream, halted: Callable[[], bool]) -> None:
        nonlocal began
        began = True
        while not halted():
            pass
        original(self, stream, halted)

    monkeypatch.setattr(AttemptOutput, "compress", slow)
    await keeper.stored(await keeper.finish(ONE, report()))
    await eventually_async(lambda: began)
    await keeper.stop()
    await keeper.stop()
    assert (directory / "stdout").read_bytes() == content
    monkeypatch.undo()
    (directory / "stdout.gz.new").write_bytes(b"half")
    again = LogKeeper(LogFiles(tmp_path))
    await again.start()
    await again.sweep(lambda attempt_id: attempt_id == TWO)
    await eventually_async(lambda: not (directory / "stdout").exists())
    assert (active / "stdout").exists()
    assert not (directory / "stdout.gz.new").exists()
    await again.stop()


async def test_output_that_still_grows_is_not_compressed(files: LogFiles, tmp_path: Path) -> None:
    """A fenced attempt that its kill has not reached keeps every byte it writes."""
    directory = make(tmp_path, ONE, b"x" * 3_000_000)
    output = files.output(ONE)
    assert output is not None
    asked = 0

    def grow() -> bool:
        nonlocal asked
        asked += 1
        if asked == 2:
            with (directory / "stdout").open("ab") as file:
                file.write(b"more")
        return False

    with pytest.raises(Halted):
        output.compress(OUT, grow)
    assert (directory / "stdout").stat().st_size == 3_000_004
    assert not (directory / "stdout.gz").exists()


async def test_sweep_removes_what_the_store_has(keeper: LogKeeper, tmp_path: Path) -> None:
    """A crash between the commit and the removal is made good; evidence stays."""
    inline_output = {(ONE, "stdout"): b"out", (TWO, "stdout"): b"out"}
    kept = make(tmp_path, TWO, b"out", b"not in the store")
    gone = make(tmp_path, ONE, b"out")
    (tmp_path / "something-else").mkdir()

    async def ask(attempt_id: AttemptId, stream: str) -> bytes | None:
        return inline_output.get((attempt_id, stream))

    await keeper.sweep(lambda _: True, ask)
    await keeper.sweep(lambda _: False)
    assert gone.exists()
    await keeper.sweep(lambda _: False, ask)
    await eventually_async(lambda: not gone.exists())
    assert kept.exists()
    assert (tmp_path / "something-else").exists()


async def test_trash_of_an_earlier_process_is_emptied(files: LogFiles, tmp_path: Path) -> None:
    """Removal that a crash interrupted goes on."""
    (tmp_path / ".trash" / ONE / "work").mkdir(parents=True)
    keeper = LogKeeper(files)
    await keeper.start()
    await eventually_async(lambda: not list((tmp_path / ".trash").iterdir()))
    await keeper.stop()


async def test_report_keeps_what_else_it_says(keeper: LogKeeper, tmp_path: Path) -> None:
    """Only sizes and inline_output output are filled in."""
    make(tmp_path, ONE, b"a")
    before = msgspec.structs.replace(report(), exit_code=3, message="m")
    after = await keeper.finish(ONE, before)
    assert msgspec.structs.replace(after, stdout=StreamSize(), inline_output={}) == before


async def test_delete_removes_everything(keeper: LogKeeper, tmp_path: Path) -> None:
    """Deleting a task leaves nothing of its attempts."""
    directory = make(tmp_path, ONE, b"a")
    await keeper.delete([ONE, TWO])
    assert not directory.exists()
