"""Reads archives of source, tar and zip, which are hostile until proven otherwise.

Runs in a process with limits of its own (:mod:`.unpack`), and reads no more than it has to: what
headers claim is checked before anything of that size is read or kept.
"""

import bz2
import encodings.cp437  # noqa: F401 - names in zip files; nothing can be imported later on
import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, Final, NamedTuple

UNREADABLE: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
    LookupError,
    ArithmeticError,
)
"""What the standard library raises for archives that are damaged or none."""
_HEADER_BYTES: Final = 64 << 10
"""Longest extended header of a tar archive: names, times, attributes of one entry."""
_DIGITS: Final = 20
"""Longest size, in digits, that an extended header may give."""
_TAR_OVERHEAD: Final = 4096
"""Bytes of headers and padding that an entry of a tar archive may take on average."""
_ZIP_OVERHEAD: Final = 512
"""Bytes that an entry may take in a zip archive's table of contents on average."""
_COUNTED: Final = 4096
"""Longest path in a zip archive whose directories are counted beforehand, in characters."""
_PIECE: Final = 64 << 10
_ENCRYPTED: Final = 0x41
"""Flags of entries of zip archives: encrypted in either way."""
_COMPRESSIONS: Final[dict[bytes, tuple[str, Callable[[IO[bytes]], Any]]]] = {
    b"\x1f\x8b": ("gzip", lambda file: gzip.GzipFile(fileobj=file)),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
}


class Refused(Exception):
    """The archive is not unpacked; the message says why."""


class ArchiveEntry(NamedTuple):
    """A file or a directory in an archive."""

    name: str
    read: Callable[[int], bytes] | None
    """Reads up to so many bytes of the content, in order; None for a directory."""


def is_zip(start: bytes) -> bool:
    """Whether something that begins like this is a zip archive."""
    return start[:4] in {b"PK\x03\x04", b"PK\x05\x06"}


def is_archive(start: bytes) -> bool:
    """Whether something that begins like this, with 262 bytes, is an archive or compressed."""
    return is_zip(start) or _compression(start) is not None or start[257:262] == b"ustar"


def entries(file: IO[bytes], limit_bytes: int, limit_entries: int) -> Iterator[ArchiveEntry]:
    """What is in an archive, in its order; each is to be read before the next one is asked for.

    Args:
        file: the archive, at its beginning; it can seek.
        limit_bytes: how much the contents may be in all.
        limit_entries: how many entries there may be.

    Raises :class:`Refused`, those of :data:`UNREADABLE`, and ``OSError`` without a number.
    """
    start = file.read(262)
    file.seek(0)
    if is_zip(start):
        return _zip_entries(file, limit_bytes, limit_entries)
    return _tar_entries(file, start, limit_bytes, limit_entries)


def too_large(limit_bytes: int) -> Refused:
    """Refuses what has more content than it may have."""
    return Refused(f"the archive unpacks to more than {limit_bytes >> 20} MiB")


def too_many(limit_entries: int) -> Refused:
    """Refuses what has more entries than it may have."""
    return Refused(f"the archive has more than {limit_entries} entries, directories included")


# Zip


def _zip_entries(file: IO[bytes], limit_bytes: int, limit_entries: int) -> Iterator[ArchiveEntry]:
    _check_contents(file, limit_entries)
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if len(infos) > limit_entries:
            raise too_many(limit_entries)
        if sum(info.file_size for info in infos) > limit_bytes:
            raise too_large(limit_bytes)
        _count_directories([info.orig_filename for info in infos], limit_entries)
        for info in infos:
            # What is behind a NUL is cut off from the other one.
            name = info.orig_filename
            if stat.S_IFMT(info.external_attr >> 16) not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise _no_file(name)
            if info.flag_bits & _ENCRYPTED:
                raise Refused(f"{name!r} is encrypted; pack it without a password")
            if info.is_dir():
                yield ArchiveEntry(name, None)
                continue
            with archive.open(info) as content:
                yield ArchiveEntry(name, content.read)
                if content.read(1) or content.tell() != info.file_size:
                    raise Refused(f"{name!r} has not the size that the archive says it has")


def _check_contents(file: IO[bytes], limit_entries: int) -> None:
    """Count the table of contents, which ``ZipFile`` reads as a whole, before it does."""
    size = file.seek(0, os.SEEK_END)
    tail_size = min(size, (1 << 16) + 22)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise Refused("the archive is not readable: it is a zip archive without an end")
    count, length = struct.unpack("<HL", tail[at + 10 : at + 16])
    end = size - tail_size + at
    locator = tail[max(at - 20, 0) : at]
    large = tail[max(at - 76, 0) : max(at - 20, 0)]
    if locator[:4] == b"PK\x06\x07" and large[:4] == b"PK\x06\x06" and len(large) == 56:
        count, length = struct.unpack("<QQ", large[32:48])
        end -= 76
    if count > limit_entries:
        raise too_many(limit_entries)
    if length > limit_entries * _ZIP_OVERHEAD:
        raise Refused("the archive's table of contents is too long; use shorter names")
    if length > end:
        raise Refused("the archive is not readable: its table of contents is cut off")
    file.seek(end - length)
    contents = file.read(length)
    file.seek(0)
    position = found = 0
    while position + 46 <= length and contents[position : position + 4] == b"PK\x01\x02":
        found += 1
        if found > limit_entries:
            raise too_many(limit_entries)
        position += 46 + sum(struct.unpack("<3H", contents[position + 28 : position + 34]))


