"""What a function gets and answers, as results of tasks."""

import pytest
from greencloud_world import ECHO, GreenCloudWorld

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def echo(world: GreenCloudWorld) -> str:
    """A function that answers with what it was asked."""
    return await world.acme.deployed(ECHO)


@pytest.mark.parametrize("body", [b"", b"{not json", bytes(range(256)), b'{"a": 1}'])
async def test_the_request_reaches_the_function(
    world: GreenCloudWorld, echo: str, body: bytes
) -> None:
    """Body, query, headers, method and host, byte for byte; what is ours is taken out or added."""
    answer = await world.acme.http.post(
        f"/v1/task/{echo}?a=1&a=2&b=&c",
        content=body,
        headers={
            "x-own": "1",
            "content-type": "text/odd",
            "gc-task-id": "forged",
            "cookie": "c",
            "connection": "keep-alive, x-hop",
            "x-hop": "1",
            "te": "trailers",
            "prefer": "x=1",
        },
    )
    task_id = answer.json()["id"]
    result = await world.acme.result(task_id)
    assert result.headers["content-type"] == "application/json"
    seen = result.json()
    assert seen["body"].encode("latin-1") == body
    assert seen["query"] == "a=1&a=2&b=&c"
    assert seen["first"] == {"a": "1", "b": "", "c": ""}
    assert seen["all"]["a"] == ["1", "2"]
    assert (seen["method"], seen["path"]) == ("POST", "/")
    assert seen["host"] == world.url.removeprefix("http://")
    assert (seen["task"], seen["function"], seen["timeout"]) == (task_id, echo, 10)
    assert seen["node"] == (await world.acme.got(f"/v1/task/{task_id}"))["node"]
    headers = seen["headers"]
    assert (headers["x-own"], headers["content-type"]) == ("1", "text/odd")
    assert (headers["gc-task-id"], headers["gc-function-id"]) == (task_id, echo)
    assert {"authorization", "cookie", "prefer", "connection", "te", "x-hop"}.isdisjoint(headers)
    assert "gc-storage" not in headers


ANSWERS = {
    "text": ("'hi \\u00e9'", 200, "text/plain; charset=utf-8", "hi é".encode()),
    "bytes": ("b'\\x00\\xff'", 200, "application/octet-stream", b"\x00\xff"),
    "none": ("None", 200, None, b""),
    "list": ("[1, 'a']", 200, "application/json", b'[1,"a"]'),
    "number": ("5", 200, "application/json", b"5"),
    "true": ("True", 200, "application/json", b"true"),
    "mapping": ("{'a': 1}", 200, "application/json", b'{"a":1}'),
    "teapot": ("{'statusCode': 418, 'body': 'tea'}", 418, "text/plain; charset=utf-8", b"tea"),
    "nothing": ("{'statusCode': 204}", 204, None, b""),
    "unchanged": ("{'statusCode': 304, 'headers': {'ETag': 'x'}}", 304, None, b""),
    "missing": ("{'statusCode': 404, 'body': {}}", 404, "application/json", b"{}"),
    "typed": (
        "{'headers': {'Content-Type': 'image/x'}, 'body': b'1'}",
        200,
        "image/x",
        b"1",
    ),
}


async def test_what_a_function_prints(world: GreenCloudWorld) -> None:
    """Is kept as its log, and is no part of the result."""
    function = await world.dev.deployed("def handle(e, c): print('printed')\n")
    result = await world.dev.called(function)
    assert (result.status_code, result.content) == (200, b"")
    task = (await world.native.got("/tasks?limit=1"))["items"][0]
    log = await world.native.http.get(f"/tasks/{task['id']}/logs/stdout")
    assert log.text == "printed\n"


