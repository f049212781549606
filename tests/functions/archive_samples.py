"""Archives for tests: good ones, and those that lie."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Sequence
from typing import Literal

TarKind = Literal["w", "w:gz", "w:bz2", "w:xz"]


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0
) -> tarfile.TarInfo:
    """An entry of a tar archive."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def tar_of(*members: tarfile.TarInfo, kind: TarKind = "w:gz") -> bytes:
    """A tar archive whose members are zeros."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=kind) as archive:
        for one in members:
            archive.addfile(one, io.BytesIO(bytes(one.size)))
    return buffer.getvalue()


def raw_tar(*blocks: bytes) -> bytes:
    """Headers and contents as they are, each padded, and the end of a tar archive."""
    padded = (block + bytes(-len(block) % 512) for block in blocks)
    return b"".join(padded) + bytes(1024)


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    """One header of a tar archive."""
    return member(name, kind, size=size).tobuf(tarfile.GNU_FORMAT)


def pax(*records: tuple[str, bytes]) -> tuple[bytes, bytes]:
    """An extended header with these records, and its content."""
    content = b""
    for key, value in records:
        length = len(key) + len(value) + 3
        while length != len(text := f"{length} {key}=".encode() + value + b"\n"):
            length = len(text)
        content += text
    return header("pax", tarfile.XHDTYPE, len(content)), content


def large_header(kind: bytes, size: int) -> bytes:
    """A compressed tar archive whose only header announces, and has, so many bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        file.write(header("x", kind, size))
        for _ in range(size >> 20):
            file.write(b"x" * (1 << 20))
    return buffer.getvalue()


def zip_with(
    names: Sequence[str], content: bytes = b"", compression: int = zipfile.ZIP_DEFLATED
) -> bytearray:
    """A zip archive of files with the same content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            archive.writestr(info, content)
    return bytearray(buffer.getvalue())


def in_directory(archive: bytearray, offset: int, layout: str, *values: int) -> bytearray:
    """Change members of the first entry of a zip archive's table of contents."""
    struct.pack_into(layout, archive, archive.index(b"PK\x01\x02") + offset, *values)
    return archive
