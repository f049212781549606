"""Output of attempts on disk; what every log store promises is in the conformance suite."""

import gzip
import json
import os
import stat
from pathlib import Path

import anyio
import pytest

from taskyard.core.attempts import StreamSize
from taskyard.core.ids import AttemptId
from taskyard.ports.logs import Stream
from taskyard.worker.output import attempt_log, raw_files
from taskyard.worker.output.log_files import LARGEST_READ_BYTES, LogFiles, remove_tree

pytestmark = pytest.mark.anyio

ONE = AttemptId("01988a00-0000-7000-8000-000000000001")
OUT, ERR = Stream.STDOUT, Stream.STDERR


@pytest.fixture
def files(tmp_path: Path) -> LogFiles:
    """A store without attempts."""
    return LogFiles(tmp_path, poll_s=0.001)


def begin(root: Path, attempt_id: AttemptId = ONE, limit: int | None = 1000) -> Path:
    """An attempt that is about to begin."""
    directory = root / attempt_id
    directory.mkdir(parents=True)
    if limit is not None:
        (directory / "meta.json").write_text(json.dumps({"log_limit_bytes": limit}))
    return directory


def descriptors() -> int:
    """How many this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_limit_is_taken_up_once_it_is_written(files: LogFiles, tmp_path: Path) -> None:
    """An attempt looked at before its record is complete is not without limit forever."""
    directory = begin(tmp_path, limit=None)
    (directory / "meta.json").write_text("")
    (directory / "stdout").write_bytes(b"x" * 50)
    assert await files.size(ONE, OUT) == StreamSize(50)
    (directory / "meta.json").write_text('{"log_limit_bytes": 20}')
    assert await files.size(ONE, OUT) == StreamSize(20, 30)


async def test_links_and_pipes_are_not_followed(files: LogFiles, tmp_path: Path) -> None:
    """Whatever the work puts in the place of its output, nothing else is read."""
    (tmp_path / "other").write_text("not yours")
    directory = begin(tmp_path)
    (directory / "stdout").symlink_to(tmp_path / "other")
    os.mkfifo(directory / "stderr")
    assert await files.size(ONE, OUT) == StreamSize()
    assert await files.read(ONE, OUT, 0, 10) == b""
    assert await files.size(ONE, ERR) == StreamSize()
    assert await files.read(ONE, ERR, 0, 10) == b""


@pytest.mark.parametrize("patient", [False, True])
async def test_a_read_while_the_output_is_compressed_is_no_end(
    files: LogFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    """The plain file may go between two steps of a read; all its bytes are in the archive then."""
    content = bytes(range(256)) * 2000
    directory = begin(tmp_path, limit=1 << 20)
    (directory / "stdout").write_bytes(content)
    output = files.output(ONE)
    assert output is not None
    names = raw_files.leads_to

    def late(path: str, status: os.stat_result) -> bool:
        monkeypatch.setattr(attempt_log, "leads_to", names)
        output.compress(OUT, lambda: False)
        assert not Path(path).exists()
        return names(path, status)

    monkeypatch.setattr(attempt_log, "leads_to", late)
    length = 300_000 if patient else 1000
    assert await files.read(ONE, OUT, 256, length) == content[256 : 256 + length]


async def test_seal_ends_the_stream_with_one_marker(files: LogFiles, tmp_path: Path) -> None:
    """The marker appears with the seal, is counted, and stays the same however often sealed."""
    directory = begin(tmp_path)
    (directory / "stdout").write_bytes(b"a" * 1000 + b"b" * 234)
    (directory / "stderr").write_bytes(b"fine")
    output = files.output(ONE)
    assert output is not None
    with pytest.raises(BlockingIOError):
        output.seal({}, patient=False)
    marker = b"\n[taskyard: output limit reached, 234 bytes dropped]\n"
    for _ in range(3):
        sizes = output.seal({}, patient=True)
        assert sizes == {OUT: StreamSize(1000 + len(marker), 234), ERR: StreamSize(4)}
        assert await files.size(ONE, OUT) == sizes[OUT]
        assert await files.read(ONE, OUT, 0, 5000) == b"a" * 1000 + marker
        assert await files.read(ONE, OUT, 999, 3) == (b"a" + marker)[:3]
        assert await files.read(ONE, OUT, 1004, 6) == marker[4:10]
        assert await files.read(ONE, OUT, 1000 + len(marker), 6) == b""
        assert (directory / "stdout").stat().st_size == 1000


@pytest.mark.parametrize("step", ["before", "after"])
async def test_crash_around_the_seal_leaves_one_marker(
    files: LogFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Dying right before or after the seal appears leaves no half a marker, and not two."""
    directory = begin(tmp_path)
    (directory / "stdout").write_bytes(b"a" * 1500)
    output = files.output(ONE)
    assert output is not None

    class Crash(BaseException):
        pass

    def die(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        if step == "before":
            patch.setattr(Path, "replace", die)
        else:
            patch.setattr(os, "truncate", die)
        with pytest.raises(Crash):
            output.seal({}, patient=True)
    data = await files.read(ONE, OUT, 0, 5000)
    marker = b"\n[taskyard: output limit reached, 500 bytes dropped]\n"
    assert data == b"a" * 1000 + (marker if step == "after" else b"")
    output = LogFiles(tmp_path).output(ONE)
    assert output is not None
    output.seal({}, patient=True)
    assert await files.read(ONE, OUT, 0, 5000) == b"a" * 1000 + marker
    assert (directory / "stdout").stat().st_size == 1000


async def test_count_of_the_runtime_survives_its_truncation(
    files: LogFiles, tmp_path: Path
) -> None:
    """What the runtime dropped by itself is counted, though the file does not show it any more."""
    directory = begin(tmp_path)
    (directory / "stderr").write_bytes(b"a" * 1000)
    output = files.output(ONE)
    assert output is not None
    first = output.seal({ERR: 77}, patient=True)
    assert first[ERR].dropped_bytes == 77
    assert output.seal({}, patient=True) == first


@pytest.mark.parametrize("beyond", [7, 60])
async def test_a_kept_end_follows_on_the_marker(
    files: LogFiles, tmp_path: Path, beyond: int
) -> None:
    """It appears with the seal, all at once; without a marker if nothing is missing."""
    directory = begin(tmp_path, limit=10)
    (directory / "stdout").write_bytes(b"0123456789")
    (directory / "stdout.older").write_bytes(b"abcd")
    (directory / "stdout.newer").write_bytes(b"efg")
    output = files.output(ONE)
    assert output is not None
    assert await files.size(ONE, OUT) == StreamSize(10)
    assert await files.read(ONE, OUT, 0, 99) == b"0123456789"
    sizes = output.seal({OUT: beyond}, patient=True)
    marker = b"\n[taskyard: output limit reached, 53 bytes dropped]\n" if beyond == 60 else b""
    whole = b"0123456789" + marker + b"abcdefg"
    assert sizes[OUT] == await files.size(ONE, OUT) == StreamSize(len(whole), beyond - 7)
    assert output.seal({}, patient=True) == sizes
    for offset in range(len(whole) + 2):
        for length in (1, 2, 5, 99):
            expected = whole[offset : offset + length]
            assert await files.read(ONE, OUT, offset, length) == expected
    output.compress(OUT, lambda: False)
    assert await files.read(ONE, OUT, 0, 99) == whole[:99]
    assert await files.size(ONE, OUT) == sizes[OUT]
    assert not [one.name for one in directory.iterdir() if one.name.startswith("stdout.older")]
    assert not [one.name for one in directory.iterdir() if one.name.startswith("stdout.newer")]


async def test_an_end_that_is_compressed_while_it_is_read(files: LogFiles, tmp_path: Path) -> None:
    """Comes from the archive then."""
    directory = begin(tmp_path, limit=4)
    (directory / "stdout").write_bytes(b"0123")
    (directory / "stdout.newer").write_bytes(b"efg")
    output = files.output(ONE)
    assert output is not None
    output.seal({OUT: 3}, patient=True)
    output.compress(OUT, lambda: False)
    # As for a reader who had opened the plain file before.
    (directory / "stdout").write_bytes(b"0123")
    assert await files.read(ONE, OUT, 2, 9) == b"23efg"


async def test_compressed_output_reads_the_same(files: LogFiles, tmp_path: Path) -> None:
    """Bytes, size, dropped count and marker are those of the plain file."""
    directory = begin(tmp_path, limit=3_000_000)
    (directory / "stdout").write_bytes(os.urandom(3_000_100))
    output = files.output(ONE)
    assert output is not None
    output.seal({}, patient=True)
    size = await files.size(ONE, OUT)
    plain = await files.read(ONE, OUT, 0, LARGEST_READ_BYTES)
    assert len(plain) == size.stored_bytes
    output.compress(OUT, lambda: False)
    output.compress(OUT, lambda: False)
    assert not (directory / "stdout").exists()
    for store in (files, LogFiles(tmp_path)):
        assert await store.size(ONE, OUT) == size
        assert await store.read(ONE, OUT, 0, LARGEST_READ_BYTES) == plain
        assert await store.read(ONE, OUT, 1_048_570, 20) == plain[1_048_570:1_048_590]
        assert await store.read(ONE, OUT, 2_999_990, 5000) == plain[2_999_990:]
    assert gzip.decompress((directory / "stdout.gz").read_bytes()) == plain
    await files.delete([ONE])
    assert await files.size(ONE, OUT) == StreamSize()
    assert not directory.exists()


async def test_single_reads_are_bounded(files: LogFiles, tmp_path: Path) -> None:
    """Nobody gets more than 8 MiB into memory with one call."""
    directory = begin(tmp_path, limit=10**12)
    with (directory / "stdout").open("wb") as file:
        file.truncate(10**10)
    assert len(await files.read(ONE, OUT, 5, 10**10)) == LARGEST_READ_BYTES


async def test_nothing_is_polled_when_nobody_waits(files: LogFiles, tmp_path: Path) -> None:
    """The watcher exists while there are waiters; cancelled ones count no more."""
    begin(tmp_path)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(files.changed, ONE, 1000)
        await anyio.wait_all_tasks_blocked()
        assert files._watch.polling
        assert len(files._watch._watched) == 1
        tasks.cancel_scope.cancel()
    assert not files._watch.polling
    assert not files._watch._watched


async def test_no_descriptor_stays_open(files: LogFiles, tmp_path: Path) -> None:
    """Reading many attempts holds no files open."""
    before = descriptors()
    for number in range(300):
        attempt_id = AttemptId(f"01988a00-0000-7000-8000-{number:012d}")
        (begin(tmp_path, attempt_id) / "stdout").write_bytes(b"x")
        assert await files.read(attempt_id, OUT, 0, 5) == b"x"
        assert await files.changed(attempt_id, 10, 0)
    assert descriptors() == before


async def test_delete_wakes_those_who_wait(files: LogFiles, tmp_path: Path) -> None:
    """Followers of deleted output learn of it at once."""
    (begin(tmp_path) / "stdout").write_bytes(b"x")
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(files.changed, ONE, 1000)
            await anyio.wait_all_tasks_blocked()
            await files.delete([ONE])
    assert not list((tmp_path / ".trash").iterdir())


async def test_delete_cannot_leave_the_root(files: LogFiles, tmp_path: Path) -> None:
    """An id that is no id removes nothing."""
    root = tmp_path / "attempts"
    root.mkdir()
    (tmp_path / "precious").mkdir()
    for name in ("../precious", "..", ".", "", "/", str(tmp_path / "precious")):
        await LogFiles(root).delete([AttemptId(name)])
        assert files.output(AttemptId(name)) is None
    assert (tmp_path / "precious").exists()


def test_directories_without_rights_are_removed(tmp_path: Path) -> None:
    """Work that locks its directories does not keep the disk."""
    deep = tmp_path / "a" / "work" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "f").write_text("x")
    (deep / "g").symlink_to("/")
    deep.chmod(0)
    deep.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    remove_tree(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    remove_tree(tmp_path / "a")
