"""Calls of Python functions: what handlers get and give, warmth, isolation, progress, output."""

import asyncio
import gc
import hashlib
import warnings
from pathlib import Path
from typing import Any

import anyio
import pytest
from function_world import FunctionWorld

from eventually import eventually_async
from taskyard.core import output_index
from taskyard.core.attempts import Ended
from taskyard.core.functions.functions import CallRequest
from taskyard.core.states import AttemptState, Reason
from taskyard.runtimes.function.limits import PoolLimits

pytestmark = pytest.mark.anyio

PID = "import os\ndef handle(request): return str(os.getpid())\n"


def body_of(ended: Ended) -> bytes:
    """What a call answered."""
    assert ended.result is not None, ended
    assert ended.result.body is not None
    return ended.result.body


async def test_the_answer_is_byte_identical(functions: FunctionWorld) -> None:
    """Bytes, text and JSON come back as the handler gave them, with their content types."""
    await functions.build(
        """
        def handle(request):
            kind = request.query["kind"]
            if kind == "bytes":
                return request.body
            if kind == "text":
                return "zwölf Boxkämpfer"
            if kind == "json":
                return {"a": [1, 2.5, None, "ß"], "q": request.query_all}
            if kind == "none":
                return None
            return 418, {"X-A": ["1", "2"], "content-type": "x/y"}, "short and stout"
        """
    )
    every = bytes(range(256)) * 3

    async def asked(kind: str) -> Ended:
        request = CallRequest(body=every, query=f"kind={kind}&a=1&a=&%C3%9F=x")
        return await functions.call(request=request)

    ended = await asked("bytes")
    assert body_of(ended) == every
    assert ended.result is not None
    assert ended.result.headers == (("content-type", "application/octet-stream"),)
    assert body_of(await asked("text")).decode() == "zwölf Boxkämpfer"
    expected = '{"a":[1,2.5,null,"ß"],"q":{"kind":["json"],"a":["1",""],"ß":["x"]}}'
    assert body_of(await asked("json")).decode() == expected
    assert body_of(await asked("none")) == b""
    odd = (await asked("odd")).result
    assert odd is not None
    assert odd.status == 418
    assert odd.headers == (("X-A", "1"), ("X-A", "2"), ("content-type", "x/y"))


async def test_a_handler_sees_the_request(fast: FunctionWorld) -> None:
    """Method, host, headers in any letter case, query string and body."""
    await fast.build(
        """
        def handle(request):
            return [request.method, request.host, request.headers["X-TWICE"],
                    request.headers.get("none"), request.query_string, request.text]
        """
    )
    request = CallRequest(
        body=b"hi",
        headers=(("x-twice", "1"), ("X-Twice", "2")),
        query="a=%20&&b",
        method="PUT",
        host="h:1",
    )
    ended = await fast.call(request=request)
    assert body_of(ended) == b'["PUT","h:1","1, 2",null,"a=%20&&b","hi"]'


async def test_handlers_with_an_event_and_a_context(fast: FunctionWorld) -> None:
    """Two arguments: as functions of GreenCloud have them."""
    await fast.build(
        {
            "function/handler.py": """
            from helper import twice

            async def handle(event, context):
                context.progress(50)
                return {"statusCode": 201, "body": twice(event.body.decode()),
                        "headers": [("a", "b")]}
            """,
            "function/helper.py": "def twice(text): return text * 2\n",
        }
    )
    assignment = fast.assignment("ab")
    await fast.start(assignment)
    ended = await fast.ended(assignment)
    assert ended.result is not None
    assert (ended.result.status, ended.result.body) == (201, b"abab")
    (progress,) = fast.ear.progressed[assignment.attempt_id]
    assert progress.fraction == 0.5


async def test_processes_stay_warm_and_are_not_shared(fast: FunctionWorld) -> None:
    """One function's calls share a process, one after another; two functions never do."""
    await fast.build(PID, name="one")
    await fast.build(PID, name="two")
    one = {body_of(await fast.call(name="one")) for _ in range(5)}
    two = {body_of(await fast.call(name="two")) for _ in range(5)}
    assert len(one) <= 2
    assert not one & two


