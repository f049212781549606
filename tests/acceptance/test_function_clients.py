"""Functions through the Python clients, on a real server: both have the same methods."""

import inspect
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from served import Served, serving
from taskyard.sdk import AsyncClient, Client, Task, errors
from taskyard.sdk.aio.functions import AsyncFunctionClient
from taskyard.sdk.function_requests import Invocation
from taskyard.sdk.sync.functions import FunctionClient

pytestmark = pytest.mark.anyio
SOURCE = (
    b"import time\n"
    b"def handle(request):\n"
    b"    said = request.body.decode('latin-1')\n"
    b"    if said == 'fail': raise KeyError('k')\n"
    b"    if said == 'slow': time.sleep(9)\n"
    b"    if said == 'made': return (201, {'Location': '/elsewhere'}, b'made')\n"
    b"    if said == 'later': return (202, {'Location': '/api/v1/tasks/x'}, b'later')\n"
    b"    if said == 'problem': return (418, {'Content-Type': 'application/problem+json'}, b'no')\n"
    b"    return (200, {'X-A': request.query.get('a', '')}, request.body)\n"
)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The loop of these tests."""
    return "asyncio"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running server."""
    with serving(tmp_path_factory.mktemp("clients") / "data") as served:
        yield served


def test_both_clients_have_the_same_methods() -> None:
    """With the same arguments, defaults and documentation."""
    for name, method in vars(FunctionClient).items():
        if name.startswith("_"):
            continue
        other = vars(AsyncFunctionClient)[name]
        assert inspect.iscoroutinefunction(other)
        assert inspect.signature(method) == inspect.signature(other)
        assert method.__doc__ == other.__doc__
    assert set(vars(FunctionClient)) == set(vars(AsyncFunctionClient))


async def test_the_asynchronous_client(served: Served) -> None:
    """Deploy, look, call, roll back, pause, delete, restore."""
    async with AsyncClient(served.url, "dev") as client:
        functions = client.functions
        deployed = await functions.deploy(
            "both", SOURCE, wait_s=30, language="python", limits={"timeout_s": 1}, title=None
        )
        assert (deployed.version.number, deployed.version.state) == (1, "ready")
        found = await functions.get("both")
        assert (found.id, found.live_version) == (deployed.function.id, 1)
        assert [one.name for one in await functions.list()] == ["both"]
        assert "compiles" in await functions.build_log("both", 1)
        answer = await functions.invoke("both", b"\xff", query={"a": "b c"}, content_type="x/y")
        assert isinstance(answer, Invocation)
        assert (answer.status, answer.body, answer.headers["x-a"]) == (200, b"\xff", "b c")
        assert (await functions.result(answer.task_id)).body == b"\xff"
        task = await functions.submit("both", b"later on")
        assert (await client.wait(task.id, 20)).state == "succeeded"
        assert (await functions.result(task.id)).body == b"later on"
        bad = await functions.deploy("both", b"def handle(", wait_s=30)
        assert (bad.version.number, bad.version.state) == (2, "failed")
        assert (await functions.version("both", 2)).message == bad.version.message
        again = await functions.deploy("both", SOURCE, wait_s=30)
        assert [one.number for one in await functions.versions("both")] == [3, 2, 1]
        assert again.version.live
        assert (await functions.roll_back("both")).live_version == 1
        assert (await functions.roll_back("both", 3)).live_version == 3
        with pytest.raises(errors.Conflict):
            await functions.roll_back("both", 2)
        assert (await functions.pause("both")).paused
        with pytest.raises(errors.Conflict):
            await functions.invoke("both")
        assert not (await functions.resume("both")).paused
        await functions.delete("both")
        for call in (functions.get, functions.versions, functions.invoke, functions.delete):
            with pytest.raises(errors.NotFound):
                await call("both")
        assert [one.id for one in await functions.list(deleted=True)] == [found.id]
        assert (await functions.restore(found.id)).name == "both"
        await functions.delete("both")


def undated(answer: Invocation) -> Invocation:
    """The same without the moment at which it was sent."""
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    return replace(answer, headers=headers)


async def test_answers_are_told_from_tasks_and_errors(served: Served) -> None:
    """A function may answer with any status, location and content type; failing is its own."""
    limits = {"timeout_s": 1}
    with Client(served.url, "dev") as client:
        functions = client.functions
        functions.deploy("odd", SOURCE, wait_s=30, language="python", limits=limits)
        for said, status in (("made", 201), ("later", 202), ("problem", 418)):
            answer = functions.invoke("odd", said.encode())
            assert isinstance(answer, Invocation)
            assert answer.status == status
            again = functions.result(answer.task_id)
            assert undated(again) == undated(answer)
        for wait_s in (0.0, 0.05):
            task = functions.invoke("odd", b"slow", wait_s=wait_s)
            assert isinstance(task, Task)
            with pytest.raises(errors.Conflict):
                functions.result(task.id)
        for said, words in (("fail", "KeyError: 'k'"), ("slow", "time limit")):
            with pytest.raises(errors.FunctionFailed, match=words):
                functions.invoke("odd", said.encode())
        with pytest.raises(errors.NotFound):
            functions.result("01a202f8-0000-7000-8000-000000000000")
        with pytest.raises(errors.InvalidRequest):
            functions.deploy("bad name", SOURCE, language="python")
        assert functions.submit("odd").state == "queued"
    async with AsyncClient(served.url, "dev") as client:
        odd = await client.functions.invoke("odd", b"later")
        assert isinstance(odd, Invocation)
        with pytest.raises(errors.FunctionFailed):
            await client.functions.invoke("odd", b"fail")
    async with AsyncClient("http://127.0.0.1:9", "dev", retries=0) as client:
        with pytest.raises(errors.Unreachable):
            await client.functions.invoke("odd")
