"""Brings the schema of a store up to date."""

from importlib import resources
from pathlib import Path

import yoyo

from taskyard.core.errors import StoreDamaged
from taskyard.store.sqlite.database import connect
from taskyard.store.sqlite.errors import translated


def migrate(path: Path) -> None:
    """Bring the schema up to date. Raises ``StoreDamaged`` for a store of a newer version."""
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
            with backend.lock():
                backend.apply_migrations(backend.to_apply(known))
        finally:
            backend.connection.close()
