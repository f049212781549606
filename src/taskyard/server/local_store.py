"""A data directory opened without a server, for changes by the command line."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

from taskyard.server.clock import SystemClock
from taskyard.server.datadir import UMASK, protect_data
from taskyard.server.settings import Settings
from taskyard.server.storage import Storage
from taskyard.server.wiring.access import wire_access
from taskyard.services.access.accounts import Accounts
from taskyard.services.access.secrets import Secrets


class LocalStore:
    """Opens a data directory, makes it if missing, migrates it if old; an async context manager.

    Entering raises ``InvalidInput`` if others may write to it, ``StoreInUse`` while a server runs
    on it, ``StoreDamaged``, ``StorageFull``.
    """

    access: Accounts
    """Tokens and users."""
    secrets: Secrets

    def __init__(self, data_directory: Path, settings: Settings | None = None) -> None:
        """Prepare; ``settings`` are read from the environment when None."""
        loaded = settings or Settings.load(None, {"data": data_directory})
        self._data = data_directory
        self._umask: int | None = None
        self._storage = Storage(loaded)
        access = wire_access(loaded, self._storage.store, SystemClock())
        self.access, self.secrets = access.accounts, access.secrets

    async def __aenter__(self) -> Self:
        self._umask = os.umask(UMASK)
        try:
            await anyio.to_thread.run_sync(protect_data, self._data)
            await self._storage.open()
        except BaseException:
            os.umask(self._umask)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._storage.close()
        finally:
            if self._umask is not None:
                os.umask(self._umask)
