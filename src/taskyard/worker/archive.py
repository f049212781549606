"""Compressed output: gzip members of equal raw size, and an index of where each one ends.

``NAME.gz`` is a run of complete gzip members, so that ``zcat`` reads it; ``NAME.gz.json`` says
where each member ends, so that any offset is found by unpacking one member. An archive comes into
being in an order in which every instant has all the bytes, complete, in at least one place:
first the index, then the archive under its name, and only then the plain file goes. Readers look
for the plain file first. Whatever a crash leaves half-done is simply done again.

Everything here is synchronous and meant to be called in a thread.
"""

import contextlib
import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

MEMBER_BYTES: Final = 1 << 20
"""Raw bytes in each member but the last."""
LEVEL: Final = 4
_GZIP: Final = 16 + zlib.MAX_WBITS
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
        index = msgspec.json.decode(index_path(directory, name).read_bytes(), type=ArchiveIndex)
        length = archive_path(directory, name).stat().st_size
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return index if length == (index.ends[-1] if index.ends else 0) else None


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
    with path.open("wb") as file:
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
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        """Up to ``length`` raw bytes from ``offset``. Raises ``FileNotFoundError`` if deleted."""
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
        with path.open("rb") as file:
            file.seek(begin)
            raw = zlib.decompress(file.read(index.ends[number] - begin), _GZIP)
        with self._lock:
            self._members[key] = raw
            while len(self._members) > _MEMBERS_KEPT:
                self._members.popitem(last=False)
        return raw
