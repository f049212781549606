"""Secrets, their sealing, and the key they are sealed with."""

import base64
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from access_world import ADMIN_A, ADMIN_B, A, B, World, template, world

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import InvalidInput, NotAllowed, NotFound
from taskyard.services.access.encryption import (
    Encryption,
    GivenKey,
    KeyFile,
    SecretKeyMissing,
    SecretKeyWrong,
)
from taskyard.services.access.secrets import Secrets

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def template_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store."""
    return template(tmp_path_factory.mktemp("template"))


@pytest.fixture
async def at(template_path: Path, tmp_path: Path) -> AsyncIterator[World]:
    """An open store with its services."""
    async with world(template_path, tmp_path) as opened:
        yield opened


def reopened(at: World) -> Secrets:
    """The secrets as after a restart."""
    key = KeyFile(at.path.parent / "secret.key")
    return Secrets(at.store, at.clock, at.audit, Encryption(key, at.store.sample))


async def test_a_secret_is_resolved_in_its_workspace_only(at: World) -> None:
    """The same name in another workspace is another secret, or none."""
    assert await at.secrets.put(ADMIN_A, "db", "hunter2 ä")
    assert not await at.secrets.put(ADMIN_A, "db", "hunter3 ä")
    assert await at.secrets.resolve(A, ["db", "db"]) == {"db": "hunter3 ä"}
    with pytest.raises(NotFound) as missing:
        await at.secrets.resolve(B, ["db"])
    assert (missing.value.kind, missing.value.key) == ("secret", "db")
    assert [record.name for record in await at.secrets.page(ADMIN_A)] == ["db"]
    assert await at.secrets.page(ADMIN_B) == []
    assert await at.secrets.resolve(B, []) == {}


async def test_nothing_plain_is_on_disk(at: World) -> None:
    """Not in the store, not in its log, not in the audit trail."""
    await at.secrets.put(ADMIN_A, "db", "hunter2-hunter2")
    for file in at.path.parent.iterdir():
        assert b"hunter2" not in file.read_bytes()
    for entry in await at.audit.page(ADMIN_A):
        assert "hunter2" not in repr(entry)


async def test_a_sealed_value_moved_elsewhere_does_not_open(at: World) -> None:
    """A value is bound to its workspace and name."""
    await at.secrets.put(ADMIN_A, "db", "hunter2")
    sealed = (await at.store.sealed(A, ["db"]))["db"]
    entry = at.audit.entry(ADMIN_A, "test")
    await at.store.put_secret(A, "other", sealed, at.clock.now(), entry)
    await at.store.put_secret(B, "db", sealed, at.clock.now(), entry)
    for workspace, name in ((A, "other"), (B, "db")):
        with pytest.raises(SecretKeyWrong):
            await at.secrets.resolve(workspace, [name])


async def test_deleting_and_refusing(at: World) -> None:
    """Only an admin; a secret that is gone is not found; everything is in the audit trail."""
    operator = Caller("token op", A, Role.OPERATE)
    with pytest.raises(NotAllowed):
        await at.secrets.put(operator, "db", "x")
    with pytest.raises(NotAllowed):
        await at.secrets.page(operator)
    await at.secrets.put(ADMIN_A, "db", "x")
    with pytest.raises(NotAllowed):
        await at.secrets.delete(operator, "db")
    with pytest.raises(NotFound):
        await at.secrets.delete(ADMIN_B, "db")
    await at.secrets.delete(ADMIN_A, "db")
    with pytest.raises(NotFound):
        await at.secrets.resolve(A, ["db"])
    trail = [(entry.action, entry.outcome) for entry in await at.audit.page(ADMIN_A)]
    assert trail == [
        ("secret.delete", "done"),
        ("secret.delete", "refused"),
        ("secret.put", "done"),
        ("secret.put", "refused"),
    ]


async def test_bounds_of_names_and_values(at: World) -> None:
    """64 KiB of UTF-8 fit, one byte more does not."""
    await at.secrets.put(ADMIN_A, "n" * 64, "ä" * 32768)
    assert await at.secrets.resolve(A, ["n" * 64]) == {"n" * 64: "ä" * 32768}
    await at.secrets.put(ADMIN_A, "empty", "")
    assert await at.secrets.resolve(A, ["empty"]) == {"empty": ""}
    for name, value in (
        ("n", "x" * 65537),
        ("n", "ä" * 32768 + "x"),
        ("n", "a\0b"),
        ("n", "\ud800"),
        ("n" * 65, "x"),
        ("", "x"),
    ):
        with pytest.raises(InvalidInput):
            await at.secrets.put(ADMIN_A, name, value)


async def test_the_key_is_made_once_and_is_private(at: World) -> None:
    """At the first secret, not before; readable by its owner alone; kept from then on."""
    path = at.path.parent / "secret.key"
    await at.encryption.check()
    assert not path.exists()
    await at.secrets.put(ADMIN_A, "one", "1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    again = reopened(at)
    await again.put(ADMIN_A, "two", "2")
    assert path.read_bytes() == content
    assert await again.resolve(A, ["one", "two"]) == {"one": "1", "two": "2"}
    assert sorted(file.name for file in path.parent.iterdir() if "key" in file.name) == [
        "secret.key"
    ]


async def test_a_store_with_secrets_and_no_key_is_refused(at: World) -> None:
    """No new key is made over lost values."""
    await at.secrets.put(ADMIN_A, "db", "x")
    path = at.path.parent / "secret.key"
    path.unlink()
    again = reopened(at)
    with pytest.raises(SecretKeyMissing):
        await again._encryption.check()
    with pytest.raises(SecretKeyMissing):
        await again.put(ADMIN_A, "other", "y")
    with pytest.raises(SecretKeyMissing):
        await again.resolve(A, ["db"])
    assert not path.exists()


async def test_a_wrong_key_is_refused_and_not_touched(at: World) -> None:
    """Neither another key nor half a file is used, nor overwritten."""
    await at.secrets.put(ADMIN_A, "db", "x")
    path = at.path.parent / "secret.key"
    for content in (base64.b64encode(os.urandom(32)), b"", b"abc", os.urandom(32)):
        path.write_bytes(content)
        again = reopened(at)
        with pytest.raises(SecretKeyWrong):
            await again._encryption.check()
        with pytest.raises(SecretKeyWrong):
            await again.put(ADMIN_A, "db", "y")
        assert path.read_bytes() == content


async def test_a_given_key_takes_the_place_of_the_file(at: World) -> None:
    """Nothing is written beside the store."""
    text = base64.b64encode(os.urandom(32)).decode()
    encryption = Encryption(GivenKey(text), at.store.sample)
    secrets = Secrets(at.store, at.clock, at.audit, encryption)
    await secrets.put(ADMIN_A, "db", "x")
    assert await secrets.resolve(A, ["db"]) == {"db": "x"}
    assert not (at.path.parent / "secret.key").exists()
    with pytest.raises(SecretKeyMissing):
        await reopened(at)._encryption.check()
    with pytest.raises(SecretKeyWrong):
        GivenKey("too short")


def test_making_a_key_where_one_is_keeps_that_one(tmp_path: Path) -> None:
    """Whoever is second takes the key of the first."""
    file = KeyFile(tmp_path / "secret.key")
    first = file.create()
    assert KeyFile(tmp_path / "secret.key").create() == first
    assert file.read() == first
