"""Output of attempts that nobody writes to a disk."""

import anyio

from taskyard.core.attempts import StreamSize
from taskyard.core.ids import AttemptId
from taskyard.core.output_index import STDERR, STDOUT, encode
from taskyard.ports.logs import Stream


class MemoryLogs:
    """Output in memory; implements ``LogStore``."""

    def __init__(self) -> None:
        self._output: dict[tuple[AttemptId, Stream], bytearray] = {}
        self._order: dict[AttemptId, bytearray] = {}
        self._grown = anyio.Event()

    def write(self, attempt_id: AttemptId, stream: Stream, data: bytes, at_us: int = 0) -> None:
        """Append output."""
        self._output.setdefault((attempt_id, stream), bytearray()).extend(data)
        number = STDOUT if stream is Stream.STDOUT else STDERR
        index = self._order.setdefault(attempt_id, bytearray())
        index.extend(encode(at_us, len(data), number))
        self._grown.set()
        self._grown = anyio.Event()

    def attempt_ids(self) -> set[AttemptId]:
        """Those that have written something."""
        return {attempt_id for attempt_id, _ in self._output}

    async def size(self, attempt_id: AttemptId, stream: Stream) -> StreamSize:
        """See the port."""
        return StreamSize(len(self._output.get((attempt_id, stream), b"")))

    async def read(self, attempt_id: AttemptId, stream: Stream, offset: int, length: int) -> bytes:
        """See the port."""
        return bytes(self._output.get((attempt_id, stream), b"")[offset : offset + length])

    async def order(self, attempt_id: AttemptId, offset: int, length: int) -> bytes | None:
        """See the port."""
        index = self._order.get(attempt_id)
        return None if index is None else bytes(index[offset : offset + length])

    async def changed(
        self, attempt_id: AttemptId, timeout_s: float, seen_bytes: int | None = None
    ) -> bool:
        """See the port."""
        held = sum(len(data) for (one, _), data in self._output.items() if one == attempt_id)
        if seen_bytes is not None and held > seen_bytes:
            return True
        with anyio.move_on_after(timeout_s):
            await self._grown.wait()
            return True
        return False

    async def delete(self, attempt_ids: list[AttemptId]) -> None:
        """See the port."""
        for key in [key for key in self._output if key[0] in attempt_ids]:
            del self._output[key]
        for attempt_id in attempt_ids:
            self._order.pop(attempt_id, None)
