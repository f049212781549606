"""Compressed output: gzip members of equal raw size, and an index of where each one ends.

``NAME.gz`` is a run of complete gzip members, so that ``zcat`` reads it; ``NAME.gz.json`` says
where each member ends, so that any offset is found by unpacking one member. An archive comes into
being in an order in which every instant has all the bytes, complete, in at least one place:
first the index, then the archive under its name, and only then the plain file goes. Readers look
for the plain file first. Whatever a crash leaves half-done is simply done again.

The work may be able to put files of its own in their place. Then it gets back what is in them, and
nothing more: no link is followed, no pipe waited for, and no member unpacked beyond its size.

Everything here is synchronous and meant to be called in a thread.
"""

import contextlib
import errno
import os
import stat
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import IO, Final

import msgspec
import structlog
from msgspec import Struct

from taskyard.core.errors import StoreDamaged
from taskyard.worker.output.raw_files import OPEN

MEMBER_BYTES: Final = 1 << 20
"""Raw bytes in each member but the last."""
LEVEL: Final = 4
_GZIP: Final = 16 + zlib.MAX_WBITS
_RAW_MOST: Final = 1 << 20
"""Raw bytes in a member that is read."""
_PACKED_MOST: Final = _RAW_MOST + (_RAW_MOST >> 8)
"""Bytes of a member in the file: what cannot be compressed grows a little."""
_INDEX_MOST: Final = 32 << 20
"""Bytes of an index that is read: more than the output limit's greatest value needs."""
_log = structlog.get_logger(__name__)

_MEMBERS_KEPT: Final = 8


class ArchiveIndex(Struct, frozen=True):
    """What is in an archive and where."""

    size_bytes: int
    """Raw bytes in all."""
    dropped_bytes: int
    """Bytes the stream had beyond its limit; its last line says so."""
    member_bytes: int
    """Raw bytes in each member but the last."""
    ends: tuple[int, ...]
    """Where each member ends in the compressed file."""


class Halted(Exception):
    """Compression was asked to stop; the plain file is untouched."""


def archive_path(directory: Path, name: str) -> Path:
    """The compressed file of a stream."""
    return directory / f"{name}.gz"


def index_path(directory: Path, name: str) -> Path:
    """The index beside it."""
    return directory / f"{name}.gz.json"


def read_index(directory: Path, name: str) -> ArchiveIndex | None:
    """The index of a complete archive; None if there is none.

    An index without its archive, or with one of another length, is what a crash left behind.
    """
    try:
        with _opened(index_path(directory, name)) as file:
            index = msgspec.json.decode(file.read(_INDEX_MOST), type=ArchiveIndex)
        with _opened(archive_path(directory, name)) as file:
            length = os.fstat(file.fileno()).st_size
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return index if _fits(index, length) else None


def _fits(index: ArchiveIndex, length: int) -> bool:
    """Whether an index can be that of an archive of this length."""
    if not 0 < index.member_bytes <= _RAW_MOST:
        return False
    begins = (0, *index.ends)
    return (
        len(index.ends) == -(-index.size_bytes // index.member_bytes)
        and begins[-1] == length
        and all(0 < end - begin <= _PACKED_MOST for begin, end in pairwise(begins))
    )


def _opened(path: Path) -> IO[bytes]:
    """Open a regular file. Raises ``FileNotFoundError`` for what is none, other ``OSError``."""
    try:
        descriptor = os.open(path, OPEN)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise FileNotFoundError(errno.ENOENT, f"{path.name} is no regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, f"{path.name} is no regular file")
    return os.fdopen(descriptor, "rb")


def write_archive(
    directory: Path,
    name: str,
    read: Callable[[int, int], bytes],
    size_bytes: int,
    dropped_bytes: int,
    *,
    halted: Callable[[], bool] = lambda: False,
) -> None:
    """Compress a finished stream and remove its plain file.

    ``read(offset, length)`` gives its bytes. ``halted`` is asked before each member and at the end.
    Raises :class:`Halted`, ``FileNotFoundError`` when the output was deleted meanwhile, and other
    ``OSError`` such as a full disk; the plain file is then still there.
    """
    index = read_index(directory, name)
    if index is None or index.size_bytes != size_bytes:
        archive, beside = archive_path(directory, name), index_path(directory, name)
        new_archive, new_index = Path(f"{archive}.new"), Path(f"{beside}.new")
        try:
            ends = _compress(new_archive, read, size_bytes, halted)
            index = ArchiveIndex(size_bytes, dropped_bytes, MEMBER_BYTES, ends)
            _write_synced(new_index, msgspec.json.encode(index))
            new_index.replace(beside)
            new_archive.replace(archive)
            _sync_directory(directory)
        except (OSError, Halted):
            for half_done in (new_archive, new_index):
                with contextlib.suppress(FileNotFoundError):
                    half_done.unlink()
            raise
    (directory / name).unlink(missing_ok=True)


def _compress(
    path: Path, read: Callable[[int, int], bytes], size_bytes: int, halted: Callable[[], bool]
) -> tuple[int, ...]:
    ends: list[int] = []
    length = 0
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        for offset in range(0, size_bytes, MEMBER_BYTES):
            if halted():
                raise Halted
            wanted = min(MEMBER_BYTES, size_bytes - offset)
            raw = read(offset, wanted)
            if len(raw) != wanted:
                raise FileNotFoundError(f"{path.name}: the output went away at byte {offset}")
            packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
            length += file.write(packer.compress(raw)) + file.write(packer.flush())
            ends.append(length)
        file.flush()
        os.fsync(file.fileno())
    if halted():
        raise Halted
    return tuple(ends)


def _write_synced(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unpacked(path: Path, packed: bytes, most: int) -> bytes:
    """The raw bytes of a member. Raises ``StoreDamaged``, also for one that has more than most."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        raw = unpacker.decompress(packed, most + 1)
    except zlib.error as error:
        raise _damaged(path) from error
    if not unpacker.eof or len(raw) > most:
        raise _damaged(path)
    return raw


def _damaged(path: Path) -> StoreDamaged:
    _log.error("output_damaged", path=str(path))
    return StoreDamaged(f"the compressed output {path.name} is damaged on disk")


class ArchiveReader:
    """Reads archives at any offset, keeping the few members it unpacked last.

    May be used by several threads at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def read(
        self, directory: Path, name: str, index: ArchiveIndex, offset: int, length: int
    ) -> bytes:
        """Up to ``length`` raw bytes from ``offset``.

        Raises ``FileNotFoundError`` if deleted, ``StoreDamaged``.
        """
        end = min(offset + length, index.size_bytes)
        parts: list[bytes] = []
        while offset < end:
            number, inside = divmod(offset, index.member_bytes)
            part = self._member(directory, name, index, number)[inside : inside + end - offset]
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _member(self, directory: Path, name: str, index: ArchiveIndex, number: int) -> bytes:
        path = archive_path(directory, name)
        key = (str(path), number)
        with self._lock:
            raw = self._members.get(key)
            if raw is not None:
                self._members.move_to_end(key)
                return raw
        begin = index.ends[number - 1] if number else 0
        with _opened(path) as file:
            file.seek(begin)
            raw = _unpacked(path, file.read(index.ends[number] - begin), index.member_bytes)
        with self._lock:
            self._members[key] = raw
            while len(self._members) > _MEMBERS_KEPT:
                self._members.popitem(last=False)
        return raw
