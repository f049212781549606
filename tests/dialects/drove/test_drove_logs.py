"""Output: section 8 of the contract, over HTTP."""

import re
from typing import Any

import httpx2
import pytest
from drove_world import DroveWorld

from taskyard.core.ids import AttemptId
from taskyard.ports.logs import Stream

pytestmark = pytest.mark.anyio
BASE = "/logfiles/tasks/APP/T1"


async def written(world: DroveWorld, data: bytes) -> AttemptId:
    """A running task that has written this."""
    await world.create("T1", "hang")
    attempt_id = (await world.running()).attempt_id
    world.workers.logs.write(attempt_id, Stream.STDOUT, data)
    return attempt_id


async def read(world: DroveWorld, **parameters: Any) -> dict[str, Any]:
    """A chunk."""
    answer = await world.api.get(f"{BASE}/read/output.log", params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_files_are_listed(world: DroveWorld) -> None:
    """Without an envelope."""
    await written(world, b"x")
    assert (await world.api.get(f"{BASE}/list")).json() == {"files": ["output.log"]}


async def test_chunks_echo_their_offset(world: DroveWorld) -> None:
    """A negative offset answers with the size; past the end there is nothing."""
    attempt_id = await written(world, b"0123456789")
    assert await read(world) == {"data": "", "offset": 10}
    assert await read(world, offset=-1, length=5) == {"data": "", "offset": 10}
    assert await read(world, offset=0) == {"data": "0123456789", "offset": 0}
    assert await read(world, offset=4, length=3) == {"data": "456", "offset": 4}
    assert await read(world, offset=8, length=100) == {"data": "89", "offset": 8}
    assert await read(world, offset=10) == {"data": "", "offset": 10}
    assert await read(world, offset=11) == {"data": "", "offset": 11}
    assert await read(world, offset=0, length=0) == {"data": "", "offset": 0}
    world.workers.logs.write(attempt_id, Stream.STDOUT, b"ab")
    assert await read(world, offset=10) == {"data": "ab", "offset": 10}


async def test_chunks_have_a_usual_length(world: DroveWorld) -> None:
    """Of 32768 bytes."""
    await written(world, b"x" * 40_000)
    assert len((await read(world, offset=0))["data"]) == 32_768
    assert len((await read(world, offset=0, length=39_000))["data"]) == 39_000


async def test_chunks_end_where_characters_end(world: DroveWorld) -> None:
    """Whoever goes on by the bytes received reads everything once; nobody stands still."""
    text = "aä€😀" * 50
    await written(world, text.encode())
    for length in range(1, 9):
        offset, pieces = 0, []
        while data := (await read(world, offset=offset, length=length))["data"]:
            pieces.append(data)
            offset += len(data.encode())
        assert "".join(pieces) == text


async def test_characters_that_are_not_complete_yet_wait(world: DroveWorld) -> None:
    """Until their rest is written, or the task has ended."""
    attempt_id = await written(world, "€".encode()[:2])
    assert (await read(world, offset=0))["data"] == ""
    world.workers.logs.write(attempt_id, Stream.STDOUT, "€".encode()[2:])
    assert (await read(world, offset=0))["data"] == "€"
    world.workers.logs.write(attempt_id, Stream.STDOUT, b"\xe2")
    await world.workers.finish(world.workers.hanging[attempt_id])
    await world.in_state("STOPPED")
    assert (await read(world, offset=3))["data"] == "\ufffd"


async def test_output_stays_until_the_record_goes(world: DroveWorld) -> None:
    """Afterwards the task is unknown: no content."""
    await world.create("T1", "echo", "hello")
    await world.in_state("STOPPED")
    assert (await read(world, offset=0))["data"] == "hello\n"
    await world.api.delete("/tasks/APP/instances/T1")
    for path in ("list", "read/output.log", "download/output.log"):
        answer = await world.api.get(f"{BASE}/{path}")
        assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("parameters", [{"offset": -2}, {"length": -2}, {"offset": "x"}])
async def test_wrong_parameters_are_named(world: DroveWorld, parameters: dict[str, Any]) -> None:
    """As those of the query."""
    await written(world, b"x")
    answer = await world.api.get(f"{BASE}/read/output.log", params=parameters)
    (problem,) = answer.json()["data"]["validationErrors"]
    assert answer.status_code == 400
    assert problem.startswith(f"query param {next(iter(parameters))} ")


@pytest.mark.parametrize(
    "name", ["output.log-2024-07-03", "other", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd"]
)
async def test_files_that_are_not_there_are_errors(world: DroveWorld, name: str) -> None:
    """In a form of their own; only the base name counts."""
    await written(world, b"x")
    for what in ("read", "download"):
        answer = await world.api.get(httpx2.URL(f"{world.url}{BASE}/{what}/{name}?offset=0"))
        assert answer.status_code == 404
        assert set(answer.json()) == {"error"}
    answer = await world.api.get(httpx2.URL(f"{world.url}{BASE}/read/..%2foutput.log?offset=0"))
    assert answer.json()["data"] == "x"


async def test_output_that_is_gone_is_an_error(world: DroveWorld) -> None:
    """Not an empty file."""
    attempt_id = await written(world, b"x" * 100)
    await world.workers.finish(world.workers.hanging[attempt_id])
    await world.workers.logs.delete([attempt_id])
    for what in ("read/output.log?offset=0", "read/output.log", "download/output.log"):
        answer = await world.api.get(f"{BASE}/{what}")
        assert answer.status_code == 500
        assert answer.json()["error"].startswith("100 bytes of stdout of attempt 1 are gone")


async def test_downloads_have_every_byte(world: DroveWorld) -> None:
    """Under their name, or one that says what they are."""
    data = bytes(range(256)) * 3000
    await written(world, data)
    answer = await world.api.get(f"{BASE}/download/output.log")
    assert answer.content == data
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["content-disposition"] == "attachment; filename=output.log"
    renamed = await world.api.get(f"{BASE}/download/output.log?rename=true")
    assert re.fullmatch(
        r"attachment; filename=APP_T1_output\.log-\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d",
        renamed.headers["content-disposition"],
    )


async def test_tasks_of_others_keep_two_files(world: DroveWorld) -> None:
    """Their outputs are not mixed by anybody."""
    async with world.client(None, headers={"authorization": "Bearer dev"}) as native:
        answer = await native.post(
            world.server_url + "/api/v1/tasks",
            json={"image": "other", "command": ["echo", "hi"], "group": "APP"},
        )
    name = answer.json()["id"]
    await world.in_state("STOPPED", name)
    base = f"/logfiles/tasks/APP/{name}"
    listed = (await world.api.get(f"{base}/list")).json()["files"]
    assert listed == ["output.log", "output.log-stderr"]
    assert (await world.api.get(f"{base}/read/output.log?offset=0")).json()["data"] == "hi\n"
