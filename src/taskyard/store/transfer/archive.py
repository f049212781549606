"""Backups: one tar archive with all rows, files and the key, and a manifest that is written last.

```
taskyard-backup.json       what this is; first
rows/TABLE/00000001        rows in order of their keys, as MessagePack
files/attempts/ID/NAME     output and large answers
files/functions/bundles/…  sources of functions
files/secret.key
manifest.json              counts and checksums of all of it; last
```

An archive without its manifest was not finished. It holds everything that the store knows, secrets'
key included, and is readable by its owner only.
"""

import errno
import hashlib
import io
import os
import secrets
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

import msgspec
from msgspec import Struct

from taskyard.core.errors import StorageFull
from taskyard.store.transfer.engine import Step, Watch, batches
from taskyard.store.transfer.errors import NotAStore, NotEmpty, SchemaMismatch
from taskyard.store.transfer.file_names import KEY, check_name
from taskyard.store.transfer.files import blocks_of, digest_of, sync_directory
from taskyard.store.transfer.sides import Schema, StoredFile
from taskyard.store.transfer.tables import Checksum, Key, Row, Table, Tally, checksum

FORMAT: Final = 1
HEAD: Final = "taskyard-backup.json"
MANIFEST: Final = "manifest.json"
_JSON_MOST: Final = 1 << 30
_CHUNK_MOST: Final = 1 << 30


class Head(Struct, frozen=True):
    """What an archive is, at its beginning."""

    format: int
    taskyard: str
    """Version that wrote it."""
    origin: str
    """The store, without secrets."""
    created_at: str
    """In UTC."""
    schema: Schema


class SavedTable(Struct, frozen=True):
    """A table in an archive."""

    table: Table
    checksum: Checksum
    last_number: int | None
    """The last number that it has given to a row."""


class Manifest(Struct, frozen=True):
    """All that is in an archive."""

    tables: dict[str, SavedTable]
    files: list[StoredFile]
    missing: list[str]
    """Files that were removed while the backup was made, as when retention removed their tasks."""
    has_key: bool


class ArchiveWriter:
    """Writes an archive; it has its name once it is complete."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by finish
        self._tables: dict[str, SavedTable] = {}
        self._files: list[StoredFile] = []
        self._missing: list[str] = []
        self._has_key = False

    def begin(self, head: Head) -> None:
        """Say what it is; before anything else."""
        self._add(HEAD, msgspec.json.encode(head))

    def add_table(
        self, table: Table, rows: Iterable[Row], last_number: int | None
    ) -> Iterator[int]:
        """Write all rows of a table; yields how many are written so far."""
        tally, encoder, number, count = Tally(), msgspec.msgpack.Encoder(), 0, 0
        for batch, _ in batches(rows):
            if batch:
                number += 1
                for row in batch:
                    tally.add(row)
                self._add(f"rows/{table.name}/{number:08d}", encoder.encode(batch))
                count += len(batch)
                yield count
        self._tables[table.name] = SavedTable(table, tally.checksum(), last_number)

    def add_file(self, name: str, size: int, blocks: Iterable[bytes]) -> None:
        """Write so many bytes of a file.

        One that became shorter meanwhile is filled up, and noted as missing. Raises
        ``FileNotFoundError`` before anything is written if there is none.
        """
        reader = _Reader(blocks, size)
        self._tar.addfile(_info(f"files/{name}", size), cast("IO[bytes]", reader))
        if reader.is_short:
            self._missing.append(name)
        else:
            self._files.append(StoredFile(name, size, reader.sha256()))

    def add_missing(self, name: str) -> None:
        """Note a file that is gone."""
        self._missing.append(name)

    def add_key(self, name: str, content: bytes) -> None:
        """Write the key that opens the secrets."""
        self._add(f"files/{name}", content)
        size, sha256 = digest_of([content])
        self._files.append(StoredFile(name, size, sha256))
        self._has_key = True

    def finish(self) -> Manifest:
        """Write the manifest and the end."""
        manifest = Manifest(self._tables, self._files, self._missing, self._has_key)
        self._add(MANIFEST, msgspec.json.encode(manifest))
        self._tar.close()
        return manifest

    def _add(self, name: str, content: bytes) -> None:
        self._tar.addfile(_info(name, len(content)), io.BytesIO(content))


class ArchiveSource:
    """The rows of an archive, as a :class:`~taskyard.store.transfer.sides.Source`."""

    def __init__(self, archive: "Archive") -> None:
        self._archive = archive
        self.name = f"the backup {archive.path}"
        self.schema = archive.head.schema

    def tables(self) -> Mapping[str, Table]:
        """See :class:`Source`."""
        return {name: saved.table for name, saved in self._archive.manifest.tables.items()}

    def count(self, table: Table) -> int:
        """See :class:`Source`."""
        return self._archive.manifest.tables[table.name].checksum.rows

    def rows(self, table: Table, after: Key | None = None) -> Iterator[Row]:
        """See :class:`Source`. From the beginning only."""
        if after is not None:
            raise ValueError("an archive is read from the beginning")
        return self._archive.rows(table.name)

    def sequences(self) -> Mapping[str, int]:
        """See :class:`Source`."""
        return {
            name: saved.last_number
            for name, saved in self._archive.manifest.tables.items()
            if saved.last_number is not None
        }

    def check_unused(self) -> None:
        """See :class:`Source`: it is nobody's."""


