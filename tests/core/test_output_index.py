"""The index of the order of output, and reading by it."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.instants import Instant, rfc3339
from taskyard.core.output_index import (
    MAX_BYTES,
    RECORD_BYTES,
    STDERR,
    STDOUT,
    Merge,
    Record,
    Run,
    covered,
    decode,
    encode,
)
from whole_output import merged

LATEST_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""
RECORDS = st.lists(
    st.builds(
        Record, st.integers(0, LATEST_US), st.integers(1, 50), st.sampled_from([STDOUT, STDERR])
    ),
    max_size=30,
)


def taken(merge: Merge, sizes: tuple[int, int]) -> list[tuple[int, int]]:
    """Stream and offset of every byte that can be taken now."""
    runs: list[Run] = []
    while run := merge.take(sizes, 1000):
        runs.append(run)
    return bytes_of(iter(runs))


def index_of(records: list[Record]) -> bytes:
    """The index with these records."""
    return b"".join(encode(*record) for record in records)


def sizes_of(records: list[Record]) -> tuple[int, int]:
    """What these records cover of each stream."""
    return (
        sum(record.size_bytes for record in records if record.stream == STDOUT),
        sum(record.size_bytes for record in records if record.stream == STDERR),
    )


def bytes_of(runs: Iterator[Run]) -> list[tuple[int, int]]:
    """Stream and offset of every byte of these runs."""
    return [(run.stream, run.offset + one) for run in runs for one in range(run.size_bytes)]


def bytes_in_order(records: list[Record]) -> list[tuple[int, int]]:
    """The same of what these records cover, by another way."""
    at = {STDOUT: 0, STDERR: 0}
    found = []
    for record in records:
        for _ in range(record.size_bytes):
            found.append((record.stream, at[record.stream]))
            at[record.stream] += 1
    return found


def test_a_record_is_sixteen_bytes_in_little_endian() -> None:
    """What is on disk is read by later versions."""
    assert encode(0x0102030405060708, 0x0A0B0C0D, STDERR) == bytes.fromhex(
        "0807060504030201 0d0c0b0a 02 000000"
    )


def test_a_piece_of_more_than_four_gigabytes_has_several_records() -> None:
    """None is too long, and an empty one leaves no trace."""
    assert list(decode(encode(7, (1 << 32) + 5, STDOUT))) == [
        Record(7, (1 << 32) - 1, STDOUT),
        Record(7, 6, STDOUT),
    ]
    assert encode(7, 0, STDOUT) == b""


@given(RECORDS, st.binary(max_size=RECORD_BYTES - 1))
def test_what_is_written_is_read_without_a_torn_end(records: list[Record], torn: bytes) -> None:
    """A crash in the middle of a record costs that record."""
    data = index_of(records) + torn
    assert list(decode(data)) == records
    assert covered(data) == sizes_of(records)


@given(RECORDS)
def test_everything_that_is_covered_comes_in_order(records: list[Record]) -> None:
    """Every byte once, as it was observed."""
    assert bytes_of(merged(index_of(records), sizes_of(records))) == bytes_in_order(records)


@given(st.binary(max_size=400), st.integers(0, 200), st.integers(0, 200), st.integers(1, 70))
def test_no_byte_is_lost_or_repeated_whatever_the_index_says(
    index: bytes, stdout: int, stderr: int, most: int
) -> None:
    """A damaged index costs the order, never the output; each stream stays in its own order."""
    found = bytes_of(merged(index, (stdout, stderr), most_bytes=most))
    assert [at for stream, at in found if stream == STDOUT] == list(range(stdout))
    assert [at for stream, at in found if stream == STDERR] == list(range(stderr))


@given(RECORDS, st.integers(0, 100), st.integers(0, 100))
def test_what_is_not_covered_comes_last_and_stdout_first(
    records: list[Record], more_out: int, more_err: int
) -> None:
    """As it would without an index."""
    stdout, stderr = sizes_of(records)
    found = bytes_of(merged(index_of(records), (stdout + more_out, stderr + more_err)))
    rest = [(STDOUT, stdout + one) for one in range(more_out)]
    rest += [(STDERR, stderr + one) for one in range(more_err)]
    assert found == bytes_in_order(records) + rest


@given(RECORDS, st.data())
def test_a_reader_goes_on_where_it_was(records: list[Record], data: st.DataObject) -> None:
    """Both offsets are the place: from there the rest comes as it would have."""
    index, sizes = index_of(records), sizes_of(records)
    whole = bytes_in_order(records)
    cut = data.draw(st.integers(0, len(whole)))
    merge = Merge(
        sum(stream == STDOUT for stream, _ in whole[:cut]),
        sum(stream == STDERR for stream, _ in whole[:cut]),
    )
    merge.feed(index)
    assert taken(merge, sizes) == whole[cut:]


@given(RECORDS, st.lists(st.tuples(*[st.floats(0, 1)] * 3), max_size=8))
def test_one_that_grows_is_read_in_order(
    records: list[Record], looks: list[tuple[float, float, float]]
) -> None:
    """Whatever part of the index and of the streams is there at any moment."""
    index, total = index_of(records), sizes_of(records)
    merge, found = Merge(), []
    for looked in zip(*(sorted(shares) for shares in zip(*looks, strict=True)), strict=True):
        seen, *sizes = (
            int(n * share) for n, share in zip((len(index), *total), looked, strict=True)
        )
        merge.feed(index[merge.taken_bytes : seen])
        found += taken(merge, (sizes[0], sizes[1]))
    merge.feed(index[merge.taken_bytes :])
    found += taken(merge, total)
    assert found == bytes_in_order(records)


@given(RECORDS)
def test_a_stream_can_be_left_out(records: list[Record]) -> None:
    """The other one comes as it is."""
    merge, sizes = Merge(0, -1), sizes_of(records)
    merge.feed(index_of(records))
    found = taken(merge, sizes)
    assert found == [(STDOUT, one) for one in range(sizes[0])]
    assert merge.rest(sizes, 1000) is None


@given(RECORDS)
def test_with_times_each_piece_has_its_own(records: list[Record]) -> None:
    """They are not joined then."""
    runs = list(merged(index_of(records), sizes_of(records), timed=True))
    assert [(run.at_us, run.size_bytes, run.stream) for run in runs] == records


def test_neighbours_of_one_stream_are_joined_up_to_a_length() -> None:
    """So that many small writes do not make as many messages."""
    index = encode(1, 10, STDOUT) + encode(2, 10, STDOUT) + encode(3, 4, STDERR)
    assert list(merged(index, (20, 4), most_bytes=15)) == [
        Run(STDOUT, 0, 15, None),
        Run(STDOUT, 15, 5, None),
        Run(STDERR, 0, 4, None),
    ]


def test_bytes_that_never_come_hold_up_only_the_patient() -> None:
    """Such as after damage to a file."""
    merge = Merge()
    merge.feed(encode(1, 10, STDOUT) + encode(2, 3, STDERR))
    assert merge.take((0, 3), 100) is None
    assert merge.take((0, 3), 100, patient=False) == Run(STDERR, 0, 3, None)
    assert merge.rest((10, 3), 100) == Run(STDOUT, 0, 10, None)


def test_nothing_behind_a_time_that_cannot_be_written_down_is_believed() -> None:
    """The bytes come all the same, at a time that nobody knows."""
    latest = encode(LATEST_US, 2, STDERR)
    index = latest + encode((1 << 64) - 1, 3, STDOUT) + encode(7, 1, STDERR)
    runs = list(merged(index, (3, 3), timed=True))
    assert runs[0] == Run(STDERR, 0, 2, LATEST_US)
    assert rfc3339(Instant(runs[0].at_us or 0)) == "9999-12-31T23:59:59.999999Z"
    assert runs[1:] == [Run(STDOUT, 0, 3, None), Run(STDERR, 2, 1, None)]


def test_it_is_bounded() -> None:
    """What is beyond the most there may be is not read."""
    merge = Merge()
    block = encode(1, 1, STDOUT) * 4096
    while merge.wants_more:
        merge.feed(block + block)
        merge.take((1 << 40, 0), 1 << 40)
    assert merge.is_over
    assert merge.taken_bytes == MAX_BYTES
    assert merge.offsets[STDOUT] == MAX_BYTES // RECORD_BYTES
