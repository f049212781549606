"""Executions: side by side and in order, what they share and what they do not."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from greencloud_world import Account, GreenCloudWorld, opened, zipped

from eventually import eventually_async

pytestmark = pytest.mark.anyio
GATED = (
    "import os, time\n"
    "def handle(e, c):\n"
    "    while not os.path.exists({gate!r}): time.sleep(0.01)\n"
    "    return 'through'\n"
)


@pytest.fixture(scope="module")
async def narrow(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GreenCloudWorld]:
    """A served engine that runs one task at a time, and lets three more wait."""
    data = tmp_path_factory.mktemp("narrow") / "data"
    async with opened(data, {"worker_slots": 1, "max_queued": 3}) as world:
        yield world


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has asked about yet is dead all the same."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii")
    except FileNotFoundError:
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


async def begun(account: Account, task_id: str) -> None:
    """Return once a task runs."""
    await eventually_async(
        lambda: account.got(f"/v1/task/{task_id}"), lambda task: task["progress"] >= 75
    )


async def test_four_run_at_the_same_time(world: GreenCloudWorld, common_path: Path) -> None:
    """Each of them waits for the other three."""
    function = await world.acme.deployed(
        "import os, pathlib, time\n"
        f"PLACE = pathlib.Path({str(common_path)!r})\n"
        "def handle(e, c):\n"
        "    (PLACE / c.task_id).touch()\n"
        "    while len(os.listdir(PLACE)) < 4: time.sleep(0.01)\n"
        "    return 'together'\n"
    )
    tasks = [await world.acme.task(function) for _ in range(4)]
    assert [(await world.acme.result(one)).text for one in tasks] == ["together"] * 4


async def test_an_execution_is_not_repeated_when_it_fails(
    world: GreenCloudWorld, common_path: Path
) -> None:
    """Whatever became of it."""
    function = await world.acme.deployed(
        "import os\n"
        "def handle(e, c):\n"
        f"    with open({str(common_path / 'runs')!r}, 'a') as file: file.write('x')\n"
        "    if e.body: os.kill(os.getpid(), 9)\n"
        "    raise ValueError('once')\n"
    )
    for body in (b"", b"die"):
        assert (await world.acme.called(function, content=body)).status_code == 500
    assert (common_path / "runs").read_text() == "xx"


async def test_what_an_execution_finds(
    world: GreenCloudWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty directory of its own, nothing of the service's environment; prints are no answer."""
    monkeypatch.setenv("TASKYARD_SECRET_KEY", "of the service")
    function = await world.acme.deployed(
        "import os\n"
        "def handle(e, c):\n"
        "    print('printed')\n"
        "    found = {'files': os.listdir('.'), 'pid': os.getpid(),\n"
        "             'leaked': [x for x in os.environ if 'SECRET' in x]}\n"
        "    open('left', 'w').close()\n"
        "    return found\n"
    )
    first, second = [(await world.acme.called(function)).json() for _ in range(2)]
    other = await world.acme.deployed("import os\ndef handle(e, c): return os.getpid()\n")
    for found in (first, second):
        assert (found["files"], found["leaked"]) == ([], [])
    assert (await world.acme.called(other)).json() not in {first["pid"], second["pid"]}


async def test_the_clock_begins_with_the_function(
    narrow: GreenCloudWorld, common_path: Path
) -> None:
    """Waiting costs no time; once it is up, the function dies with all it started."""
    dev = narrow.dev
    function = await dev.deployed(
        "import subprocess, time\n"
        "def handle(e, c):\n"
        "    if not e.body: return time.sleep(0.7)\n"
        "    child = subprocess.Popen(['sleep', '60'])\n"
        f"    with open({str(common_path / 'pid')!r}, 'w') as file: file.write(str(child.pid))\n"
        "    time.sleep(60)\n"
    )
    # Ten seconds are the least here, and as good as one.
    limits = {"limits": {"timeout_s": 1}}
    assert (await narrow.native.http.patch(f"/functions/{function}", json=limits)).is_success
    tasks = [await dev.task(function) for _ in range(3)]
    assert [(await dev.result(one)).status_code for one in tasks] == [200, 200, 200]
    late = await dev.called(function, content="x")
    assert (late.status_code, late.json()["error"]) == (408, "TIMEOUT")
    pid = int((common_path / "pid").read_text())
    assert not is_alive(pid)


async def test_tasks_start_in_the_order_in_which_they_were_issued(
    narrow: GreenCloudWorld, common_path: Path
) -> None:
    """Those of one function."""
    function = await narrow.acme.deployed(
        "def handle(e, c):\n"
        f"    with open({str(common_path / 'order')!r}, 'a') as file: file.write(c.task_id + ' ')\n"
    )
    blocker = await narrow.acme.deployed(GATED.format(gate=str(common_path / "gate")))
    await begun(narrow.acme, await narrow.acme.task(blocker))
    tasks = [await narrow.acme.task(function) for _ in range(3)]
    (common_path / "gate").touch()
    for one in tasks:
        await narrow.acme.finished(one)
    assert (common_path / "order").read_text().split() == tasks