class ArchiveFiles:
    """The files of an archive but the key; ``ReadableFiles``."""

    def __init__(self, archive: "Archive") -> None:
        self._archive = archive
        self._files = {file.name: file for file in archive.manifest.files if file.name != KEY}

    def names(self) -> Iterator[str]:
        """See :class:`FileSet`."""
        return iter(self._files)

    def size(self, name: str) -> int | None:
        """See :class:`FileSet`."""
        file = self._files.get(name)
        return None if file is None else file.size_bytes

    def blocks(self, name: str, most: int | None = None) -> Iterator[bytes]:
        """See :class:`FileSet`. Raises :class:`NotAStore` if it is not what was saved."""
        del most
        return self._archive.blocks(self._files[name])


class Archive:
    """A complete archive that is open for reading."""

    def __init__(self, path: Path, tar: tarfile.TarFile, head: Head) -> None:
        """Raises :class:`NotAStore` unless it is complete."""
        self.path = path
        self.head = head
        self._tar = tar
        self._members = {member.name: member for member in tar.getmembers()}
        if MANIFEST not in self._members:
            raise NotAStore(f"{path} is incomplete: its end is missing; use another backup")
        self.manifest: Manifest = _decoded(
            path, self._content(self._members[MANIFEST], _JSON_MOST), Manifest
        )
        self._chunks: dict[str, list[tarfile.TarInfo]] = {}
        for name, member in sorted(self._members.items()):
            if name.startswith("rows/"):
                self._chunks.setdefault(name.split("/")[1], []).append(member)

    def rows(self, table: str) -> Iterator[Row]:
        """The rows of a table in order."""
        for member in self._chunks.get(table, ()):
            content = self._content(member, _CHUNK_MOST)
            yield from _decoded_rows(self.path, content)

    def check(self, watch: Watch) -> None:
        """Read all of it. Raises :class:`NotAStore` if it is not what was saved."""
        tables = sorted(self.manifest.tables.items())
        for number, (name, saved) in enumerate(tables, 1):
            watch(Step("read", name, 0, saved.checksum.rows, number, len(tables)))
            if checksum(self.rows(name)) != saved.checksum:
                raise NotAStore(
                    f"{self.path} is damaged: its table {name} has changed; use another backup"
                )
        for file in self.manifest.files:
            for _ in self.blocks(file):
                pass

    def blocks(self, file: StoredFile) -> Iterator[bytes]:
        """What a file holds. Raises :class:`NotAStore` if it is not what was saved."""
        check_name(file.name)
        member = self._members.get(f"files/{file.name}")
        opened = None if member is None else self._tar.extractfile(member)
        if member is None or opened is None or member.size != file.size_bytes:
            raise NotAStore(f"{self.path} is damaged: {file.name} is missing; use another backup")
        digest = hashlib.sha256()
        with opened:
            for block in blocks_of(opened, member.size):
                digest.update(block)
                yield block
        if digest.hexdigest() != file.sha256:
            raise NotAStore(f"{self.path} is damaged: {file.name} has changed; use another backup")

    def _content(self, member: tarfile.TarInfo, most: int) -> bytes:
        opened = self._tar.extractfile(member) if member.size <= most else None
        if opened is None:
            raise NotAStore(f"{self.path} is damaged: {member.name} is not a file of a backup")
        with opened:
            return opened.read()


