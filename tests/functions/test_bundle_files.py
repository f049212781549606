"""Bundles of source on disk: kept by content, swept once nothing needs them."""

import os
import time
from pathlib import Path

import pytest

from taskyard.core.errors import NotFound, StoreDamaged
from taskyard.core.functions.functions import BuildState, Function, FunctionId, Language, Version
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant
from taskyard.runtimes.function.bundles import BundleFiles
from taskyard.server.clock import SystemClock
from taskyard.services.functions.bundle_sweep import BundleSweep
from taskyard.store.sqlite.store import SqliteStore

pytestmark = pytest.mark.anyio


async def test_only_old_bundles_of_no_version_are_swept(tmp_path: Path) -> None:
    """One that a version is made of stays forever, any other for a day."""
    store, files = SqliteStore(tmp_path), BundleFiles(tmp_path / "bundles")
    await store.open()
    try:
        used, unused = await files.put(b"used"), await files.put(b"unused")
        yesterday = time.time() - 2 * 86_400
        for path in (tmp_path / "bundles").glob("*/*"):
            os.utime(path, (yesterday, yesterday))
        young = await files.put(b"young")
        await store_version(store, used)
        await BundleSweep(store.functions, files, SystemClock()).once()
        assert (await files.get(used), await files.get(young)) == (b"used", b"young")
        with pytest.raises(NotFound):
            await files.get(unused)
    finally:
        await store.close()


async def store_version(store: SqliteStore, bundle: str) -> None:
    """A function with a version made of a bundle."""
    now = Instant(1)
    function = Function(
        id=FunctionId("0" * 24),
        workspace=WorkspaceName("a"),
        name="f",
        language=Language.PYTHON,
        created_at=now,
        updated_at=now,
    )
    await store.functions.create(function)
    await store.functions.add_version(
        Version(
            function_id=function.id,
            number=1,
            state=BuildState.PENDING,
            bundle=bundle,
            size_bytes=4,
            language=Language.PYTHON,
            handler="main.py",
            entry="handle",
            dependencies=(),
            created_at=now,
        )
    )


async def test_damaged_bundles_are_not_handed_out(tmp_path: Path) -> None:
    """To put the same source again mends it."""
    files = BundleFiles(tmp_path / "bundles")
    name = await files.put(b"source")
    (path,) = (tmp_path / "bundles").glob("*/*")
    path.write_bytes(b"")
    with pytest.raises(StoreDamaged, match="is damaged on disk; deploy it again"):
        await files.get(name)
    assert await files.put(b"source") == name
    assert await files.get(name) == b"source"
