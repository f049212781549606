"""Finishes an attempt's output: stores, compresses or deletes it.

Little output travels with the report into the store, and its directory goes; much output is
compressed; what is in between stays as it is.

Where several control planes read it, all but little output is stored as objects before the report
goes out, and its directory goes as well.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Final

import anyio
import msgspec
import structlog
from anyio import to_thread
from anyio.lowlevel import checkpoint

from taskyard.core import output_index
from taskyard.core.attempts import Ended, StreamSize
from taskyard.core.ids import AttemptId
from taskyard.ports.logs import Stream
from taskyard.worker.output.archive import Halted
from taskyard.worker.output.attempt_log import AttemptOutput
from taskyard.worker.output.log_files import LogFiles
from taskyard.worker.output.result_files import has_result
from taskyard.worker.output.shipping import OutputShipper

INLINE_BYTES: Final = 16 << 10
COMPRESS_BYTES: Final = 256 << 10
_BATCH: Final = 500
_GATHER_S: Final = 0.1
_MOST_REMOVABLE: Final = 10_000
_SWEEP_S: Final = 300.0
"""Seconds between two looks for output that could not be stored where all find it."""

log = structlog.get_logger(__name__)


class LogKeeper:
    """Settles, stores inline, compresses and deletes output. Belongs to one event loop.

    The order for each attempt is :meth:`finish`, :meth:`ship` if that is to be done, then the
    report to the engine, then :meth:`stored`. A crash anywhere in between is made good by
    :meth:`sweep`.
    """

    def __init__(
        self,
        files: LogFiles,
        *,
        inline_limit_bytes: int = INLINE_BYTES,
        compress_bytes: int = COMPRESS_BYTES,
        compressors: int = 1,
        shipper: OutputShipper | None = None,
    ) -> None:
        """``inline_limit_bytes`` is for both streams together, ``compress_bytes`` for each alone.

        The index of their order may be kept with them if it has no more
        than ``inline_limit_bytes``. ``shipper`` stores what is more; None leaves it here.
        """
        self._files = files
        self._inline_limit_bytes = inline_limit_bytes
        self._compress_bytes = compress_bytes
        self._compressors = compressors
        self._shipper = shipper
        self._shipped: set[AttemptId] = set()
        """Attempts whose output is stored, and whose end is not yet."""
        # In order and without doubles. Each entry stands for a file larger than compress_bytes,
        # so the disk is full long before this is large.
        self._large: dict[AttemptId, None] = {}
        self._removable: list[AttemptId] = []
        self._discardable: list[AttemptId] = []
        """To be removed, but to be read until then."""
        self._wake = anyio.Event()
        self._halting = False
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to work in the background. May be called twice."""
        if self._running is None:
            self._halting = False
            self._running = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Return when nothing is worked on any more; what was left is found by the next sweep."""
        running, self._running = self._running, None
        if running is not None:
            self._halting = True
            self._rouse()
            await running

    async def finish(self, attempt_id: AttemptId, ended: Ended) -> Ended:
        """The report with its stream sizes and, if there is little output, the output itself.

        Call it when nothing of the attempt is alive, before the report goes out. May be repeated.
        Raises ``OSError`` if the disk does.
        """
        output = None if ended.is_silent else self._files.output(attempt_id)
        if output is None:
            return ended
        reported = {
            Stream.STDOUT: ended.stdout.dropped_bytes,
            Stream.STDERR: ended.stderr.dropped_bytes,
        }
        try:
            sizes = output.seal(reported, patient=False)
        except BlockingIOError:
            sizes = await to_thread.run_sync(lambda: output.seal(reported, patient=True))
        if any(reported.values()) or any(size.dropped_bytes for size in sizes.values()):
            # The seal has made the streams longer, which no size of a file tells.
            self._files.touch(attempt_id)
        return msgspec.structs.replace(
            ended,
            stdout=sizes[Stream.STDOUT],
            stderr=sizes[Stream.STDERR],
            inline_output=self._inline(output, sizes),
            order_bytes=output.order_bytes(),
        )

    def _inline(self, output: AttemptOutput, sizes: dict[Stream, StreamSize]) -> dict[str, bytes]:
        # In the loop although it reads: this little was written a moment ago and is in memory.
        stored_bytes = sum(size.stored_bytes for size in sizes.values())
        if (
            not 0 < stored_bytes <= self._inline_limit_bytes
            or output.order_bytes() > self._inline_limit_bytes
        ):
            return {}
        inline_output = {
            stream.value: output.read(stream, 0, size.stored_bytes, patient=True)
            for stream, size in sizes.items()
            if size.stored_bytes
        }
        if order := output.order(0, self._inline_limit_bytes, patient=True):
            inline_output[output_index.FILE] = order
        return inline_output

    def is_to_ship(self, ended: Ended) -> bool:
        """Whether this report, as :meth:`finish` made it, has to wait for :meth:`ship`."""
        return self._shipper is not None and _kept_elsewhere(ended) < _stored_bytes(ended)

    async def ship(self, ended: Ended) -> None:
        """Store the output of an ended attempt as objects. May be repeated."""
        attempt_id, output = ended.attempt_id, self._files.output(ended.attempt_id)
        if self._shipper is None or output is None:
            return
        if (output.size(Stream.STDOUT), output.size(Stream.STDERR)) != (ended.stdout, ended.stderr):
            log.error("output_damaged", attempt_id=attempt_id)
        elif await self._shipper.ship(attempt_id, output):
            self._shipped.add(attempt_id)

    async def stored(self, ended: Ended) -> None:
        """The engine has committed this report, as :meth:`finish` made it.

        Not for a report that was refused: its output stays where it is, as evidence.
        """
        attempt_id = ended.attempt_id
        sizes = (ended.stdout.stored_bytes, ended.stderr.stored_bytes)
        if self._shipper is None and ended.result is not None and ended.result.body is None:
            # The directory holds what the call answered, as long as the task is kept.
            pass
        elif attempt_id in self._shipped:
            self._shipped.discard(attempt_id)
            self._discardable.append(attempt_id)
            self._rouse()
        elif _stored_bytes(ended) == _kept_elsewhere(ended):
            await self._remove(attempt_id)
        elif max(*sizes, ended.order_bytes) > self._compress_bytes:
            self._large[attempt_id] = None
            self._rouse()

    async def delete(self, attempt_ids: Iterable[AttemptId]) -> None:
        """Remove all output of these attempts; unknown ones are ignored."""
        await self._files.delete(list(attempt_ids))

    async def keep_swept(
        self,
        in_hand: Callable[[AttemptId], bool],
        inline_output: Callable[[AttemptId, str], Awaitable[bytes | None]],
        known: Callable[[list[AttemptId]], Awaitable[Collection[AttemptId]]],
    ) -> None:
        """:meth:`sweep` once; with a shipper again and again, until cancelled."""
        await self.sweep(in_hand, inline_output, known)
        while self._shipper is not None:
            await anyio.sleep(_SWEEP_S)
            await self.sweep(in_hand, inline_output, known)

    async def sweep(
        self,
        in_hand: Callable[[AttemptId], bool],
        inline_output: Callable[[AttemptId, str], Awaitable[bytes | None]] | None = None,
        known: Callable[[list[AttemptId]], Awaitable[Collection[AttemptId]]] | None = None,
    ) -> None:
        """Take up what an earlier process left half-done; after the worker has joined.

        ``in_hand`` says whether a report on the attempt is still to come; such a one is left
        alone. It must be true before the attempt's directory is made. With ``inline_output``,
        which asks the store for output kept there, directories whose whole output it has are
        removed; without, they stay until their task is deleted. With a shipper, all other output
        is stored as objects, and its directory removed; so are directories of attempts that the
        store does not know any more: ``known`` answers with those that it does.
        """
        attempt_ids = await to_thread.run_sync(self._files.attempt_ids)
        mine = [one for one in attempt_ids if not in_hand(one)]
        for attempt_id in mine:
            await checkpoint()
            output = self._files.output(attempt_id)
            if output is None or in_hand(attempt_id):
                continue
            if self._shipper is None and has_result(output.directory):
                continue
            sizes = {stream: output.size(stream).stored_bytes for stream in Stream}
            if (
                inline_output is not None
                and sum(sizes.values()) <= self._inline_limit_bytes
                and not has_result(output.directory)
                and None
                not in [
                    await inline_output(attempt_id, s.value) for s, size in sizes.items() if size
                ]
            ):
                if not in_hand(attempt_id):
                    await self._remove(attempt_id)
            elif self._shipper is not None:
                is_known = known is None or attempt_id in await known([attempt_id])
                if not is_known or await self._shipper.ship(attempt_id, output):
                    self._discardable.append(attempt_id)
                    self._rouse()
            elif max(output.grown()) > self._compress_bytes:
                self._large[attempt_id] = None
                self._rouse()

    async def _remove(self, attempt_id: AttemptId) -> None:
        while len(self._removable) >= _MOST_REMOVABLE and self._running is not None:
            await self._wake.wait()
        self._removable.append(attempt_id)
        self._rouse()

    def _rouse(self) -> None:
        self._wake.set()
        self._wake = anyio.Event()

    async def _run(self) -> None:
        # What an earlier process was about to delete may still be lying there.
        try:
            await to_thread.run_sync(self._files.empty_trash)
        except OSError:
            log.exception("log_removal_failed")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._clean)
            for _ in range(self._compressors):
                tasks.start_soon(self._compress)

    async def _clean(self) -> None:
        while not self._halting:
            if not (self._removable or self._discardable):
                await self._wake.wait()
                continue
            # A trip to a thread costs more than a removal; what ends meanwhile shares it.
            await anyio.sleep(_GATHER_S)
            batch = self._removable[:_BATCH]
            await to_thread.run_sync(self._remove_all, batch)
            for attempt_id in batch:
                self._files.forget(attempt_id)
            del self._removable[: len(batch)]
            if self._discardable:
                discarded, self._discardable = self._discardable, []
                await self._discard(discarded)
            self._rouse()

    async def _discard(self, attempt_ids: list[AttemptId]) -> None:
        try:
            await self._files.delete(attempt_ids)
        except OSError:
            # As above.
            log.exception("log_removal_failed", attempt_ids=attempt_ids)

    def _remove_all(self, attempt_ids: list[AttemptId]) -> None:
        for attempt_id in attempt_ids:
            try:
                self._files.remove(attempt_id)
            except OSError:
                # What is left is found by the next sweep, or goes with its task.
                log.exception("log_removal_failed", attempt_id=attempt_id)

    async def _compress(self) -> None:
        while not self._halting:
            if not self._large:
                await self._wake.wait()
                continue
            attempt_id = next(iter(self._large))
            del self._large[attempt_id]
            output = self._files.output(attempt_id)
            if output is None:
                continue
            try:
                await to_thread.run_sync(self._compress_both, output)
            except Halted:
                log.info("log_compression_halted", attempt_id=attempt_id)
            except FileNotFoundError:
                log.debug("log_deleted_meanwhile", attempt_id=attempt_id)
            except Exception:
                # Top of the loop: the output stays plain, complete and readable.
                log.exception("log_compression_failed", attempt_id=attempt_id)

    def _compress_both(self, output: AttemptOutput) -> None:
        *lengths, order_bytes = output.grown()
        for stream, length in zip(Stream, lengths, strict=True):
            if length > self._compress_bytes:
                output.compress(stream, lambda: self._halting)
        if order_bytes > self._compress_bytes:
            output.compress_order(lambda: self._halting)


def _stored_bytes(ended: Ended) -> int:
    return ended.stdout.stored_bytes + ended.stderr.stored_bytes


def _kept_elsewhere(ended: Ended) -> int:
    """Bytes of both streams that travel with the report."""
    return sum(len(ended.inline_output.get(stream.value, b"")) for stream in Stream)