async def test_a_process_is_replaced_after_so_many_calls(tmp_path: Path) -> None:
    """And nobody's call suffers from it."""
    world = FunctionWorld(tmp_path, limits=PoolLimits(calls=3))
    await world.open()
    try:
        await world.build(PID)
        pids = [body_of(await world.call()) for _ in range(9)]
        assert max(pids.count(pid) for pid in pids) <= 3
    finally:
        await world.close()


async def test_idle_processes_go(tmp_path: Path) -> None:
    """Instances after a while, then the zygote; what is retired costs nothing."""
    world = FunctionWorld(tmp_path, limits=PoolLimits(idle_s=0.1))
    await world.open()
    try:
        await world.build(PID)
        await world.call()
        await eventually_async(lambda: not list((tmp_path / "functions" / "run").iterdir()))
        assert (await world.call()).state is AttemptState.SUCCEEDED
    finally:
        await world.close()


async def test_calls_run_side_by_side(fast: FunctionWorld, tmp_path: Path) -> None:
    """As many processes as calls, when calls take their time: each waits for all others here."""
    together = tmp_path / "together"
    together.mkdir()
    await fast.build(
        "import os, time\n"
        f"def handle(request):\n    open({str(together)!r} + f'/{{os.getpid()}}', 'w').close()\n"
        f"    while len(os.listdir({str(together)!r})) < 6: time.sleep(0.01)\n"
    )
    calls = [fast.assignment() for _ in range(6)]
    for one in calls:
        await fast.start(one)
    for one in calls:
        assert (await fast.ended(one)).state is AttemptState.SUCCEEDED


async def test_closing_while_processes_are_made_leaves_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ends of a pair are closed, though no process ever got the other one."""
    world = FunctionWorld(tmp_path)
    await world.build(PID)
    before = open_sockets()
    await world.open()
    loop, made = asyncio.get_running_loop(), anyio.Event()
    connect = loop.create_unix_connection

    async def stalled(*how: Any, **more: Any) -> None:
        transport, _ = await connect(*how, **more)
        made.set()
        try:
            await anyio.sleep_forever()
        finally:
            transport.close()

    monkeypatch.setattr(loop, "create_unix_connection", stalled)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            await world.start(world.assignment())
            with anyio.fail_after(20):
                await made.wait()
        finally:
            await world.close()
        gc.collect()
    assert not caught
    assert open_sockets() == before


def open_sockets() -> int:
    """How many this process holds."""
    gc.collect()
    names = [one.readlink() for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    return sum(str(name).startswith("socket:") for name in names)


async def test_threads_at_import_are_no_obstacle(fast: FunctionWorld) -> None:
    """What cannot be forked safely is imported by each process for itself."""
    await fast.build(
        """
        import threading
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        def handle(request): return str(threading.active_count())
        """
    )
    assert body_of(await fast.call()) == b"2"


@pytest.mark.usefixtures("unseen")
async def test_little_output_needs_no_directory(functions: FunctionWorld) -> None:
    """It comes with the end; the next call's output is its own."""
    await functions.build(
        "import sys\ndef handle(request):\n"
        "    print('out', request.text)\n    print('err', file=sys.stderr)\n"
    )
    for text in ("1", "2"):
        assignment = functions.assignment(text)
        await functions.start(assignment)
        ended = await functions.ended(assignment)
        assert ended.output_complete
        order = ended.inline_output.pop("order")
        assert ended.inline_output == {"stdout": f"out {text}\n".encode(), "stderr": b"err\n"}
        assert sorted(output_index.covered(order)) == [4, 6]
        assert not functions.directories.path(assignment.attempt_id).exists()


