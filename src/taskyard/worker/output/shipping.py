"""Puts the output of an ended attempt where every control plane can read it.

It happens before the end is reported: whoever learns of the end finds all of the output, also if
this machine is lost in the next moment. A crash in between has the end reported again, and the
objects that are there by then stay.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import anyio
import structlog

from taskyard.core import output_index
from taskyard.core.attempts import StreamSize
from taskyard.core.backoff import Backoff
from taskyard.core.errors import NotAllowed, StoreDamaged, TaskyardError
from taskyard.core.ids import AttemptId
from taskyard.ports.logs import Stream
from taskyard.ports.objects import RESULTS, ObjectStore, output_key
from taskyard.worker.output.attempt_log import AttemptOutput
from taskyard.worker.output.result_files import RESULT_NAME, has_result

LARGE_AT_ONCE: Final = 2
SMALL_AT_ONCE: Final = 4
SMALL_BYTES: Final = 1 << 20
"""Output of both streams up to which an attempt does not wait for those with more."""
PATIENCE_S: Final = 60.0
_PART_BYTES: Final = 1 << 20
_RETRY_MIN_S: Final = 0.1
_RETRY_MAX_S: Final = 5.0

log = structlog.get_logger(__name__)


class OutputShipper:
    """Stores output as objects. Belongs to one event loop.

    Args:
        objects: where to.
        large_at_once: attempts whose output is stored at the same time; others wait.
        small_at_once: the same of those with little output, beside the others: one that prints
            much, and many times, keeps nobody else's attempts from ending.
        patience_s: seconds for which it is tried again if the object store fails. After that the
            end is reported without: its slot is needed, and the output is still here.
    """

    def __init__(
        self,
        objects: ObjectStore,
        *,
        large_at_once: int = LARGE_AT_ONCE,
        small_at_once: int = SMALL_AT_ONCE,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._objects = objects
        self._large = anyio.Semaphore(large_at_once)
        self._small = anyio.Semaphore(small_at_once)
        self._patience_s = patience_s

    async def ship(self, attempt_id: AttemptId, output: AttemptOutput) -> bool:
        """Store all output of an attempt that does not grow any more; whether it is stored now.

        May be repeated.
        """
        size = sum(output.size(stream).stored_bytes for stream in Stream)
        places = self._small if size <= SMALL_BYTES else self._large
        backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S)
        give_up_at = anyio.current_time() + self._patience_s
        while True:
            try:
                async with places:
                    await self._put(attempt_id, output)
            except (StoreDamaged, OSError) as error:
                # Of this machine: it would not be better the next time.
                log.exception("output_not_readable", attempt_id=attempt_id, reason=str(error))
                return False
            except NotAllowed as error:
                # The attempt was taken from this worker, and nobody looks for its output.
                log.warning("output_refused", attempt_id=attempt_id, reason=str(error))
                return False
            except TaskyardError as error:
                is_over = anyio.current_time() >= give_up_at
                log.warning(
                    "output_not_stored", attempt_id=attempt_id, reason=str(error), gave_up=is_over
                )
                if is_over:
                    return False
            else:
                return True
            await anyio.sleep(backoff.delay_s())

    async def _put(self, attempt_id: AttemptId, output: AttemptOutput) -> None:
        async def put(name: str, content: Iterator[bytes]) -> None:
            await self._objects.put(output_key(attempt_id, name), content)

        if has_result(output.directory):
            # Of a time when answers of functions were kept here.
            await self._objects.put(RESULTS + attempt_id, _file(output.directory / RESULT_NAME))
        order = _order(output)
        if (first := await anyio.to_thread.run_sync(next, order, None)) is not None:
            await put(output_index.FILE, _with(first, order))
        # Readers look for the last one.
        for stream in (Stream.STDERR, Stream.STDOUT):
            size = await anyio.to_thread.run_sync(output.size, stream)
            if size.stored_bytes or stream is Stream.STDOUT:
                await put(stream.value, _content(output, stream, size))


def _content(output: AttemptOutput, stream: Stream, size: StreamSize) -> Iterator[bytes]:
    offset = 0
    while offset < size.stored_bytes:
        length = min(_PART_BYTES, size.stored_bytes - offset)
        part = output.read(stream, offset, length, patient=True)
        if len(part) != length:
            raise FileNotFoundError(f"{stream.value} went away at byte {offset + len(part)}")
        yield part
        offset += length


def _file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(_PART_BYTES):
            yield part


def _order(output: AttemptOutput) -> Iterator[bytes]:
    offset = 0
    while part := output.order(offset, _PART_BYTES, patient=True):
        yield part
        offset += len(part)


def _with(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
