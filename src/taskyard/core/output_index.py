"""In what order the bytes of both streams of an attempt came: an index beside them.

Whoever writes the output appends, for each piece it writes to one of the files, one record to a
file named ``order`` in the same directory. The records of one stream cover its bytes without a gap,
from the first on, so that a reader finds what a record stands for by adding up. A piece goes first,
then its record; only bytes that are kept are recorded. The file is made before the first piece, and
empty, so that readers of a growing output know that an order is to come.

The index only ever helps: bytes that it does not cover (it is bounded, may be missing or damaged)
are in no order and come after those that it does, stdout first. So no byte is lost or repeated,
whatever it says.

Everything here is pure, and cheap to import.
"""

from collections import deque
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

FILE: Final = "order"
STDOUT: Final = 1
STDERR: Final = 2
MAX_RECORDS: Final = 262_144
"""Of one attempt; what comes after the last one is in no order."""
_RECORD: Final = Struct("<QIB3x")
RECORD_BYTES: Final = _RECORD.size
MAX_BYTES: Final = MAX_RECORDS * RECORD_BYTES
_MAX_SIZE: Final = (1 << 32) - 1
"""Bytes that one record covers at most."""
_LATEST_US: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999: later times cannot be written down."""
_LEFT_OUT: Final = -1


class Record(NamedTuple):
    """One piece of output."""

    at_us: int
    """When it was read from the work, in microseconds since the epoch."""
    size_bytes: int
    stream: int
    """``STDOUT`` or ``STDERR``."""


class Run(NamedTuple):
    """Bytes of one stream that come next."""

    stream: int
    offset: int
    """Where they begin in their stream."""
    size_bytes: int
    at_us: int | None
    """When they came; None where that is unknown."""


def encode(at_us: int, size_bytes: int, stream: int) -> bytes:
    """The record of a piece; several if it is longer than one can cover, none if it is empty."""
    data = b""
    while size_bytes > 0:
        size = min(size_bytes, _MAX_SIZE)
        data += _RECORD.pack(at_us, size, stream)
        size_bytes -= size
    return data


def decode(data: bytes) -> Iterator[Record]:
    """The records in ``data``, which begins with one. A torn one at the end is left out.

    Ends before a record that makes no sense: nothing behind it can be believed.
    """
    whole = len(data) - len(data) % RECORD_BYTES
    for at_us, size_bytes, stream in _RECORD.iter_unpack(memoryview(data)[:whole]):
        if stream not in (STDOUT, STDERR) or not size_bytes or at_us > _LATEST_US:
            return
        yield Record(at_us, size_bytes, stream)


def covered(data: bytes) -> tuple[int, int]:
    """Bytes of stdout and of stderr that an index covers."""
    sizes = {STDOUT: 0, STDERR: 0}
    for record in decode(data):
        sizes[record.stream] += record.size_bytes
    return sizes[STDOUT], sizes[STDERR]


class Merge:
    """The place of one reader in both streams, and what comes next there.

    The place is an offset in each stream. The bytes that come next are the first that the index
    knows of and that lie behind it, so that a reader may begin anywhere, and go on after any
    interruption, and gets each byte once.
    """

    def __init__(self, stdout: int = 0, stderr: int = 0) -> None:
        """Begin at these offsets; -1 leaves a stream out."""
        self.offsets = {STDOUT: stdout, STDERR: stderr}
        self.taken_bytes = 0
        """How much of the index was fed, which is where the next part of it begins."""
        self._ends = {STDOUT: 0, STDERR: 0}
        self._ahead: deque[Record] = deque()
        self._is_damaged = False

    @property
    def wants_more(self) -> bool:
        """Whether to feed more of the index, if there is any."""
        self._pass()
        return not self._ahead and not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether the index has said all it ever can: it is full, or makes no sense any more."""
        return self._is_damaged or self.taken_bytes >= MAX_BYTES

    def feed(self, data: bytes) -> None:
        """The index from ``taken_bytes`` on, as much as there is or as is convenient."""
        data = data[: MAX_BYTES - self.taken_bytes]
        whole = len(data) // RECORD_BYTES
        before = len(self._ahead)
        if not self._is_damaged:
            self._ahead.extend(decode(data))
            self._is_damaged = len(self._ahead) - before < whole
        self.taken_bytes += whole * RECORD_BYTES

    def take(
        self,
        sizes: tuple[int, int],
        most_bytes: int,
        *,
        timed: bool = False,
        patient: bool = True,
    ) -> Run | None:
        """What comes next by the part of the index that was fed; moves behind it.

        A run ends where the stream or, with ``timed``, the time changes. None if that part has
        nothing more, or if what comes next is not there yet.

        Args:
            sizes: what stdout and stderr hold now.
            most_bytes: length of a run at most.
            timed: whether the time matters.
            patient: whether to wait for bytes that are not there; they are passed over otherwise.
        """
        while True:
            self._pass()
            if not self._ahead:
                return None
            first = self._ahead[0]
            begin = self.offsets[first.stream]
            if begin < sizes[first.stream - 1]:
                break
            if patient:
                return None
            self._drop()
        end = most = min(begin + most_bytes, sizes[first.stream - 1])
        while self._ahead and self._ahead[0].stream == first.stream:
            end = min(self._ends[first.stream] + self._ahead[0].size_bytes, most)
            if end == most:
                break
            self._drop()
            if timed:
                break
        self.offsets[first.stream] = end
        return Run(first.stream, begin, end - begin, first.at_us if timed else None)

    def rest(self, sizes: tuple[int, int], most_bytes: int, first: int = STDOUT) -> Run | None:
        """What the index does not cover, once it has nothing more; moves behind it.

        Takes from the stream ``first`` as long as there is anything. None at the end of both.
        """
        for stream in (first, STDOUT + STDERR - first):
            begin = self.offsets[stream]
            if _LEFT_OUT < begin < sizes[stream - 1]:
                end = self.offsets[stream] = min(begin + most_bytes, sizes[stream - 1])
                return Run(stream, begin, end - begin, None)
        return None

    def _pass(self) -> None:
        """Leave behind the records of which nothing is left to take."""
        while self._ahead:
            first = self._ahead[0]
            offset = self.offsets[first.stream]
            if _LEFT_OUT < offset < self._ends[first.stream] + first.size_bytes:
                return
            self._drop()

    def _drop(self) -> None:
        record = self._ahead.popleft()
        self._ends[record.stream] += record.size_bytes
