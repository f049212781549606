"""Output, answers and sources of functions, wherever they were made and whoever reads them."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio
import psycopg
import pytest
from two_planes import ME, OPERATOR, TwoPlanes, once, two_planes

from eventually import eventually_async
from taskyard.core.functions.functions import BuildState, CallRequest, Language
from taskyard.core.ids import TaskId
from taskyard.core.resources import Resources
from taskyard.core.states import TaskState
from taskyard.core.tasks import Command, TaskSpec
from taskyard.ports.logs import Stream
from taskyard.ports.objects import BUNDLES, OUTPUT, RESULTS, StoredObject
from taskyard.server.assemble import Node
from taskyard.services.functions.deployments import Deployment
from taskyard.services.tasks.follow import Exit
from taskyard.services.tasks.followed import Output

pytestmark = pytest.mark.anyio
LINES = b"".join(b"%d\n" % number for number in range(1, 200_001))
SOURCE = b"def handle(request):\n    return 'x' * 600_000\n"


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture
async def planes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TwoPlanes]:
    """Both, with messages that arrive and a worker each."""
    async with two_planes(tmp_path, monkeypatch, once) as both:
        await eventually_async(lambda: len(both.leader().engine.dispatch.workers()) == 2)
        yield both


async def submitted(node: Node, script: str) -> TaskId:
    """A command that this plane was asked for; each worker takes one at a time."""
    most = Resources(cpu_millis=node.worker.capacity.cpu_millis)
    spec = TaskSpec(work=Command(argv=("sh", "-c", script)), resources=most)
    task, _ = await node.engine.tasks.submit(ME, spec)
    return task.id


async def read(node: Node, task_id: TaskId) -> bytes:
    """All of the standard output, in parts."""
    found = b""
    while True:
        at = len(found)
        part = await node.engine.logs.read(ME, task_id, Stream.STDOUT, None, at, 700_000)
        if not part.data:
            return found
        found += part.data


async def followed(node: Node, task_id: TaskId) -> bytes:
    """All of the standard output, as it comes, until the attempt has ended."""
    found = b""
    async with aclosing(node.engine.follow.follow(ME, task_id, None, 0, -1)) as items:
        async for item in items:
            if isinstance(item, Output):
                assert item.offset == len(found)
                found += item.data
            elif isinstance(item, Exit):
                assert item.stdout == len(found)
                assert item.stdout_missing == 0
    return found


async def objects_of(node: Node, prefix: str) -> list[StoredObject]:
    """What there is under keys that begin like this."""
    sweep = node.wired.object_sweep
    assert sweep is not None
    return await sweep._objects.list_objects(prefix)


async def test_output_is_read_and_followed_from_both(planes: TwoPlanes, tmp_path: Path) -> None:
    """While it is written and afterwards, wherever that is; then no machine keeps any."""
    nodes = (planes.first, planes.second)
    script = "for i in 1 2 3 4; do seq $((i * 50000 - 49999)) $((i * 50000)); sleep 0.2; done"
    ids = [await submitted(nodes[number % 2], script) for number in range(4)]
    complete: list[bool] = []

    async def follow(node: Node, task_id: TaskId) -> None:
        complete.append(await followed(node, task_id) == LINES)

    with anyio.fail_after(50):
        async with anyio.create_task_group() as following:
            for task_id in ids:
                for node in nodes:
                    following.start_soon(follow, node, task_id)
    assert complete == [True] * 8
    workers = set()
    for task_id in ids:
        for node in nodes:
            assert await read(node, task_id) == LINES
            part = await node.engine.logs.read(ME, task_id, Stream.STDOUT, 1, 1_000_000, 10)
            assert (part.data, part.complete) == (LINES[1_000_000:1_000_010], True)
            workers.add(part.attempt.worker_id)
    assert len(workers) == 2
    places = [tmp_path / name / "attempts" for name in ("a", "b")]
    await eventually_async(lambda: not [one for at in places for one in at.glob("[0-9a-f]*")])
    await planes.second.engine.tasks.delete(ME, ids)
    assert await objects_of(planes.first, OUTPUT) == []


async def test_functions_are_built_where_they_are_called(planes: TwoPlanes, tmp_path: Path) -> None:
    """From the source that another plane was given; the answer is read from both."""
    first, second = planes.first, planes.second
    given = Deployment(bundle=SOURCE, language=Language.PYTHON)
    function, version = await first.engine.functions.deploy(ME, "big", given)
    version = await first.engine.functions.built(ME, function.id, version.number, 50)
    assert version.state is BuildState.READY, version.message
    await first.engine.workers.drain(OPERATOR, first.worker.worker_id)
    spec = await second.engine.calls.prepare(ME, "big", CallRequest())
    task, result = await second.engine.calls.call(ME, spec, 50)
    assert result is not None
    assert result.body is not None
    assert len(result.body) >= 600_000
    assert await first.engine.calls.result(ME, task.id) == result
    built = [(tmp_path / name / "functions" / "builds" / function.id / "1") for name in ("a", "b")]
    assert [one.is_dir() for one in built] == [True, True]
    assert len(await objects_of(first, BUNDLES)) == 1
    await first.engine.tasks.delete(ME, [task.id])
    assert await objects_of(second, RESULTS) == []


async def test_connections_that_are_lost_cost_no_output(planes: TwoPlanes) -> None:
    """What is being stored is stored again, before the end is told."""
    ids = [await submitted(planes.first, "seq 1 3000000") for _ in range(3)]
    states: list[TaskState] = []

    async def wait(task_id: TaskId) -> None:
        states.append((await planes.second.engine.tasks.wait(ME, task_id, 50)).state)

    def cut() -> None:
        with psycopg.connect(planes.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'taskyard objects'"
                " AND datname = current_database() AND state != 'idle'"
            )

    with anyio.fail_after(50):
        async with anyio.create_task_group() as waiting:
            for task_id in ids:
                waiting.start_soon(wait, task_id)
            for _ in range(10):
                await anyio.to_thread.run_sync(cut)
    assert states == [TaskState.SUCCEEDED] * 3
    expected = b"".join(b"%d\n" % number for number in range(1, 3_000_001))
    for task_id in ids:
        assert await read(planes.second, task_id) == expected
