"""A control plane among several: what it is known as, and what it refuses."""

from pathlib import Path

import pytest

import postgres
from taskyard.core.errors import InvalidInput
from taskyard.server.clock import SystemClock
from taskyard.server.membership import membership
from taskyard.server.pools import PoolSettings
from taskyard.server.settings import Settings
from taskyard.server.storage import Storage

pytestmark = pytest.mark.anyio


def shared(data: Path, **more: object) -> Settings:
    """Settings of a control plane on a new database."""
    url = postgres.server().url(postgres.new_database())
    return Settings(data=data, dev=True, port=8123, database=url, **more)  # type: ignore[arg-type]


async def test_with_a_store_of_its_own_a_plane_is_the_only_one(tmp_path: Path) -> None:
    """Nobody is elected."""
    settings = Settings(data=tmp_path, dev=True)
    storage = Storage(settings)
    await storage.open()
    try:
        async with membership(settings, storage, None, SystemClock()) as member:
            assert member is None
    finally:
        await storage.close()


async def test_on_a_database_it_is_one_of_several(tmp_path: Path) -> None:
    """Its worker is called after it; without a way to others it reaches itself."""
    settings = shared(tmp_path)
    storage = Storage(settings)
    await storage.open()
    try:
        async with membership(settings, storage, None, SystemClock()) as member:
            assert member is not None
            assert member.plane_id == storage.plane
            assert str(member.worker_id) == str(storage.plane)
            assert member.messages.plane_id == storage.plane
            assert not member.leadership.is_leader
    finally:
        await storage.close()


async def test_hosts_of_pools_do_not_go_with_a_database(tmp_path: Path) -> None:
    """Every plane would take them for its own workers."""
    settings = shared(tmp_path, pools=(PoolSettings(hosts=("tcp://engine:2375",)),))
    storage = Storage(settings)
    await storage.open()
    try:
        with pytest.raises(InvalidInput, match="do not go with a database"):
            async with membership(settings, storage, None, SystemClock()):
                pass
    finally:
        await storage.close()
