"""Objects of workers over a real NATS: the plane that took the first piece takes the rest."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from fakes.joined import Plane, link, plane
from natsserver import NatsServer, nats_server
from taskyard.core.errors import NotAllowed, Unavailable
from taskyard.core.functions.functions import Version
from taskyard.core.ids import AttemptId, WorkerId
from taskyard.objects.files.store import FileObjectStore
from taskyard.objects.joined import JoinedObjects, serving_objects
from taskyard.objects.joined.wire import PUT
from taskyard.runtimes.function.bundles import BundleFiles

pytestmark = pytest.mark.anyio

W1 = WorkerId("w1")
CONTENT = bytes(range(256)) * 8000
"""Two MB: four pieces."""


class _Engine:
    """Is not asked for anything here."""


async def no_version(*_of: object) -> Version:
    """Nobody asks here."""
    raise NotAllowed


@pytest.fixture
def server(tmp_path: Path) -> Any:
    """A NATS without rules."""
    with nats_server(tmp_path) as server:
        yield server


@asynccontextmanager
async def _serving(url: str, root: Path, name: str) -> AsyncIterator[tuple[Plane, FileObjectStore]]:
    """A control plane with an object store of its own: pieces that go astray are seen."""

    async def holder_of(_attempt_id: AttemptId) -> WorkerId:
        return W1

    objects = FileObjectStore(root / name)
    async with (
        plane(url, name) as made,
        serving_objects(
            objects, BundleFiles(root / "bundles"), holder_of, no_version, name
        ) as served,
    ):
        made.transport.answer(PUT, served.on_put, may_be_own=True)
        await made.serve(_Engine())  # type: ignore[arg-type]  # never called
        yield made, objects


def _key(number: int) -> str:
    return f"output/00000000-0000-0000-0000-0000000000{number:02}/stdout"


async def _sizes(objects: FileObjectStore) -> dict[str, int]:
    return {one.key: one.size_bytes for one in await objects.list_objects("output/")}


async def test_pieces_follow_the_first_one(server: NatsServer, tmp_path: Path) -> None:
    """Whichever of three planes that is; each object is whole in one place."""
    async with AsyncExitStack() as stack:
        stores = [
            (await stack.enter_async_context(_serving(server.url, tmp_path, name)))[1]
            for name in ("p-1", "p-2", "p-3")
        ]
        _, messages = await stack.enter_async_context(link(server.url, W1, None))  # type: ignore[arg-type]
        worker = JoinedObjects(messages)
        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(partial(worker.put, _key(number), CONTENT))
        found = [await _sizes(store) for store in stores]
        assert sum(map(len, found)) == 12
        assert {**found[0], **found[1], **found[2]} == {_key(n): len(CONTENT) for n in range(12)}
        assert sum(1 for one in found if one) > 1


async def test_the_rest_fails_at_once_if_that_plane_is_gone(
    server: NatsServer, tmp_path: Path
) -> None:
    """It is not taken by another plane, which has not the beginning; the next try is whole."""
    async with AsyncExitStack() as stack:
        first, _ = await stack.enter_async_context(_serving(server.url, tmp_path, "p-1"))
        _, messages = await stack.enter_async_context(link(server.url, W1, None))  # type: ignore[arg-type]
        worker = JoinedObjects(messages)
        _, others = await stack.enter_async_context(_serving(server.url, tmp_path, "p-2"))
        await first.transport.leave()
        assert await worker.put(_key(0), CONTENT)
        await first.serve(_Engine())  # type: ignore[arg-type]  # never called

        gone = anyio.Event()

        async def content() -> AsyncIterator[bytes]:
            for begin in range(0, len(CONTENT), 1 << 18):
                if begin == 1 << 20:
                    await first.transport.leave()
                    gone.set()
                yield CONTENT[begin : begin + (1 << 18)]

        # Two planes share the first pieces at random: until one begins at the one that goes.
        for number in range(1, 40):
            try:
                with anyio.fail_after(10):
                    await worker.put(_key(number), content())
            except Unavailable:
                break
            await first.serve(_Engine())  # type: ignore[arg-type]  # never called
        else:
            pytest.fail("no upload began at the plane that goes")
        assert gone.is_set()
        assert _key(number) not in await _sizes(others)
        assert await worker.put(_key(number), CONTENT)
        assert (await _sizes(others))[_key(number)] == len(CONTENT)
