"""Where the state is: data directories and databases are never mixed up."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import postgres
from taskyard.core.errors import Conflict, InvalidInput, StoreDamaged, StoreInUse
from taskyard.server.settings import Settings
from taskyard.server.storage import PLANE_FILE, Storage
from taskyard.services.access.encryption import (
    Encryption,
    KeyFile,
    SecretKeyMissing,
    SecretKeyWrong,
)
from taskyard.store.sqlite.database import FILE_NAME

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(data: Path, database: str | None = None) -> AsyncIterator[Storage]:
    """An open storage."""
    storage = Storage(Settings.load(None, {"data": data, "database": database}, environ={}))
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


@pytest.fixture
def database() -> str:
    """The URL of an empty database."""
    return postgres.server().url(postgres.new_database())


async def test_a_plane_keeps_its_name(tmp_path: Path, database: str) -> None:
    """In every life of its directory; another directory is another plane."""
    async with opened(tmp_path / "a", database) as first, opened(tmp_path / "b", database) as other:
        assert first.plane is not None
        assert first.plane != other.plane
        assert first.installation == other.installation != ""
        name = first.plane
    async with opened(tmp_path / "a", database) as again:
        assert again.plane == name


async def test_sqlite_has_one_plane(tmp_path: Path) -> None:
    """Which needs no name."""
    async with opened(tmp_path) as storage:
        assert storage.plane is None
    assert not (tmp_path / PLANE_FILE).exists()


async def test_a_directory_of_sqlite_is_no_planes(tmp_path: Path, database: str) -> None:
    """Its installation would seem to have gone."""
    async with opened(tmp_path):
        pass
    with pytest.raises(Conflict, match=r"holds an installation on SQLite; .*store copy"):
        async with opened(tmp_path, database):
            pytest.fail("opened")
    assert not (tmp_path / PLANE_FILE).exists()


async def test_a_directory_of_a_plane_is_not_for_sqlite(tmp_path: Path, database: str) -> None:
    """An installation that is empty would be served in place of the real one."""
    async with opened(tmp_path, database):
        pass
    with pytest.raises(Conflict, match="is on PostgreSQL; give its --database"):
        async with opened(tmp_path):
            pytest.fail("opened")
    assert not (tmp_path / FILE_NAME).exists()


async def test_two_installations_are_kept_apart(tmp_path: Path, database: str) -> None:
    """A directory goes with the database it was made for."""
    async with opened(tmp_path, database) as storage:
        mine = storage.installation
    name = postgres.new_database()
    other = postgres.server().url(name)
    with pytest.raises(Conflict, match=f"belongs to installation {mine}, and the database is empt"):
        async with opened(tmp_path, other):
            pytest.fail("opened")
    schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'taskyard'"
    assert postgres.server().run(schemas, name) == [(0,)]
    async with opened(tmp_path / "other", other) as storage:
        theirs = storage.installation
    with pytest.raises(Conflict, match=f"{mine}, and the database is installation {theirs}'s"):
        async with opened(tmp_path, other):
            pytest.fail("opened")


async def test_a_directory_has_one_plane_at_a_time(tmp_path: Path, database: str) -> None:
    """Its attempts are one worker's."""
    async with opened(tmp_path, database):
        with pytest.raises(StoreInUse):
            async with opened(tmp_path, database):
                pytest.fail("opened")


async def test_a_spoilt_name_is_told(tmp_path: Path, database: str) -> None:
    """Instead of making up another: the plane's attempts would be lost."""
    async with opened(tmp_path, database):
        pass
    (tmp_path / PLANE_FILE).write_text("{")
    with pytest.raises(StoreDamaged, match="cannot be read"):
        async with opened(tmp_path, database):
            pytest.fail("opened")


async def test_planes_have_one_key(tmp_path: Path, database: str) -> None:
    """The first one makes it; others are refused without it, or with another one."""

    def encryption(storage: Storage, name: str) -> Encryption:
        return Encryption(KeyFile(tmp_path / name / "secret.key"), storage.store.access.sample)

    async with opened(tmp_path / "a", database) as storage:
        await storage.check_key(encryption(storage, "a"))
        await storage.check_key(encryption(storage, "a"))
    async with opened(tmp_path / "b", database) as storage:
        with pytest.raises(SecretKeyMissing, match=r"copy secret\.key from another one"):
            await storage.check_key(encryption(storage, "b"))
        assert not (tmp_path / "b" / "secret.key").exists()
        KeyFile(tmp_path / "b" / "secret.key").create()
        with pytest.raises(SecretKeyWrong, match=r"replace its secret\.key"):
            await storage.check_key(encryption(storage, "b"))
        shutil.copy(tmp_path / "a" / "secret.key", tmp_path / "b")
        await storage.check_key(encryption(storage, "b"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"database_password": "x"}, "goes together with database"),
        (
            {
                "database": "postgresql://u@h/d",
                "database_password": "x",
                "database_password_file": "f",
            },
            "is given twice",
        ),
    ],
)
def test_passwords_belong_to_a_database(given: dict[str, str], said: str) -> None:
    """And there is one."""
    with pytest.raises(InvalidInput, match=said):
        Settings.load(None, given, environ={})


def test_a_password_may_be_in_a_file(tmp_path: Path) -> None:
    """In its first line; what is wrong with the file is said."""
    path = tmp_path / "password"
    settings = Settings.load(
        None,
        {"database": "postgresql://u@h/d", "database_password_file": str(path)},
        environ={},
    )
    with pytest.raises(InvalidInput, match="cannot be read"):
        settings.password_of_database()
    path.write_text("\n")
    with pytest.raises(InvalidInput, match="no password in its first line"):
        settings.password_of_database()
    path.write_text("p w\nmore\n")
    assert settings.password_of_database() == "p w"
    assert "p w" not in repr(settings)