def _count_directories(names: list[str], limit_entries: int) -> None:
    """Count what the paths need before any of it is made: to make, and remove, takes much longer.

    Paths that will be refused for their length are left for that.
    """
    found: set[str] = set()
    for name in names:
        above, _, last = name.rpartition("/")
        if last and len(name) <= _COUNTED:
            found.add(name)
        while above and above not in found and len(name) <= _COUNTED:
            found.add(above)
            above = above.rpartition("/")[0]
        if len(found) > limit_entries:
            raise too_many(limit_entries)


# Tar


class _Damaged(Exception):
    """A header is cut off, or its checksum is wrong."""


class _Header(tarfile.TarInfo):
    """Headers that are checked before what they announce is read.

    The standard library takes a damaged header for the archive's end; here it is an error.
    """

    _LONG: Final = frozenset(
        {
            *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
            *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
        }
    )

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_Header":
        """Raises :class:`_Damaged`, :class:`Refused`."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except (tarfile.TruncatedHeaderError, tarfile.InvalidHeaderError) as error:  # type: ignore[attr-defined]  # not in the stubs
            raise _Damaged from error
        if header.size < 0:
            raise _Damaged
        if header.type in cls._LONG and header.size > _HEADER_BYTES:
            raise Refused(f"the archive has a header of more than {_HEADER_BYTES >> 10} KiB")
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise _sparse(header.name)
        return header


class _Stream:
    """What an archive unpacks to: read in order, in small pieces, and not more than it may be."""

    def __init__(self, file: Any, limit: int, refusal: Refused) -> None:
        self._file = file
        self._limit = limit
        self._refusal = refusal
        self._position = 0

    def read(self, size: int) -> bytes:
        """Exactly so many bytes, unless it ends. Raises :class:`Refused`."""
        if not 0 <= size <= _HEADER_BYTES + tarfile.BLOCKSIZE:
            raise _Damaged
        found: bytes = self._file.read(size)
        self._position += len(found)
        if self._position > self._limit:
            raise self._refusal
        return found

    def tell(self) -> int:
        """Bytes read so far."""
        return self._position

    def seek(self, position: int) -> None:
        """Skip ahead. Raises :class:`Refused`, :class:`_Damaged`."""
        if position < self._position:
            raise _Damaged
        while self._position < position:
            if not self.read(min(_PIECE, position - self._position)):
                raise _Damaged


def _tar_entries(
    file: IO[bytes], start: bytes, limit_bytes: int, limit_entries: int
) -> Iterator[ArchiveEntry]:
    compression = _compression(start)
    raw = file if compression is None else compression[1](file)
    refusal = too_large(limit_bytes)
    stream: Any = _Stream(raw, limit_bytes + limit_entries * _TAR_OVERHEAD, refusal)
    try:
        archive = tarfile.TarFile(
            fileobj=stream, tarinfo=_Header, encoding="utf-8", errors="surrogateescape"
        )
    except (_Damaged, tarfile.ReadError) as error:
        if compression is None:
            raise Refused("the archive is not readable: it is a damaged tar archive") from error
        raise Refused(
            f"the archive is not readable: it is compressed with {compression[0]}, but there is no "
            "tar archive in it; send a tar or zip archive, or one file that is not compressed"
        ) from error
    try:
        for number, info in enumerate(archive):
            if number >= limit_entries:
                raise too_many(limit_entries)
            yield _tar_entry(archive, info)
        while stream.read(_PIECE):
            pass  # what is compressed has its checksum at its end
    except _Damaged as error:
        raise Refused("the archive is not readable: a header in it is damaged") from error


def _tar_entry(archive: tarfile.TarFile, info: tarfile.TarInfo) -> ArchiveEntry:
    if info.isdir():
        return ArchiveEntry(info.name, None)
    if info.issparse():
        raise _sparse(info.name)
    content = archive.extractfile(info) if info.isreg() else None
    if content is None:
        raise _no_file(info.name)
    size = info.pax_headers.get("size", "0")
    if info.size < 0 or not size.isdecimal() or len(size) > _DIGITS:
        # The standard library takes what is not a number, or a very long one, for 0.
        raise _Damaged
    return ArchiveEntry(info.name, content.read)


def _compression(start: bytes) -> tuple[str, Callable[[IO[bytes]], Any]] | None:
    return next((one for magic, one in _COMPRESSIONS.items() if start.startswith(magic)), None)


def _no_file(name: str) -> Refused:
    return Refused(f"{name!r} is a link or a device; pack files and directories only")


def _sparse(name: str) -> Refused:
    return Refused(f"{name!r} is a sparse file; pack it without --sparse")
