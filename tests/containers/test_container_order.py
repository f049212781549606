"""The order of a container's output is taken down as it comes."""

from itertools import groupby
from pathlib import Path

import pytest
from container_harness import ContainerHarness

from eventually import eventually_async
from taskyard.core.output_index import FILE, decode
from taskyard.runtimes.container.output import Output
from whole_output import merged

pytestmark = pytest.mark.anyio


def mixed(directory: Path) -> bytes:
    """Both files in the order that the index tells."""
    data = ((directory / "stdout").read_bytes(), (directory / "stderr").read_bytes())
    index = (directory / FILE).read_bytes()
    runs = merged(index, (len(data[0]), len(data[1])))
    return b"".join(data[run.stream - 1][run.offset : run.offset + run.size_bytes] for run in runs)


def test_streams_by_turns(tmp_path: Path) -> None:
    """Remarks, what an attachment brings and what the log brings again; only what is kept."""
    output = Output(tmp_path, 12)
    output.begin()
    output.remark("note")
    output.follow_on()
    for stream, data in ((1, b"a"), (2, b"bb"), (1, b"ccc"), (1, b"d"), (2, b"0123456789")):
        output.take(stream, data)
    output.rewind()
    for stream, data in ((1, b"acccde"), (2, b"bb0123456789"), (1, b"ffffffffffff")):
        output.take(stream, data)
    output.close()
    assert mixed(tmp_path) == b"note\nabbcccd01234effffff"


@pytest.mark.parametrize("lost", [0, 7, 16])
def test_it_goes_on_after_a_restart(tmp_path: Path, lost: int) -> None:
    """What the index has not got yet, or half of it, is in no order; the rest is."""
    first = Output(tmp_path, 100)
    first.begin()
    first.follow_on()
    for stream, data in ((2, b"a"), (1, b"b"), (2, b"c"), (1, b"d")):
        first.take(stream, data)
    first.close()
    index = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(index[: len(index) - lost])
    again = Output(tmp_path, 100)
    again.resume(0)
    again.rewind()
    for stream, data in ((2, b"a"), (1, b"b"), (2, b"c"), (1, b"d"), (2, b"e"), (1, b"f")):
        again.take(stream, data)
    again.close()
    assert mixed(tmp_path) == b"abcdef"
    assert sum(record.size_bytes for record in decode((tmp_path / FILE).read_bytes())) == 6


def test_one_file_for_both_has_times_only(tmp_path: Path) -> None:
    """After a restart as well, when it is written again."""
    first = Output(tmp_path, 100, merge=True)
    first.begin()
    first.remark("note")
    first.follow_on()
    first.take(1, b"one")
    first.take(2, b"two")
    first.close()
    again = Output(tmp_path, 100, merge=True)
    again.resume(5)
    again.rewind()
    for stream, data in ((1, b"one"), (2, b"two"), (1, b"three")):
        again.take(stream, data)
    again.close()
    records = list(decode((tmp_path / FILE).read_bytes()))
    assert [stream for stream, _ in groupby(record.stream for record in records)] == [1]
    assert sum(record.size_bytes for record in records) == len(b"note\nonetwothree")


async def test_it_is_known_a_moment_later(tmp_path: Path) -> None:
    """Without more output, and without the end."""
    output = Output(tmp_path, 100)
    output.begin()
    output.follow_on()
    assert (tmp_path / FILE).read_bytes() == b""
    output.take(2, b"abc")
    output.flush_soon()
    await eventually_async(lambda: bool((tmp_path / FILE).read_bytes()))
    output.close()


@pytest.mark.timeout(180)
@pytest.mark.xdist_group("containers")
async def test_engines_tell_the_order(harness: ContainerHarness) -> None:
    """Of a running container, and again after it ended: each line after the one before arrived."""
    script = (
        "n=0; trap 'n=$((n+1)); echo o$n' USR1; trap 'echo e$n >&2' USR2; trap 'exit 0' TERM;"
        " echo begun; while :; do sleep 0.02; done"
    )
    running = await harness.start(script)
    directory = harness.directory(running.attempt_id)
    wanted = b"begun\n"
    await eventually_async(lambda: (directory / FILE).exists() and mixed(directory) == wanted)
    for number in range(1, 5):
        for signal, line in (("USR1", b"o%d\n"), ("USR2", b"e%d\n")):
            harness.signal(running, signal)
            wanted += line % number
            await _await_bytes(directory, len(wanted))
            assert mixed(directory) == wanted
    harness.signal(running, "TERM")
    await harness.ended(running)
    assert mixed(directory) == wanted


async def _await_bytes(directory: Path, size: int) -> None:
    await eventually_async(lambda: len(mixed(directory)) == size)
