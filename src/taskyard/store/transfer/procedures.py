"""Copy, back up, restore: rows, files and the key, in this order of safety.

Files come before the target becomes a store, so that a store never tells of output that is still to
come. A file that is there with the same size was copied by an earlier try; at the end all of them
are compared with what they were read from.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from msgspec import Struct

from taskyard import __version__
from taskyard.store.transfer import archive, opening
from taskyard.store.transfer.address import Address, Location, SqliteAddress
from taskyard.store.transfer.engine import Step, Watch, compare, copy_rows, verify
from taskyard.store.transfer.errors import NotVerified, WrongAddress
from taskyard.store.transfer.file_names import KEY, AsFiles, AsObjects
from taskyard.store.transfer.files import DataFiles, FileDigest, digest_of
from taskyard.store.transfer.sides import FileSet, ReadableFiles, Source
from taskyard.store.transfer.tables import Checksum

FILES: Final = "files"
"""In place of a table in what is watched."""
SEALED: Final = ("secrets", "webhook_keys")
"""Tables whose values the key opens."""


class Moved(Struct, frozen=True):
    """What was copied, saved or restored."""

    origin: str
    to: str
    tables: dict[str, Checksum]
    file_count: int
    file_bytes: int
    missing: tuple[str, ...] = ()
    """Files that were removed meanwhile."""
    running: int = 0
    """Attempts that had not ended: what they print is where they run."""
    key: str | None = None
    """Where the key of the secrets is now; None if there is none, or it was left where it is."""

    @property
    def row_count(self) -> int:
        """Of all tables."""
        return sum(each.rows for each in self.tables.values())


Files = Callable[[Location], AbstractContextManager[FileSet]]
"""Opens what belongs to a store besides its rows."""


def copy_store(
    origin: Location,
    to: Location,
    watch: Watch,
    *,
    files: Files = opening.directory_files,
    force: bool = False,
    key_elsewhere: bool = False,
) -> Moved:
    """Copy a store that nobody uses, and everything that belongs to it. Blocks.

    Args:
        origin: what to copy.
        to: where.
        watch: is told how far it is.
        files: opens what belongs to a store besides its rows.
        force: replace what is there.
        key_elsewhere: the key of the secrets is given by a setting, not by a file.

    Raises:
        WrongAddress: both are the same, or a data directory is needed and not named.
        StoreInUse: one of them is used.
        NotEmpty: there is something in the target, and ``force`` is False.
        NotVerified: what was written is not what was read.
        TaskyardError: a side cannot be used; what was copied stays for the next try.
    """
    check_different(origin.address, to.address)
    with opening.unused_source(origin.address) as source:
        if not key_elsewhere:
            _check_key(source, [one.data for one in (origin, to) if one.data is not None])
        with opening.target(to.address, source.name, force=force) as target:
            tables = copy_rows(source, target, watch)
            with files(origin) as here, files(to) as there:
                running = running_attempts(source)
                count, size = copy_files(here, there, running, watch)
            key = _copy_key(origin.data, to.data, force=force)
            found = verify(tables, source, target, watch)
            source.check_unused()
            target.finish(source.sequences())
    return Moved(source.name, str(to.address), found, count, size, running=len(running), key=key)


def back_up(
    origin: Location,
    path: Path,
    watch: Watch,
    *,
    files: Files = opening.directory_files,
    force: bool = False,
) -> Moved:
    """Write a store as it is now into an archive, also while it is used. Blocks.

    Args:
        origin: the store.
        path: of the archive.
        watch: is told how far it is.
        files: opens what belongs to a store besides its rows.
        force: replace a file that is there.

    Raises:
        NotEmpty: there is such a file.
        TaskyardError: the store cannot be read.
        OSError: the archive cannot be written.
    """
    address = origin.address
    with (
        archive.written(path, force=force) as writer,
        opening.snapshot(address, path.absolute().parent) as source,
    ):
        now = archive.now_text()
        writer.begin(archive.Head(archive.FORMAT, __version__, source.name, now, source.schema))
        sequences = source.sequences()
        tables = sorted(source.tables().items())
        for number, (name, table) in enumerate(tables, 1):
            total = source.count(table)
            for count in writer.add_table(table, source.rows(table), sequences.get(name)):
                watch(Step("copy", name, count, total, number, len(tables)))
        # After the rows: what they tell of is there, unless it was removed since.
        with files(origin) as here:
            _save_files(here, writer, watch)
        key = None if origin.data is None else DataFiles(origin.data).key()
        if key is not None:
            writer.add_key(KEY, key)
        manifest = writer.finish()
    return Moved(
        str(address),
        str(path),
        {name: saved.checksum for name, saved in manifest.tables.items()},
        len(manifest.files) - manifest.has_key,
        sum(file.size_bytes for file in manifest.files),
        tuple(manifest.missing),
        key=str(path) if manifest.has_key else None,
    )


def restore(
    path: Path,
    to: Location,
    watch: Watch,
    *,
    files: Files = opening.directory_files,
    force: bool = False,
) -> Moved:
    """Make a store of an archive. Blocks.

    Args:
        path: of the archive.
        to: where the store is to be.
        watch: is told how far it is.
        files: opens what belongs to a store besides its rows.
        force: replace what is there.

    Raises:
        NotAStore: the archive is not one, incomplete or damaged.
        SchemaMismatch: it is of a newer version, or of an older one on another database.
        NotEmpty, StoreInUse: there is something in the target, or somebody uses it.
        WrongAddress: a data directory is needed and not named.
        NotVerified: what was written is not what the archive says.
        TaskyardError: the target cannot be used.
    """
    with archive.opened(path) as saved:
        manifest = saved.manifest
        source = archive.ArchiveSource(saved)
        if to.data is None and manifest.has_key:
            raise WrongAddress(
                f"{path} holds the key of the store's secrets; name the data directory of a "
                "control plane for it with --data"
            )
        # Before anything is replaced.
        schema = opening.older_schema(path, source.schema, to.address)
        saved.check(watch)
        with opening.target(
            to.address, source.name, force=force, resumes=False, schema=schema
        ) as target:
            tables = copy_rows(source, target, watch)
            key = None
            with files(to) as there:
                running = running_attempts(source)
                copy_files(archive.ArchiveFiles(saved), there, running, watch)
            for file in manifest.files:
                if file.name == KEY and to.data is not None:
                    DataFiles(to.data).put_key(b"".join(saved.blocks(file)), replace=force)
                    key = str(to.data / KEY)
            for number, table in enumerate(tables, 1):
                wanted = manifest.tables[table.name].checksum
                watch(Step("verify", table.name, 0, wanted.rows, number, len(tables)))
                compare(table, wanted, target)
            target.finish(source.sequences())
    return Moved(
        source.name,
        str(to.address),
        {name: one.checksum for name, one in manifest.tables.items()},
        len(manifest.files) - manifest.has_key,
        sum(file.size_bytes for file in manifest.files),
        tuple(manifest.missing),
        key=key,
    )


def copy_files(
    source: ReadableFiles, target: FileSet, running: frozenset[str], watch: Watch
) -> tuple[int, int]:
    """Copy what is missing, and compare all of it; how many files and bytes there are. Blocks.

    Args:
        source: of one store.
        target: of the other one; each has its own names for the same things.
        running: attempts that have not ended.
        watch: is told how far it is.

    Raises:
        NotVerified: a file of the target is not what the source's is.
        TaskyardError: one of them cannot be used; what was copied stays.
    """
    seen = AsObjects(source, running) if target.holds_objects else AsFiles(source)
    count = total = 0
    for name in seen.names():
        try:
            total += _copy_file(name, seen, target)
        except FileNotFoundError:
            continue
        count += 1
        watch(Step("copy", FILES, count, 0, bytes=total))
    target.sync()
    return count, total


def _copy_file(name: str, source: ReadableFiles, target: FileSet) -> int:
    """Copy a file unless it is there; its size. Raises ``FileNotFoundError``."""
    size = source.size(name)
    if target.size(name) is not None:
        wanted = digest_of(source.blocks(name, size))
        if digest_of(target.blocks(name)) == wanted:
            return wanted[0]
    # Most are new: those are read once.
    digest = FileDigest()
    target.write(name, digest.of(source.blocks(name, size)))
    if digest_of(target.blocks(name)) != digest.result():
        raise NotVerified(f"{name} was changed while it was copied; run the same command again")
    return digest.result()[0]


def running_attempts(source: Source) -> frozenset[str]:
    """The ids of the attempts that have not ended. Blocks."""
    table = source.tables()["attempts"]
    name, finished_at = table.names.index("id"), table.names.index("finished_at")
    return frozenset(row[name] for row in source.rows(table) if row[finished_at] is None)


def _save_files(files: ReadableFiles, writer: archive.ArchiveWriter, watch: Watch) -> None:
    count = 0
    for name in files.names():
        size = files.size(name)
        if size is None:
            writer.add_missing(name)
            continue
        try:
            writer.add_file(name, size, files.blocks(name, size))
        except FileNotFoundError:
            writer.add_missing(name)
        count += 1
        watch(Step("copy", FILES, count, 0))


def check_different(one: Address, other: Address) -> None:
    """Raise :class:`WrongAddress` if both are the same store."""
    is_same = one == other
    if isinstance(one, SqliteAddress) and isinstance(other, SqliteAddress):
        is_same = one.directory.resolve() == other.directory.resolve()
    if is_same:
        raise WrongAddress(f"{one} and {other} are the same store; name two")


def _check_key(source: Source, directories: list[Path]) -> None:
    """Raise :class:`WrongAddress` if secrets go along, and nobody knows where their key is."""
    tables = source.tables()
    if not any(name in tables and source.count(tables[name]) for name in SEALED):
        return
    if any(DataFiles(data).key() is not None for data in directories):
        return
    where = " or ".join(str(data) for data in directories) or "a data directory that was not named"
    raise WrongAddress(
        f"the store holds secrets, and their key ({KEY}) is not in {where}; name a data directory "
        "that has it with --data, or say --no-key if it is given by the setting secret_key"
    )


def _copy_key(here: Path | None, there: Path | None, *, force: bool) -> str | None:
    if here is None or there is None or here.resolve() == there.resolve():
        return None
    content = DataFiles(here).key()
    if content is None:
        return None
    DataFiles(there).put_key(content, replace=force)
    return str(there / KEY)
