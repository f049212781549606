"""Brings the schema of a database up to date, whichever it is.

The migrations are the numbered files of a database's ``migrations/``. Each is applied in one
transaction together with the row that says so, so a process that is killed leaves either all of it
or nothing. Several processes take turns by a lock that goes with the transaction, so there is none
to leave behind. What differs between databases is a :class:`SchemaDriver`.
"""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from importlib import resources
from typing import NamedTuple, Protocol

from taskyard.core.errors import StoreDamaged


class Migration(NamedTuple):
    """One step of the schema."""

    id: str
    """The name of its file without the suffix; ids are applied in order."""
    script: str


class SchemaDriver(Protocol):
    """A database whose schema is changed. All methods may raise what its driver raises."""

    @property
    def name(self) -> str:
        """For people."""

    def is_prepared(self) -> bool:
        """Whether it has the table of applied migrations."""

    def prepare(self) -> None:
        """Create that table, with what was applied before there was one; inside a transaction.

        Raises ``StoreDamaged`` if the database is another program's.
        """

    def transaction(self) -> AbstractContextManager[object]:
        """A transaction that waits for those of others that migrate; undone if the body raises."""

    def applied(self) -> Collection[str]:
        """The ids of the migrations that it has had."""

    def run(self, script: str) -> None:
        """Run the statements of a migration, inside a transaction."""

    def remember(self, ids: Sequence[str]) -> None:
        """Note that these were applied, inside the same transaction."""


def migrations_of(package: str) -> tuple[Migration, ...]:
    """All migrations of this release in the folder ``migrations`` of a package, in order."""
    folder = resources.files(package) / "migrations"
    return tuple(
        Migration(entry.name.removesuffix(".sql"), entry.read_text("utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".sql")
    )


def bring_up_to_date(
    schema: SchemaDriver, known: Sequence[Migration], ids: Collection[str] | None = None
) -> None:
    """Apply what is missing; does nothing if that is nothing.

    Args:
        schema: of the database.
        known: all migrations of this release, in order.
        ids: the migrations to apply, for a schema of an older release; all if None.

    Raises ``StoreDamaged`` if a newer release has changed the schema, and as ``schema`` does.
    """
    while not schema.is_prepared() or missing(schema, known, ids):
        with schema.transaction():
            # What is missing may have changed since we looked.
            if not schema.is_prepared():
                schema.prepare()
            for migration in missing(schema, known, ids)[:1]:
                schema.run(migration.script)
                schema.remember([migration.id])


def missing(
    schema: SchemaDriver, known: Sequence[Migration], ids: Collection[str] | None = None
) -> list[Migration]:
    """What :func:`bring_up_to_date` would apply. Raises as it does."""
    applied = set(schema.applied())
    if applied - {migration.id for migration in known}:
        raise StoreDamaged(
            f"{schema.name} was written by a newer version of Taskyard; upgrade to use it"
        )
    return [
        migration
        for migration in known
        if migration.id not in applied and (ids is None or migration.id in ids)
    ]