@contextmanager
def written(path: Path, *, force: bool) -> Iterator[ArchiveWriter]:
    """Write an archive beside its place; it is there once the block ends without an error.

    Raises:
        NotEmpty: there is a file of this name, and ``force`` is False.
        OSError: it cannot be written.
    """
    check_free(path, force=force)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield ArchiveWriter(file)
            file.flush()
            os.fsync(file.fileno())
        check_free(path, force=force)
        beside.replace(path)
        sync_directory(path.absolute().parent)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(
                f"the disk of {path} is full, and nothing was kept; make room, or name a file on "
                "another disk"
            ) from error
        raise


def check_free(path: Path, *, force: bool) -> None:
    """Raise :class:`NotEmpty` if no archive can have this name."""
    if path.is_dir():
        raise NotEmpty(f"{path} is a directory; name a file in it, such as {path / 'taskyard.tar'}")
    if path.exists() and not force:
        raise NotEmpty(f"{path} exists; name another file, or replace it with --force")


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open a complete archive. Raises :class:`NotAStore`, :class:`SchemaMismatch`, ``OSError``."""
    if path.is_dir():
        raise NotAStore(f"{path} is a directory; name the file that 'taskyard backup' wrote")
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            first = tar.next()
            content = None if first is None or first.name != HEAD else tar.extractfile(first)
            if content is None:
                raise NotAStore(f"{path} is not a backup of Taskyard; check the path")
            head: Head = _decoded(path, content.read(_JSON_MOST), Head)
            if head.format > FORMAT:
                raise SchemaMismatch(
                    f"{path} was written by a newer version of Taskyard ({head.taskyard}); upgrade "
                    "this one"
                )
            yield Archive(path, tar, head)
    except FileNotFoundError as error:
        raise NotAStore(f"{path} does not exist; check the path") from error
    except tarfile.ReadError as error:
        raise NotAStore(
            f"{path} is not a backup of Taskyard, or is damaged: {error}; use another one"
        ) from error


def now_text() -> str:
    """The present moment for a head."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class _Reader:
    """Gives the archive exactly so many bytes of a file, and hashes them."""

    def __init__(self, blocks: Iterable[bytes], size: int) -> None:
        """Raises ``FileNotFoundError`` if the first block does."""
        self._blocks = iter(blocks)
        self._digest = hashlib.sha256()
        self._held = next(self._blocks, b"") if size else b""
        self.is_short = False

    def read(self, size: int) -> bytes:
        """So many bytes; zeroes in place of what is missing."""
        while len(self._held) < size and (more := self._more()):
            self._held += more
        data, self._held = self._held[:size], self._held[size:]
        if len(data) < size:
            self.is_short = True
            data += bytes(size - len(data))
        self._digest.update(data)
        return data

    def sha256(self) -> str:
        """Of what was read."""
        return self._digest.hexdigest()

    def _more(self) -> bytes:
        try:
            return next(self._blocks, b"")
        except OSError:
            return b""


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o600
    info.mtime = int(time.time())
    return info


def _decoded(path: Path, content: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise NotAStore(f"{path} is damaged: {error}; use another backup") from error


def _decoded_rows(path: Path, content: bytes) -> list[Row]:
    try:
        return msgspec.msgpack.decode(content, type=list[tuple[Any, ...]])
    except msgspec.DecodeError as error:
        raise NotAStore(f"{path} is damaged: {error}; use another backup") from error
