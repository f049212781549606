"""A data directory worked on without a server."""

from pathlib import Path

import pytest

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import NotAuthenticated, StoreInUse
from taskyard.core.ids import WorkspaceName
from taskyard.server.local_store import LocalStore
from taskyard.server.settings import Settings

pytestmark = pytest.mark.anyio
CALLER = Caller("command line", WorkspaceName("w"), Role.ADMIN)


async def test_token_made_offline_is_valid_afterwards(tmp_path: Path) -> None:
    """The directory is made, and what was changed stays."""
    data = tmp_path / "new" / "data"
    async with LocalStore(data) as stores:
        _, text = await stores.access.create_token(CALLER, "ci", Role.WRITE)
        await stores.secrets.put(CALLER, "db", "hunter2")
    async with LocalStore(data) as stores:
        caller = await stores.access.authenticate(f"Bearer {text}")
        assert (caller.workspace, caller.role) == ("w", Role.WRITE)
        assert await stores.secrets.resolve(WorkspaceName("w"), ["db"]) == {"db": "hunter2"}


async def test_directory_in_use_is_refused(tmp_path: Path) -> None:
    """One process at a time; free again afterwards."""
    async with LocalStore(tmp_path):
        with pytest.raises(StoreInUse):
            async with LocalStore(tmp_path):
                pass
    async with LocalStore(tmp_path):
        pass


async def test_well_known_credentials_exist_with_dev_only(tmp_path: Path) -> None:
    """Otherwise no credential has a default."""
    settings = Settings.load(None, {"data": tmp_path}, {})
    async with LocalStore(tmp_path, settings) as stores:
        with pytest.raises(NotAuthenticated):
            await stores.access.authenticate("Bearer dev")
