"""Unpacks bundles of source, which are hostile until proven otherwise."""

import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from taskyard.ports.functions import BuildFailed

UNPACKED_BYTES: Final = 256 << 20
ENTRIES: Final = 20_000
_DEPTH: Final = 32
_NAME_BYTES: Final = 240
_PIECE: Final = 1 << 20


def unpack(bundle: bytes, target: Path, single: str) -> int:
    """Unpack an archive, or write a single file as ``single``; answers how many files there are.

    Raises ``BuildFailed`` for archives that are damaged, too large, or reach outside ``target``.
    """
    target.mkdir(mode=0o700)
    try:
        if bundle[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
            return _write_all(_zip_entries(bundle), target)
        if _is_tar(bundle):
            return _write_all(_tar_entries(bundle), target)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        raise BuildFailed(f"the archive is not readable: {error}") from error
    (target / single).write_bytes(bundle)
    return 1


Entry = tuple[str, IO[bytes] | None]
"""Path and content; None for a directory."""


def _is_tar(bundle: bytes) -> bool:
    compressed = bundle[:2] == b"\x1f\x8b" or bundle[:3] == b"BZh" or bundle[:6] == b"\xfd7zXZ\x00"
    return compressed or bundle[257:262] == b"ustar"


def _zip_entries(bundle: bytes) -> Iterator[Entry]:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        infos = archive.infolist()
        if sum(info.file_size for info in infos) > UNPACKED_BYTES:
            raise BuildFailed(_too_large())
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise BuildFailed(f"{info.filename!r} is a link or a device")
            if info.is_dir():
                yield info.filename, None
            else:
                with archive.open(info) as content:
                    yield info.filename, content


def _tar_entries(bundle: bytes) -> Iterator[Entry]:
    with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:*") as archive:
        for info in archive:
            if info.isdir():
                yield info.name, None
            elif not info.isreg() or info.issparse():
                raise BuildFailed(f"{info.name!r} is a link or a device")
            else:
                yield info.name, archive.extractfile(info)


def _write_all(entries: Iterator[Entry], target: Path) -> int:
    total = count = 0
    for position, (name, content) in enumerate(entries):
        if position >= ENTRIES:
            raise BuildFailed(f"the archive has more than {ENTRIES} entries")
        path = target.joinpath(*_parts(name))
        try:
            if content is None:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                continue
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with path.open("xb") as file:
                while piece := content.read(_PIECE):
                    total += len(piece)
                    if total > UNPACKED_BYTES:
                        raise BuildFailed(_too_large())
                    file.write(piece)
        except (FileExistsError, NotADirectoryError) as error:
            raise BuildFailed(f"the archive has {name!r} twice") from error
        count += 1
    return count


def _parts(name: str) -> list[str]:
    if name.startswith("/") or "\\" in name or "\0" in name or name[1:2] == ":":
        raise BuildFailed(f"the archive has the path {name!r}, which is not a plain relative one")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts or len(parts) > _DEPTH:
        raise BuildFailed(f"the archive has the path {name!r}, which is not a plain relative one")
    if any(len(part.encode(errors="surrogatepass")) > _NAME_BYTES for part in parts):
        raise BuildFailed("the archive has a name that is too long")
    return parts


def _too_large() -> str:
    return f"the archive unpacks to more than {UNPACKED_BYTES >> 20} MiB"
