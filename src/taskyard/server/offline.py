"""A data directory without a server: what the command line changes directly."""

from pathlib import Path
from types import TracebackType
from typing import Self

from taskyard.server.clock import SystemClock
from taskyard.server.settings import Settings
from taskyard.server.wiring import wire_access
from taskyard.services.access import Access
from taskyard.services.secrets import Secrets
from taskyard.store.sqlite.store import SqliteStore


class Offline:
    """Opens a data directory, makes it if missing, migrates it if old; an async context manager.

    Entering raises ``StoreInUse`` while a server runs on it, ``StoreDamaged``, ``StorageFull``.
    """

    access: Access
    """Tokens and users."""
    secrets: Secrets

    def __init__(self, data_directory: Path, settings: Settings | None = None) -> None:
        """Prepare; ``settings`` are read from the environment when None."""
        loaded = settings or Settings.load(None, {"data": data_directory})
        self._store = SqliteStore(data_directory)
        _, self.access, self.secrets, _ = wire_access(loaded, self._store, SystemClock())

    async def __aenter__(self) -> Self:
        await self._store.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._store.close()