async def test_output_can_be_followed(fast: FunctionWorld) -> None:
    """A call that takes its time has its output in its directory while it runs."""
    await fast.build(
        "import time\ndef handle(request):\n"
        "    print('first', flush=True)\n    time.sleep(0.6)\n    print('last')\n"
    )
    assignment = fast.assignment()
    path = fast.directories.path(assignment.attempt_id) / "stdout"
    await fast.start(assignment)
    with anyio.fail_after(10):
        while not (path.exists() and path.read_bytes() == b"first\n"):
            await anyio.sleep(0.01)
            assert assignment.attempt_id not in fast.ear.ends
    ended = await fast.ended(assignment)
    assert not ended.output_complete
    assert path.read_bytes() == b"first\nlast\n"
    assert (await fast.call()).state is AttemptState.SUCCEEDED
    assert path.read_bytes() == b"first\nlast\n"


async def test_each_call_has_an_empty_directory(fast: FunctionWorld) -> None:
    """Whatever the one before left, or wherever it went."""
    await fast.build(
        "import os\ndef handle(request):\n    found = os.listdir('.')\n"
        "    os.makedirs('a/b')\n    open('a/b/c', 'w').close()\n    os.chdir('/')\n"
        "    return found\n"
    )
    for _ in range(3):
        assert body_of(await fast.call()) == b"[]"


async def test_home_and_temporary_files_are_the_calls(functions: FunctionWorld) -> None:
    """They are in its directory, which is emptied after it."""
    await functions.build(
        "import os, tempfile\n"
        "def handle(request):\n"
        "    tempfile.mkstemp()\n"
        "    where = {os.environ['HOME'], os.environ['TMPDIR'], tempfile.gettempdir()}\n"
        "    return [len(where | {os.getcwd()}), len(os.listdir('.'))]\n"
    )
    for _ in range(2):
        assert body_of(await functions.call()) == b"[1,1]"


async def test_the_environment_holds_nothing_of_the_service(
    fast: FunctionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No variable of the server, no module of Taskyard."""
    monkeypatch.setenv("TASKYARD_SECRET_KEY", "hush")
    await fast.build(
        "import os, sys\ndef handle(request):\n"
        "    return [sorted(os.environ), [n for n in sys.modules if n.startswith('taskyard')]]\n"
    )
    text = body_of(await fast.call()).decode()
    assert "SECRET" not in text
    assert text.endswith(",[]]")


async def test_large_answers_are_files(fast: FunctionWorld) -> None:
    """Up to the limit, and identical."""
    await fast.build("import os\ndef handle(request): return request.body * 4\n")
    content = b"0123456789abcdef" * (1 << 17)
    assignment = fast.assignment(content)
    await fast.start(assignment)
    ended = await fast.ended(assignment)
    assert ended.result is not None
    assert ended.result.body is None
    stored = await fast.results.read(assignment.attempt_id)
    assert hashlib.sha256(stored).digest() == hashlib.sha256(content * 4).digest()


async def test_an_adopted_call_is_lost(fast: FunctionWorld) -> None:
    """Its process died with the worker that had it; policy says what follows."""
    assignment = fast.assignment()
    path = fast.directories.path(assignment.attempt_id)
    await fast.runtime.adopt(assignment, path, {"function": True})
    ended = await fast.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.LOST, Reason.EXIT_UNKNOWN)


async def test_a_version_that_is_not_there_fails_the_call(fast: FunctionWorld) -> None:
    """It says so."""
    ended = await fast.call(number=7)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED)


async def test_a_dead_fork_server_is_replaced(fast: FunctionWorld) -> None:
    """Calls under way fail through no fault of their own, with what they said; later ones work."""
    await fast.build(
        "import time\n"
        "def handle(request):\n"
        "    print('so far', flush=True)\n"
        "    time.sleep(float(request.text or 0))\n"
    )
    assignment = fast.assignment("30")
    await fast.start(assignment)
    await fast.ear.until(lambda: assignment.attempt_id in fast.ear.starts)
    fork_server = fast.runtime._fork_server
    assert fork_server is not None
    assert fork_server._process is not None
    fork_server._process.kill()
    ended = await fast.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.RUNTIME_TROUBLE)
    assert ended.inline_output == {"stdout": b"so far\n"} or not ended.output_complete
    await eventually_async(lambda: fast.runtime._fork_server not in {None, fork_server})
    assert (await fast.call()).state is AttemptState.SUCCEEDED
