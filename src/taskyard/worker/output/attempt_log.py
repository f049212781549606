"""The output of one attempt as it lies on disk.

``stdout`` and ``stderr`` are written by the work itself. ``meta.json`` says how many bytes of each
are kept: while the work runs a file may grow past that (whatever is beyond is no part of the
stream). ``seal.json`` exists only for an attempt that ended with bytes dropped. Its appearance is
the one instant at which the stream gets the line that says so, the marker: it is made from the seal
when it is read, never written behind the kept bytes, so that no crash can leave half of it or two.
``order`` says in what order the bytes of both came (``core.output_index``).
A runtime may keep the end of a longer stream too, in ``stdout.older`` and ``stdout.newer``: with
the seal, what they hold follows on the marker. So a stream only ever grows at its end.

Everything here is synchronous. Nothing is held open.
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from taskyard.core import output_index
from taskyard.core.attempts import StreamSize
from taskyard.core.errors import StoreDamaged
from taskyard.ports.logs import Stream
from taskyard.worker.output.archive import ArchiveIndex, ArchiveReader, read_index, write_archive
from taskyard.worker.output.raw_files import (
    OPEN,
    content_of,
    leads_to,
    length_of,
    modified_ns,
    read_bytes,
)

META: Final = "meta.json"
SEAL: Final = "seal.json"
_NOTHING: Final = StreamSize()
_AGES: Final = ("older", "newer")


class _Meta(Struct):
    log_limit_bytes: int
    dropped_bytes: tuple[int, int] = (0, 0)
    """Of both streams, as far as known while the work runs."""


class Cut(Struct, frozen=True, omit_defaults=True):
    """Where a stream was cut off."""

    kept_bytes: int
    """Bytes of its beginning that are kept."""
    dropped_bytes: int
    """Bytes of the work that are not kept."""
    end_bytes: tuple[int, ...] = ()
    """Bytes of its end that are kept, by file."""

    @property
    def marker(self) -> bytes:
        """The line in place of what was dropped; empty if that is nothing."""
        if not self.dropped_bytes:
            return b""
        return b"\n[taskyard: output limit reached, %d bytes dropped]\n" % self.dropped_bytes

    @property
    def size(self) -> StreamSize:
        """What the stream measures with its marker and its end."""
        stored = self.kept_bytes + len(self.marker) + sum(self.end_bytes)
        return StreamSize(stored, self.dropped_bytes)


class AttemptOutput:
    """Reads, and at the end seals and compresses, what one attempt has written.

    May be used by several threads at once, but sealed and compressed by
    one at a time.
    """

    def __init__(self, directory: Path, archives: ArchiveReader) -> None:
        self.directory = directory
        self._paths = {stream: f"{directory}/{stream.value}" for stream in Stream}
        self._ends = {
            stream: tuple(f"{path}.{age}" for age in _AGES) for stream, path in self._paths.items()
        }
        self._pair = (self._paths[Stream.STDOUT], self._paths[Stream.STDERR])
        self._order = f"{directory}/{output_index.FILE}"
        self._meta = f"{directory}/{META}"
        self._seal = f"{directory}/{SEAL}"
        self._archives = archives
        self._limit: int | None = None
        self._limit_read_at = -1
        self._dropped: dict[Stream, int] = {}
        """Known to be dropped by whoever takes the output in; of what is beyond the limit in a file
        nobody has to know."""
        self._indexes: dict[str, ArchiveIndex] = {}

    def limit(self) -> int | None:
        """Bytes kept of each stream; None as long as there is no ``meta.json``.

        It is lowered while the work runs when the disk is nearly full.
        """
        written_at = modified_ns(self._meta)
        if self._limit is None or written_at != self._limit_read_at:
            content = content_of(self._meta)
            if content is None:
                return None
            try:
                meta = msgspec.json.decode(content, type=_Meta)
            except msgspec.DecodeError:
                # Caught in the middle of being written: the work has not begun.
                return None
            self._limit = meta.log_limit_bytes
            self._dropped = dict(zip(Stream, meta.dropped_bytes, strict=True))
            self._limit_read_at = written_at
        return self._limit

    def cuts(self) -> dict[Stream, Cut]:
        """Where the streams of an ended attempt were cut off, if they were."""
        content = content_of(self._seal)
        return {} if content is None else msgspec.json.decode(content, type=dict[Stream, Cut])

    def grown(self) -> tuple[int, int, int]:
        """Kept bytes of both plain files now, and of the order: other ones when there is news."""
        limit = self.limit()
        out, err = (length_of(path) or 0 for path in self._pair)
        if limit is not None:
            out, err = min(out, limit), min(err, limit)
        return out, err, self.order_bytes()

    def order_bytes(self) -> int:
        """Bytes of the plain index of the order; 0 if there is none."""
        return min(length_of(self._order) or 0, output_index.MAX_BYTES)

    def order(self, offset: int, length: int, *, patient: bool) -> bytes | None:
        """Up to ``length`` bytes of the index of the order from ``offset``; None if there is none.

        Raises ``BlockingIOError`` unless ``patient`` if the disk would have to be waited for.
        """
        try:
            descriptor = os.open(self._order, OPEN)
        except FileNotFoundError:
            return self._archived_order(offset, length, patient=patient)
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return None
            wanted = min(length, status.st_size - offset, output_index.MAX_BYTES - offset)
            data = read_bytes(descriptor, offset, wanted, patient=patient) if wanted > 0 else b""
            if not leads_to(self._order, status):
                return self._archived_order(offset, length, patient=patient)
            return data
        finally:
            os.close(descriptor)

    def _archived_order(self, offset: int, length: int, *, patient: bool) -> bytes | None:
        if self._index(output_index.FILE) is None:
            return None
        try:
            return self._read_archive(output_index.FILE, offset, length, patient=patient)
        except StoreDamaged:
            return None  # the output itself can still be read

    def size(self, stream: Stream) -> StreamSize:
        """How much can be read now, and how much was dropped."""
        length = length_of(self._paths[stream])
        if length is None:
            index = self._index(stream.value)
            if index is None:
                return _NOTHING
            return StreamSize(index.size_bytes, index.dropped_bytes)
        cut = self.cuts().get(stream)
        if cut is not None:
            return cut.size
        limit = self.limit()
        kept = length if limit is None else min(length, limit)
        return StreamSize(kept, length - kept + self._dropped.get(stream, 0))

    def read(self, stream: Stream, offset: int, length: int, *, patient: bool) -> bytes:
        """Up to ``length`` bytes from ``offset``; short only at the present end.

        Raises ``BlockingIOError`` unless ``patient`` if the disk would have to be waited for.
        """
        try:
            descriptor = os.open(self._paths[stream], OPEN)
        except FileNotFoundError:
            return self._read_archive(stream.value, offset, length, patient=patient)
        except OSError as error:
            if error.errno == errno.ELOOP:
                return b""
            raise
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return b""
            cut = self.cuts().get(stream)
            limit = self.limit() if cut is None else cut.kept_bytes
            kept = status.st_size if limit is None else min(status.st_size, limit)
            wanted = min(length, kept - offset)
            data = read_bytes(descriptor, offset, wanted, patient=patient) if wanted > 0 else b""
            if data and not leads_to(self._paths[stream], status):
                # Compressed meanwhile; or the directory was taken back, is perhaps another
                # attempt's by now, and there is no archive.
                return self._read_archive(stream.value, offset, length, patient=patient)
        finally:
            os.close(descriptor)
        if cut is not None and len(data) < length and offset + len(data) >= cut.kept_bytes:
            begin = offset + len(data) - cut.kept_bytes
            data += cut.marker[begin : begin + length - len(data)]
            if cut.end_bytes and len(data) < length:
                try:
                    data += self._read_end(
                        stream, cut, offset + len(data), length - len(data), patient=patient
                    )
                except FileNotFoundError:  # compressed in this moment, or deleted
                    return self._read_archive(stream.value, offset, length, patient=patient)
        return data

    def _read_end(
        self, stream: Stream, cut: Cut, offset: int, length: int, *, patient: bool
    ) -> bytes:
        """Up to ``length`` bytes of what follows on the marker. Raises ``FileNotFoundError``."""
        parts: list[bytes] = []
        begin = cut.kept_bytes + len(cut.marker)
        for path, size in zip(self._ends[stream], cut.end_bytes, strict=True):
            inside = offset - begin
            begin += size
            wanted = min(length, size - inside)
            if wanted <= 0 or inside < 0:
                continue
            descriptor = os.open(path, OPEN)
            try:
                part = read_bytes(descriptor, inside, wanted, patient=patient)
            finally:
                os.close(descriptor)
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)

    def seal(self, reported: dict[Stream, int], *, patient: bool) -> dict[Stream, StreamSize]:
        """Finish both streams after the last write, and return their sizes.

        ``reported`` has the bytes the runtime counted as dropped; what a runtime left in the file
        beyond the limit is found here, and given back to the disk. May be repeated.
        Raises ``BlockingIOError`` unless ``patient`` if anything has to be written for that.
        """
        if not any(reported.values()) and not any(map(length_of, self._pair)):
            # Most commands say nothing; then there is nothing to settle either.
            return dict.fromkeys(Stream, StreamSize())
        cuts = self.cuts()
        limit = self.limit()
        sizes: dict[Stream, StreamSize] = {}
        surplus: list[Stream] = []
        fresh = False
        for stream, path in self._paths.items():
            length = length_of(path)
            if length is None:
                sizes[stream] = self.size(stream)
                continue
            if stream not in cuts:
                kept = length if limit is None else min(length, limit)
                known = max(reported.get(stream, 0), self._dropped.get(stream, 0))
                beyond = max(length - kept, known)
                if not beyond:
                    sizes[stream] = StreamSize(length)
                    continue
                ends = tuple(length_of(one) or 0 for one in self._ends[stream])
                dropped = max(0, beyond - sum(ends))
                cuts[stream] = Cut(kept, dropped, ends if any(ends) else ())
                fresh = True
            sizes[stream] = cuts[stream].size
            if length > cuts[stream].kept_bytes:
                surplus.append(stream)
        if (fresh or surplus) and not patient:
            raise BlockingIOError(errno.EAGAIN, "there is a seal to write")
        if fresh:
            self._write_seal(cuts)
        for stream in surplus:
            os.truncate(self._paths[stream], cuts[stream].kept_bytes)
        return sizes

    def _write_seal(self, cuts: dict[Stream, Cut]) -> None:
        new = Path(f"{self._seal}.new")
        with new.open("wb") as file:
            file.write(msgspec.json.encode(cuts))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._seal)

    def compress(self, stream: Stream, halted: Callable[[], bool]) -> None:
        """Replace a finished plain file by an archive. Raises as ``write_archive``."""
        path = self._paths[stream]
        length = length_of(path)
        if length is None:
            return
        size = self.size(stream)

        def read(offset: int, length: int) -> bytes:
            return self.read(stream, offset, length, patient=True)

        def outdated() -> bool:
            # What a kill has not reached yet, on a fenced attempt, may still be writing.
            return halted() or length_of(path) != length

        write_archive(
            self.directory,
            stream.value,
            read,
            size.stored_bytes,
            size.dropped_bytes,
            halted=outdated,
        )
        for one in self._ends[stream]:
            Path(one).unlink(missing_ok=True)

    def compress_order(self, halted: Callable[[], bool]) -> None:
        """Replace the index of the order by an archive. Raises as ``write_archive``."""

        def read(offset: int, length: int) -> bytes:
            return self.order(offset, length, patient=True) or b""

        if size := self.order_bytes():
            write_archive(self.directory, output_index.FILE, read, size, 0, halted=halted)

    def _index(self, name: str) -> ArchiveIndex | None:
        index = self._indexes.get(name)
        if index is None:
            index = read_index(self.directory, name)
            if index is not None:
                self._indexes[name] = index
        return index

    def _read_archive(self, name: str, offset: int, length: int, *, patient: bool) -> bytes:
        index = self._index(name)
        if index is None or offset >= index.size_bytes or length <= 0:
            return b""
        if not patient:
            raise BlockingIOError(errno.EAGAIN, "unpacking takes a while")
        try:
            return self._archives.read(self.directory, name, index, offset, length)
        except FileNotFoundError:
            return b""
