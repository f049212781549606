"""Stores by their addresses: opened to be read, or to be filled."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from taskyard.core.errors import Unavailable
from taskyard.store.transfer import sqlite, sqlite_database
from taskyard.store.transfer.address import Address, Location, PostgresAddress, SqliteAddress
from taskyard.store.transfer.errors import NotEmpty, SchemaMismatch
from taskyard.store.transfer.files import DataFiles, NoFiles, make_data
from taskyard.store.transfer.sides import FileSet, Schema, Source, Target


@contextmanager
def unused_source(address: Address) -> Iterator[Source]:
    """A store that nobody uses, and that nobody can begin to use meanwhile if it is SQLite's.

    Raises ``StoreInUse``, and as :func:`snapshot`.
    """
    with ExitStack() as stack:
        if isinstance(address, SqliteAddress):
            sqlite_database.database_file(address.directory)
            stack.enter_context(sqlite_database.locked(address.directory))
            yield stack.enter_context(sqlite.opened_source(address.directory))
        else:
            yield stack.enter_context(_postgres_source(address, unused=True))


@contextmanager
def opened(address: Address) -> Iterator[Source]:
    """A store in one snapshot, however it is used meanwhile; nothing is written, no copy is made.

    While it is open, what others change in it takes room besides. Raises as :func:`snapshot`.
    """
    with ExitStack() as stack:
        if isinstance(address, SqliteAddress):
            yield stack.enter_context(sqlite.opened_source(address.directory))
        else:
            yield stack.enter_context(_postgres_source(address, unused=False))


@contextmanager
def snapshot(address: Address, beside: Path) -> Iterator[Source]:
    """A store as it is now, however it is used meanwhile.

    Args:
        address: of the store.
        beside: a directory with room for a copy of an SQLite database.

    Raises:
        NotAStore, SchemaMismatch: it is not one, or not of this version.
        StoreDamaged, Unavailable: it cannot be read.
        NotAllowedThere, Lost: the database does not let us in, or cannot be reached.
    """
    with ExitStack() as stack:
        if isinstance(address, SqliteAddress):
            yield stack.enter_context(sqlite.opened_snapshot(address.directory, beside))
        else:
            yield stack.enter_context(_postgres_source(address, unused=False))


@contextmanager
def target(
    address: Address,
    origin: str,
    *,
    force: bool,
    resumes: bool = True,
    schema: Schema | None = None,
) -> Iterator[Target]:
    """A store to be filled: made, or gone on with if a copy from the same origin was left there.

    Args:
        address: where.
        origin: what fills it.
        force: replace what is there.
        resumes: whether to go on with what was left.
        schema: an older one of the same database, until all rows are there.

    Raises:
        NotEmpty: there is something in it, and ``force`` is False.
        StoreInUse: somebody uses it.
        TaskyardError: it cannot be used, as :func:`snapshot` says.
    """
    with ExitStack() as stack:
        if isinstance(address, PostgresAddress):
            yield stack.enter_context(
                _postgres_target(address, origin, schema, force=force, resumes=resumes)
            )
            return
        directory = address.directory
        if (directory / "PG_VERSION").exists():
            sqlite_database.database_file(directory)
        try:
            make_data(directory)
            stack.enter_context(sqlite_database.locked(directory))
        except OSError as error:
            raise Unavailable(f"{directory} cannot be used: {error.strerror}") from error
        if not force and sqlite_database.has_store(directory):
            raise NotEmpty(
                f"{address} holds a store already; name a new directory, or replace everything in "
                "this one with --force"
            )
        afresh = force or not resumes
        made = sqlite.SqliteTarget(directory, origin, afresh=afresh, schema=schema)
        stack.callback(made.close)
        yield made


def older_schema(path: Path, schema: Schema, address: Address) -> Schema | None:
    """The schema that a backup needs at first; None if it is this version's.

    Raises:
        SchemaMismatch: it is newer, or older and the address is of another database.
    """
    if schema.database == "sqlite":
        current, other = sqlite_database.current_schema(), "a data directory"
    else:
        from taskyard.store.transfer import postgres  # noqa: PLC0415 - an optional dependency

        current, other = postgres.current_schema(), "a PostgreSQL database"
    if {*schema.migrations} - {*current.migrations}:
        raise SchemaMismatch(f"{path} was written by a newer version of Taskyard; upgrade this one")
    if schema == current:
        return None
    if isinstance(address, SqliteAddress) == (schema.database == "sqlite"):
        return schema
    raise SchemaMismatch(
        f"{path} was written by an older version of Taskyard; restore it into {other}, which "
        "brings it up to date, then copy that with 'taskyard store copy'"
    )


@contextmanager
def directory_files(location: Location) -> Iterator[FileSet]:
    """What is in the data directory of a store; nothing if none was named."""
    yield NoFiles() if location.data is None else DataFiles(location.data)


@contextmanager
def _postgres_source(address: PostgresAddress, *, unused: bool) -> Iterator[Source]:
    from taskyard.store.transfer import (  # noqa: PLC0415 - optional dependencies
        postgres,
        postgres_connection,
    )

    name = str(address)
    with postgres_connection.connected(address.database) as connection:
        postgres_connection.check_schema(connection, name)
        if unused:
            postgres_connection.lock_for_copy(connection, name)
            postgres_connection.check_unused(connection, name)
        yield postgres.PostgresSource(connection, address.database)


@contextmanager
def _postgres_target(
    address: PostgresAddress, origin: str, schema: Schema | None, *, force: bool, resumes: bool
) -> Iterator[Target]:
    from taskyard.store.transfer import (  # noqa: PLC0415 - optional dependencies
        postgres,
        postgres_connection,
    )

    name = str(address)
    with postgres_connection.connected(address.database) as connection:
        postgres_connection.lock_for_copy(connection, name)
        postgres.prepare(connection, address.database, schema)
        postgres_connection.check_unused(connection, name)
        yield postgres.PostgresTarget(
            connection, address.database, origin, force=force, resumes=resumes
        )
