"""Brings the schema of a store up to date."""

from importlib import resources
from pathlib import Path

import yoyo

from taskyard.core.errors import StoreDamaged
from taskyard.store.sqlite.database import connect
from taskyard.store.sqlite.errors import translated


def migrate(path: Path) -> None:
    """Bring the schema up to date; the caller holds the lock of the directory.

    Raises ``StoreDamaged`` for a store of a newer version.
    """
    with translated():
        connect(path).close()
    with resources.as_file(resources.files("taskyard.store.sqlite") / "migrations") as folder:
        known = yoyo.read_migrations(str(folder))
        backend = yoyo.get_backend(f"sqlite:///{path}")
        try:
            applied = set(backend.get_applied_migration_hashes())
            if applied - {migration.hash for migration in known}:
                raise StoreDamaged(
                    f"{path} was written by a newer version of Taskyard; upgrade to use it"
                )
            missing = backend.to_apply(known)
            if missing:
                # One that a killed server left would never be given back. Nobody else is at work:
                # our caller holds the lock of the directory.
                backend.break_lock()
                with backend.lock():
                    backend.apply_migrations(missing)
        finally:
            backend.connection.close()