async def test_too_many_waiting_tasks(narrow: GreenCloudWorld, common_path: Path) -> None:
    """429 with the time to wait; nothing is issued, and what was taken runs."""
    acme, gate = narrow.acme, common_path / "gate"
    function = await acme.deployed(GATED.format(gate=str(gate)))
    endpoint = await acme.made(f"/v1/endpoint/{function}")
    blocker = await acme.task(function)
    await begun(acme, blocker)
    waiting = [await acme.task(function) for _ in range(3)]
    schedule = await acme.made(
        "/v1/scheduled", {"functionId": function, "cron": "0 0 1 1 *", "timezone": "UTC"}
    )
    body = {"functionId": function, "inlinePayload": "0"}
    for refused in (
        await acme.http.post(f"/v1/task/{function}", content="0"),
        await acme.http.post("/v1/task", json=body),
        await acme.http.post(f"/v1/scheduled/{schedule}/try"),
        await narrow.nobody.http.post(f"/gc/{endpoint}", content="0"),
    ):
        assert (refused.status_code, refused.json()["error"]) == (429, "TOO_MANY_REQUESTS")
        assert int(refused.headers["retry-after"]) >= 1
    gate.touch()
    assert [(await acme.result(one)).text for one in waiting] == ["through"] * 3
    assert len(await acme.got(f"/v1/task/list?functionId={function}")) == 4


async def test_cancelled_before_it_started(narrow: GreenCloudWorld, common_path: Path) -> None:
    """Through another interface: 500, and another message than when its function is deleted."""
    dev, gate = narrow.dev, common_path / "gate"
    function = await dev.deployed(GATED.format(gate=str(gate)))
    blocker = await dev.task(function)
    await begun(dev, blocker)
    cancelled, deleted = [await dev.task(function) for _ in range(2)]
    (waiting, *_) = (await narrow.native.got("/tasks?state=queued&order=oldest"))["items"]
    assert (await narrow.native.http.post(f"/tasks/{waiting['id']}/cancel")).is_success
    assert (await dev.http.delete(f"/v1/function/{function}")).status_code == 204
    for task, words in (
        (cancelled, "the task was cancelled before it started"),
        (deleted, "the function was deleted before the task started"),
    ):
        result = await dev.result(task)
        assert (result.status_code, result.json()["message"]) == (500, words)
    gate.touch()
    assert (await dev.result(blocker)).text == "through"


async def test_memory_over_the_limit(world: GreenCloudWorld) -> None:
    """500, and the next task has a process of its own."""
    acme = world.acme
    function = await acme.deployed(
        "def handle(e, c): return str(len(bytearray(int(e.body or 1) << 20)))\n"
    )
    limits = {"memSize": 128, "timeout": 30}
    assert (await acme.http.post(f"/v1/function/{function}/capabilities", json=limits)).is_success
    over = await acme.called(function, content="512")
    assert (over.status_code, over.json()["error"]) == (500, "FUNCTION_ERROR")
    assert (await acme.called(function, content="2")).text == str(2 << 20)


async def test_tasks_that_share_what_a_function_keeps(
    world: GreenCloudWorld, common_path: Path
) -> None:
    """Each sees what was there when it started; of several, the one that ends last wins."""
    acme = world.acme
    function = await acme.deployed(
        "import base64, os, time\n"
        "def handle(e, c):\n"
        "    said = e.body.decode()\n"
        "    gate = os.path.join(" + repr(str(common_path)) + ", said)\n"
        "    open(gate + '.begun', 'w').close()\n"
        "    while said and not os.path.exists(gate): time.sleep(0.01)\n"
        "    seen = base64.b64decode(e.headers.get('GC-Storage', '')).decode()\n"
        "    kept = base64.b64encode(said.encode()).decode()\n"
        "    status = 418 if said == 'second' else 200\n"
        "    return {'statusCode': status, 'body': seen,\n"
        "            'headers': {'gc-storage': kept} if said else {}}\n"
    )
    (common_path / "before").touch()
    assert (await acme.called(function, content="before")).text == ""
    tasks = {name: await acme.task(function, content=name) for name in ("first", "second", "third")}
    await eventually_async(lambda: all((common_path / f"{name}.begun").exists() for name in tasks))
    for name in ("third", "first", "second"):
        (common_path / name).touch()
        result = await acme.result(tasks[name])
        assert (result.status_code, result.text) == (418 if name == "second" else 200, "before")
        assert (await acme.called(function)).text == name
    other = await acme.deployed("def handle(e, c): return str('gc-storage' in e.headers)\n")
    assert (await acme.called(other)).text == "False"


async def test_the_build_created_last_wins(world: GreenCloudWorld) -> None:
    """However many are created before the first has ended."""
    acme = world.acme
    function = await acme.function()
    builds = []
    for number in range(5):
        source = f"def handle(e, c): return 'build {number}'\n"
        if number == 3:
            source = "def handle(:\n"
        answer = await acme.http.post(
            f"/v1/build/{function}?arch=amd64", content=zipped({"handler.py": source})
        )
        builds.append(answer.json()["id"])
    statuses: list[str] = []
    with anyio.fail_after(30):
        while not statuses or {"PENDING", "BUILDING"} & set(statuses):
            statuses = [(await acme.got(f"/v1/build/{one}"))["status"] for one in builds]
    assert statuses == ["SUCCESS", "SUCCESS", "SUCCESS", "FAILED", "SUCCESS"]
    assert (await acme.called(function)).text == "build 4"


async def test_a_node_keeps_its_id(common_path: Path) -> None:
    """Over restarts, and so do tasks what they say of it."""
    nodes = []
    task_id = function = ""
    for _ in range(2):
        async with opened(common_path / "data") as world:
            function = function or await world.acme.deployed("def handle(e, c): return c.node\n")
            task_id = task_id or await world.acme.task(function)
            nodes += [
                (await world.acme.finished(task_id))["node"],
                (await world.acme.called(function)).text,
            ]
    assert len(set(nodes)) == 1
