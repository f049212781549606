"""Lists without pages: read and sent some at a time, whatever their length."""

from typing import Any

import httpx2
import pytest
from greencloud_world import GreenCloudWorld

from taskyard.core.errors import Unavailable
from taskyard.core.functions.invocations import InvocationView
from taskyard.core.instants import to_datetime
from taskyard.dialects.greencloud import routes_functions, routes_tasks, streaming
from taskyard.services.functions import resources
from taskyard.services.functions.invocations import Invocations

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read and sent at a time is little, so that short lists have many parts."""
    for module in (routes_tasks, routes_functions, resources):
        monkeypatch.setattr(module, "AT_ONCE", 3)
    monkeypatch.setattr(streaming, "PIECE_BYTES", 200)


def in_pieces(answer: httpx2.Response) -> bool:
    """Whether an answer came without a length."""
    return "content-length" not in answer.headers


async def test_all_tasks_in_one_array(world: GreenCloudWorld) -> None:
    """Oldest first and each once; a function's own, and pages by query or body, narrow it."""
    acme = world.acme
    function = await acme.deployed("def handle(e, c): return e.body.decode()\n")
    other = await acme.deployed("def handle(e, c): return 'x'\n")
    tasks = []
    for number in range(10):
        tasks.append(await acme.task(function, content=f"line {number}"))
        await acme.task(other)
    for one in tasks:
        await acme.finished(one)
    answer = await acme.http.get("/v1/task/list")
    assert in_pieces(answer)
    assert answer.headers["content-type"] == "application/json"
    assert [one["id"] for one in answer.json()][-20::2] == tasks
    path = f"/v1/task/list?functionId={function}"
    assert [one["id"] for one in await acme.got(path)] == tasks
    assert [one["id"] for one in await acme.got(f"{path}&limit=4&page=2")] == tasks[4:8]
    assert [one["id"] for one in await acme.got(f"{path}&page=1")] == tasks
    assert await acme.got(f"{path}&page=3&limit=9") == []
    body = {"functionId": function, "limit": 2}
    narrowed = await acme.http.request("GET", "/v1/task/list", json=body)
    assert [one["id"] for one in narrowed.json()] == tasks[:2]
    assert (await acme.http.get(f"{path}&limit=0")).status_code == 400
    assert await acme.got(f"/v1/task/list?functionId={'0' * 24}") == []
    empty = await world.rival.http.get("/v1/task/list")
    assert (empty.json(), empty.headers["content-length"]) == ([], "2")


async def test_csv_of_any_length(world: GreenCloudWorld) -> None:
    """One line for each finished task, by day and schedule, quoted where it has to be."""
    acme = world.acme
    function = await acme.deployed(
        "def handle(e, c):\n"
        "    if e.body == b'fail': raise ValueError('x')\n"
        "    return {'body': e.body, 'headers': {'Content-Type': 'text/x'}}\n"
    )
    words = ["fail", 'a,"b"', "c\r\nd", *(f"word {n}" for n in range(8))]
    for word in words:
        await acme.called(function, content=word)
    path = f"/v1/task/{function}/csv"
    answer = await acme.http.get(path, params={"showPlain": "true"})
    assert in_pieces(answer)
    lines = answer.text.split("\r\n")
    assert lines[1].endswith(",500,,")
    assert lines[2].endswith(',200,text/x,"a,""b"""')
    assert answer.text.endswith(",200,text/x,word 7\r\n")
    coded = (await acme.http.get(path)).text.split("\r\n")
    assert len(coded) == len(words) + 2
    assert coded[-2].endswith(",d29yZCA3")
    today = to_datetime(world.clock.now()).strftime("%Y-%m-%d")
    later = f"{int(today[:4]) + 1}-01-01"
    for query, count in (
        (f"dateSince={today}", len(words)),
        (f"dateUntil={today}", len(words)),
        (f"dateSince={later}", 0),
        (f"dateUntil={int(today[:4]) - 1}-12-31", 0),
        (f"scheduledId={'0' * 24}", 0),
    ):
        found = (await acme.http.get(f"{path}?{query}")).text
        assert found.count(",text/x,") == max(0, count - 1), query
    foreign = await world.rival.http.get(path)
    assert (foreign.status_code, foreign.json()["error"]) == (404, "FUNCTION_NOT_FOUND")


async def test_functions_tags_and_nodes(world: GreenCloudWorld) -> None:
    """Newest functions first, oldest tags and nodes; tags are found however many there are."""
    rival = world.rival
    tags = [await rival.made("/v1/tag", {"name": f"tag {n}"}) for n in range(8)]
    functions = [await rival.function(f"F{n}", tag=[tags[n], tags[7]]) for n in range(7)]
    answer = await rival.http.get("/v1/function/list")
    assert in_pieces(answer)
    assert [one["id"] for one in answer.json()] == functions[::-1]
    assert [tag["id"] for tag in answer.json()[-1]["tags"]] == [tags[0], tags[7]]
    answer = await rival.http.get("/v1/tag/list")
    assert in_pieces(answer)
    assert [one["id"] for one in answer.json()] == tags
    carriers = await rival.got(f"/v1/function/list?tag={tags[2]}")
    assert [one["id"] for one in carriers] == [functions[2]]
    nodes = [f"1a061cfd-df01-4b02-a067-{n:012d}" for n in range(7)]
    for node in nodes:
        assert (await rival.http.post(f"/v1/node/{node}")).status_code == 201
    assert [one["hash"] for one in await rival.got("/v1/node/list")] == nodes


async def test_a_reader_that_goes_away(world: GreenCloudWorld) -> None:
    """What is left is not read for nobody, and the next request is answered."""
    acme = world.acme
    function = await acme.deployed("def handle(e, c): return 'x' * 1_000_000\n")
    for _ in range(8):
        await acme.called(function)
    async with acme.http.stream("GET", f"/v1/task/{function}/csv") as answer:
        async for _ in answer.aiter_raw(1):
            break
    assert len(await acme.got(f"/v1/task/list?functionId={function}")) == 8


async def test_a_list_that_breaks_off(
    world: GreenCloudWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trouble on the way is no end of the list: the client sees that something is missing."""
    acme = world.acme
    function = await acme.deployed("def handle(e, c): return 'x'\n")
    for _ in range(12):
        await acme.task(function)
    views, count = Invocations.views, 0

    async def failing(self: Invocations, *given: Any, **more: Any) -> list[InvocationView]:
        nonlocal count
        count += 1
        if count > limit:
            raise Unavailable("the store is closed")
        return await views(self, *given, **more)

    monkeypatch.setattr(Invocations, "views", failing)
    path = f"/v1/task/list?functionId={function}"
    limit = 0
    refused = await acme.http.get(path)
    assert (refused.status_code, refused.json()["error"]) == (503, "UNAVAILABLE")
    count, limit = 0, 3
    with pytest.raises(httpx2.RemoteProtocolError):
        await acme.http.get(path)
    limit = 99
    assert len(await acme.got(path)) == 12
