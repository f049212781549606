"""The log port: byte-addressed output of attempts, and how much of it is kept."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from taskyard.core.attempts import StreamSize
from taskyard.core.ids import AttemptId, TaskId, WorkspaceName


class Stream(StrEnum):
    """The two outputs of an attempt."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Chunk(Struct, frozen=True):
    """A run of bytes of one stream."""

    stream: Stream
    offset: int
    """Where ``data`` begins in the stream."""
    data: bytes


class LogStore(Protocol):
    """Reads what attempts have written. Unknown attempts read as empty streams of size 0."""

    async def size(self, attempt_id: AttemptId, stream: Stream) -> StreamSize:
        """How much can be read now, and how much was dropped for being over the limit."""
        ...

    async def read(self, attempt_id: AttemptId, stream: Stream, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; empty at or past the present end."""
        ...

    async def order(self, attempt_id: AttemptId, offset: int, length: int) -> bytes | None:
        """Up to ``length`` bytes of the index of the order in which both streams came.

        It is as ``core.output_index`` says, and is what the runtime wrote: it may be wrong. None
        if there is none (any more).
        """
        ...

    async def changed(
        self, attempt_id: AttemptId, timeout_s: float, seen_bytes: int | None = None
    ) -> bool:
        """Wait until a stream may have grown; False after ``timeout_s`` without growth.

        ``seen_bytes`` is what the caller last saw both streams hold together: if they hold anything
        else by now it answers at once, so that no growth is missed between looking and waiting.
        Many waiters on one attempt cost no more than one.
        """
        ...

    async def delete(self, attempt_ids: list[AttemptId]) -> None:
        """Remove all output of these attempts; unknown ones are ignored."""
        ...


class LocalLogStore(LogStore, Protocol):
    """A log store that knows which attempts it has."""

    def holds(self, attempt_id: AttemptId) -> bool:
        """Whether there is a place for output of this attempt here, though perhaps none of it."""
        ...


class OutputSource(Protocol):
    """One of several places that output may be read from.

    As a :class:`LogStore`, but all methods except ``delete`` raise ``NotFound`` for an attempt of
    which there is nothing here, and a ``PortError`` if that cannot be found out now.
    """

    async def size(self, attempt_id: AttemptId, stream: Stream) -> StreamSize:
        """See :class:`LogStore`; a stream that is empty or missing has size 0."""
        ...

    async def read(self, attempt_id: AttemptId, stream: Stream, offset: int, length: int) -> bytes:
        """See :class:`LogStore`."""
        ...

    async def order(self, attempt_id: AttemptId, offset: int, length: int) -> bytes | None:
        """See :class:`LogStore`."""
        ...

    async def changed(
        self, attempt_id: AttemptId, timeout_s: float, seen_bytes: int | None = None
    ) -> bool:
        """See :class:`LogStore`."""
        ...

    async def delete(self, attempt_ids: list[AttemptId]) -> None:
        """See :class:`LogStore`."""
        ...


class OutputTotals(Protocol):
    """Sizes of the output of ended attempts. Raises as the store ports do."""

    async def totals(self) -> dict[WorkspaceName, int]:
        """Bytes kept for each workspace that ever had any."""
        ...

    async def of_task(self, task_id: TaskId) -> int:
        """Bytes kept of the attempts at one task; 0 for an unknown one."""
        ...

    async def known(self, attempt_ids: Sequence[AttemptId]) -> set[AttemptId]:
        """Those of these that are attempts at a task, whether they have ended or not."""
        ...
