"""Reports on their way, kept in a file until they are committed: they outlive the worker's process.

What waits is appended before it is sent, without waiting for the disk: the file has to survive the
process, not the machine. Once nothing waits the file is cut; when it has grown, it is written again
with what still waits. After a restart its reports are sent first; what was applied before changes
nothing, what came too late is refused.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import anyio
import msgspec
import structlog

from taskyard.core.attempts import Attempt, Progress, Report
from taskyard.core.backoff import Backoff
from taskyard.core.errors import StaleLease, TaskyardError
from taskyard.core.ids import LeaseToken, WorkerId
from taskyard.ports.errors import TimedOut, Unreachable
from taskyard.ports.runtime import Assignment
from taskyard.ports.transport import EngineEnd, Heartbeat, Hello, Transport, WorkerEnd

GROWN_BYTES: Final = 8 << 20
"""A file that is larger is written again if most of it is over."""
TRIES: Final = 10
"""How often reports of an earlier process are sent that the control planes cannot take in."""
_AGAIN_S: Final = (0.1, 2.0)
_HEAD: Final = struct.Struct("<II")
_LARGEST_BYTES: Final = 64 << 20

Key = tuple[str, str, str]

log = structlog.get_logger(__name__)
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Report).decode


class Spool:
    """The file. All methods block for as long as the system takes to write; none waits for disks.

    A disk that is full costs what was to be written: then reports are as safe as the process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: dict[Key, Report] = {}
        self._size_bytes = 0
        self._file = -1

    def open(self) -> list[Report]:
        """Open it; answers with what an earlier process left. Raises ``OSError``."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)
        left = list(_read(self._path.read_bytes()))
        self._waiting = {_key(one): one for one in left}
        self._rewrite()
        return list(self._waiting.values())

    def add(self, reports: Iterable[Report]) -> None:
        """These are about to be sent; those that wait already, again."""
        new: list[Report] = []
        for one in reports:
            # How far work is may be left out.
            if not isinstance(one, Progress) and _key(one) not in self._waiting:
                self._waiting[_key(one)] = one
                new.append(one)
        self._append(new)

    def settle(self, reports: Iterable[Report]) -> None:
        """These are committed, or finally refused."""
        for one in reports:
            self._waiting.pop(_key(one), None)
        if not self._waiting:
            if self._size_bytes:
                self._cut()
        elif self._size_bytes > GROWN_BYTES:
            size_bytes = sum(len(_record(one)) for one in self._waiting.values())
            if 2 * size_bytes < self._size_bytes:
                self._rewrite()

    def close(self) -> None:
        """Let go of it; what waits stays. May be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, reports: list[Report]) -> None:
        if not reports or self._file < 0:
            return
        content = b"".join(map(_record, reports))
        reason = "not all of it was written"
        try:
            written = os.write(self._file, content)
        except OSError as error:
            written, reason = 0, str(error)
        self._size_bytes += written
        if written < len(content):
            log.warning("reports_not_spooled", count=len(reports), reason=reason)
            self._end_cleanly()

    def _end_cleanly(self) -> None:
        """Have nothing behind half a record, which could not be read."""
        whole_bytes = sum(len(_record(one)) for one in _read(self._path.read_bytes()))
        os.ftruncate(self._file, whole_bytes)
        self._size_bytes = whole_bytes

    def _cut(self) -> None:
        os.ftruncate(self._file, 0)
        self._size_bytes = 0

    def _rewrite(self) -> None:
        beside = self._path.with_name(f".{self._path.name}.new")
        content = b"".join(map(_record, self._waiting.values()))
        try:
            beside.write_bytes(content)
            beside.chmod(0o600)
            beside.replace(self._path)
        except OSError as error:
            log.warning("spool_not_rewritten", reason=str(error))
            return
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        self.close()
        self._file = os.open(self._path, flags)
        self._size_bytes = len(content)


class SpooledTransport:
    """A transport whose reports are spooled. See :class:`Spool`."""

    def __init__(self, inner: Transport, spool: Spool) -> None:
        self._inner = inner
        self._spool = spool

    async def serve(self, engine: EngineEnd) -> None:
        """See the port."""
        await self._inner.serve(engine)

    async def connect(self, worker_id: WorkerId, worker: WorkerEnd) -> EngineEnd:
        """See the port. Raises ``OSError`` if there is no place for the file."""
        engine = await self._inner.connect(worker_id, worker)
        left = await anyio.to_thread.run_sync(self._spool.open)
        return _SpooledEngine(engine, self._spool, left)

    async def to_worker(self, worker_id: WorkerId) -> WorkerEnd:
        """See the port."""
        return await self._inner.to_worker(worker_id)

    async def close(self) -> None:
        """See the port."""
        await self._inner.close()
        self._spool.close()


class _SpooledEngine:
    def __init__(self, engine: EngineEnd, spool: Spool, left: list[Report]) -> None:
        self._engine = engine
        self._spool = spool
        self._left = left
        """What an earlier process was not rid of."""

    async def joined(self, hello: Hello) -> list[Attempt]:
        # First, or what has ended would be handed back as if it ran.
        left, self._left = self._left, []
        if left:
            await self._send_left(left)
        return await self._engine.joined(hello)

    async def beat(self, heartbeat: Heartbeat) -> bool:
        return await self._engine.beat(heartbeat)

    async def report(self, reports: list[Report]) -> list[LeaseToken]:
        self._spool.add(reports)
        refused = await self._engine.report(reports)
        self._spool.settle(reports)
        return refused

    async def resolve(self, attempt: Attempt) -> Assignment | None:
        return await self._engine.resolve(attempt)

    async def _send_left(self, left: list[Report]) -> None:
        backoff, tries = Backoff(*_AGAIN_S), 0
        log.info("reports_of_earlier_process", count=len(left))
        while True:
            try:
                await self._engine.report(left)
            except (Unreachable, TimedOut, StaleLease) as error:
                log.warning("reports_wait", count=len(left), reason=str(error))
            except TaskyardError as error:
                tries += 1
                log.warning("reports_wait", count=len(left), reason=str(error))
                if tries >= TRIES:
                    ids = [one.attempt_id for one in left]
                    log.exception("reports_given_up", attempts=ids)
                    break
            else:
                break
            await anyio.sleep(backoff.delay_s())
        self._spool.settle(left)


def _key(report: Report) -> Key:
    return report.attempt_id, report.lease_token, type(report).__name__


def _record(report: Report) -> bytes:
    body = _encode(report)
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _read(content: bytes) -> Iterator[Report]:
    """Whole records; what comes behind a damaged one, such as a half-written last one, is lost."""
    offset = 0
    while offset + _HEAD.size <= len(content):
        length, checksum = _HEAD.unpack_from(content, offset)
        body = content[offset + _HEAD.size : offset + _HEAD.size + length]
        if length > _LARGEST_BYTES or len(body) < length or zlib.crc32(body) != checksum:
            break
        try:
            yield _decode(body)
        except msgspec.DecodeError as error:
            log.warning("spooled_report_unreadable", reason=str(error))
        offset += _HEAD.size + length
    if offset < len(content):
        log.warning("spool_ends_early", bytes=len(content) - offset)
