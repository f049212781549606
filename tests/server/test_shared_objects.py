"""A whole server whose output, answers and sources are objects, as control planes share them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from eventually import eventually_async
from taskyard.core.access.principals import Caller, Role
from taskyard.core.functions.functions import BuildState, CallRequest, Language
from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.core.states import TaskState
from taskyard.core.tasks import Command, Task, TaskSpec
from taskyard.objects.files.store import FileObjectStore
from taskyard.objects.output import ObjectOutput
from taskyard.ports.logs import LocalLogStore, OutputSource, Stream
from taskyard.ports.objects import BUNDLES, OUTPUT, RESULTS
from taskyard.server import assemble as assembling
from taskyard.server.assemble import Node, assemble
from taskyard.server.byte_stores import ByteStores, shared_objects
from taskyard.server.settings import Settings
from taskyard.services.functions.deployments import Deployment
from taskyard.services.tasks.logs import Logs
from taskyard.services.tasks.output_sources import LayeredOutput
from taskyard.worker.output.log_files import LogFiles

pytestmark = pytest.mark.anyio
ME = Caller("me", WorkspaceName("default"), Role.ADMIN)
LINES = "".join(f"{number}\n" for number in range(1, 200_001)).encode()
SOURCE = b"def handle(request):\n    return 'x' * 600_000\n"


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileObjectStore:
    """What servers share that are assembled from now on."""
    objects = FileObjectStore(tmp_path / "shared")

    def stores(
        settings: Settings, files: LocalLogStore, remote: OutputSource | None = None
    ) -> ByteStores:
        del settings
        return shared_objects(objects, files, remote)

    monkeypatch.setattr(assembling, "byte_stores", stores)
    return objects


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Node]:
    """A server without listeners."""
    given: dict[str, Any] = {"data": directory / "data", "dev": True, "container_engine": "off"}
    async with assemble(Settings.load(None, given, {})) as node:
        yield node


async def ran(node: Node, *argv: str) -> Task:
    """A command that has ended."""
    tasks = node.engine.tasks
    task, _ = await tasks.submit(ME, TaskSpec(work=Command(argv=argv)))
    return await tasks.wait(ME, task.id, 30)


async def whole(logs: Logs, task_id: TaskId, stream: Stream = Stream.STDOUT) -> bytes:
    """All of a stream, read in parts."""
    found = b""
    while part := (await logs.read(ME, task_id, stream, None, len(found), 300_000)).data:
        found += part
    return found


async def test_output_is_read_by_everybody_and_by_range(
    tmp_path: Path, objects: FileObjectStore
) -> None:
    """The server it ran on keeps none of it; another one has never seen it; it goes at last."""
    async with opened(tmp_path) as node:
        task = await ran(node, "sh", "-c", "seq 1 200000; seq 1 30000 >&2")
        assert task.state is TaskState.SUCCEEDED
        other = LayeredOutput(LogFiles(tmp_path / "nothing"), ObjectOutput(objects))
        elsewhere = Logs(node.engine.logs._store, other)
        for logs in (node.engine.logs, elsewhere):
            assert await whole(logs, task.id) == LINES
            assert len(await whole(logs, task.id, Stream.STDERR)) == 168_894
            found = await logs.read(ME, task.id, Stream.STDOUT, None, 1_000_000, 10)
            assert (found.data, found.size) == (LINES[1_000_000:1_000_010], len(LINES))
            assert found.complete
        attempts = tmp_path / "data" / "attempts"
        await eventually_async(
            lambda: not [one for one in attempts.iterdir() if one.name[0] != "."]
        )
        assert len(await objects.list_objects(OUTPUT)) == 3
        await node.engine.tasks.delete(ME, [task.id])
        assert await objects.list_objects("") == []


async def test_answers_and_sources_are_objects(tmp_path: Path, objects: FileObjectStore) -> None:
    """A server that has neither finds both: it builds the function for itself."""
    async with opened(tmp_path) as node:
        functions = node.engine.functions
        given = Deployment(bundle=SOURCE, language=Language.PYTHON)
        function, version = await functions.deploy(ME, "big", given)
        version = await functions.built(ME, function.id, version.number, 50)
        assert version.state is BuildState.READY, version.message
        calls = node.engine.calls
        spec = await calls.prepare(ME, "big", CallRequest())
        task, result = await calls.call(ME, spec, 30)
        assert result is not None
        assert result.size_bytes >= 600_000
        assert result.body is not None
        assert len(result.body) == result.size_bytes
        assert len(await objects.list_objects(RESULTS)) == 1
        assert len(await objects.list_objects(BUNDLES)) == 1
        assert not (tmp_path / "data" / "functions" / "bundles").exists()
        await node.engine.tasks.delete(ME, [task.id])
        assert await objects.list_objects(RESULTS) == []


async def test_output_that_was_kept_in_files_becomes_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a server begins that shares, or one that could not store it."""
    async with opened(tmp_path) as node:
        task = await ran(node, "seq", "1", "200000")
        assert await whole(node.engine.logs, task.id) == LINES
    objects = FileObjectStore(tmp_path / "shared")
    monkeypatch.setattr(
        assembling,
        "byte_stores",
        lambda _settings, files, remote=None: shared_objects(objects, files, remote),
    )
    async with opened(tmp_path) as node:
        attempts = tmp_path / "data" / "attempts"
        await eventually_async(
            lambda: not [one for one in attempts.iterdir() if one.name[0] != "."]
        )
        assert await whole(node.engine.logs, task.id) == LINES
        assert len(await objects.list_objects(OUTPUT)) >= 1