async def test_answers_become_results(world: GreenCloudWorld) -> None:
    """Status, content type and body of every kind of value; read twice, they are the same."""
    cases = ",\n".join(f"{name!r}: lambda: {case[0]}" for name, case in ANSWERS.items())
    source = f"CASES = {{{cases}}}\ndef handle(event, context):\n"
    source += "    return CASES[event.body.decode()]()\n"
    function = await world.acme.deployed(source)
    for name, (_, status, kind, body) in ANSWERS.items():
        task_id = await world.acme.task(function, content=name)
        result = await world.acme.result(task_id)
        again = await world.acme.result(task_id)
        assert (result.status_code, result.content) == (status, body), name
        assert result.headers.get("content-type") == kind, name
        assert (again.status_code, again.content) == (status, body), name
        assert result.headers["gc-task-id"] == task_id
        assert result.headers["gc-task-state"] == "finished"
        assert (await world.acme.got(f"/v1/task/{task_id}"))["status"] == status


async def test_headers_of_answers(world: GreenCloudWorld) -> None:
    """Repeated ones are kept, those of the connection and the platform are not."""
    function = await world.acme.deployed(
        "async def handle(event, context):\n"
        "    return {'headers': [('X-A', '1'), ('X-A', '2'), ('GC-Own', 'x'), ('Date', 'x'),\n"
        "        ('Connection', 'close'), ('Content-Length', '99'), ('Transfer-Encoding', 'x')],\n"
        "        'body': 'ok'}\n"
    )
    result = await world.acme.called(function)
    assert result.headers.get_list("x-a") == ["1", "2"]
    assert result.headers["content-length"] == "2"
    assert "gc-own" not in result.headers
    assert result.headers.get("date") != "x"
    assert "transfer-encoding" not in result.headers


FAILURES = {
    "raise": ("raise KeyError('lost')", "KeyError: 'lost'"),
    "exit": ("import sys; sys.exit(3)", "exit"),
    "die": ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
    "status": ("return {'statusCode': 99}", "status"),
    "break": ("return {'headers': {'a': 'b\\nc'}}", "line break"),
    "nonsense": ("return {'body': object()}", "object"),
    "large": ("return 'x' * (11 << 20)", "bytes"),
}


async def test_repeated_headers_as_a_list(world: GreenCloudWorld) -> None:
    """A mapping names them once, with all their values."""
    function = await world.acme.deployed(
        "def handle(e, c): return {'headers': {'Set-Cookie': ['a=1', 'b=2'], 'X-A': 'c'}}\n"
    )
    result = await world.acme.called(function)
    assert result.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert (result.headers["x-a"], result.content) == ("c", b"")


async def test_failures_are_results(world: GreenCloudWorld) -> None:
    """Each ends with 500 and words, and the next task is not harmed."""
    lines = ["def handle(event, context):", "    case = event.body.decode()"]
    for name, (code, _) in FAILURES.items():
        lines += [f"    if case == {name!r}:", f"        {code}"]
    function = await world.acme.deployed("\n".join([*lines, "    return 'fine'", ""]))
    for name, (_, words) in FAILURES.items():
        result = await world.acme.called(function, content=name)
        assert result.status_code == 500, name
        assert result.json()["error"] == "FUNCTION_ERROR"
        assert words in result.json()["message"], (name, result.text)
        assert (await world.acme.called(function)).text == "fine"


async def test_a_task_over_its_time_ends_with_408(world: GreenCloudWorld) -> None:
    """It is killed; ten seconds are the least, so only one of its children is waited for here."""
    function = await world.acme.deployed(
        "import time\ndef handle(event, context):\n    while True: time.sleep(1)\n"
    )
    result = await world.acme.called(function)
    assert (result.status_code, result.json()["error"]) == (408, "TIMEOUT")
    task_id = result.headers["gc-task-id"]
    assert (await world.acme.got(f"/v1/task/{task_id}"))["status"] == 408


async def test_results_as_csv(world: GreenCloudWorld) -> None:
    """One line for each finished task."""
    function = await world.acme.deployed("def handle(e, c): return e.body.decode()\n")
    for word in ("one", "two"):
        await world.acme.called(function, content=word)
    answer = await world.acme.http.get(f"/v1/task/{function}/csv?showPlain=true")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    lines = answer.text.split("\r\n")
    assert lines[0] == "ID,IssuedAt,Status,ContentType,Body"
    assert [line.rsplit(",", 1)[1] for line in lines[1:3]] == ["one", "two"]
    wrong = await world.acme.http.get(f"/v1/task/{function}/csv?dateSince=yesterday")
    assert wrong.status_code == 400
