"""The asynchronous client against a real server."""

from contextlib import aclosing

import httpx2
import pytest

from taskyard.sdk import AsyncClient, errors
from taskyard.sdk.client_models import Output
from taskyard.sdk.models import Change, Exit

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of these tests."""
    return "asyncio"


async def test_submits_waits_and_lists(url: str) -> None:
    """A submitted command comes back ended, and is found in the listing."""
    async with AsyncClient(url, "dev") as client:
        task = await client.submit("exit 3", group="async")
        assert (await client.wait(task.id, 20)).exit_code == 3
        assert [each.id async for each in client.list(group="async")] == [task.id]
        assert (await client.attempts(task.id))[0].exit_code == 3
        assert (await client.retry(task.id)).retry_of == task.id
        await client.delete(task.id)
        with pytest.raises(errors.NotFound):
            await client.get(task.id)


async def test_follow_survives_cuts(url: str) -> None:
    """Every byte is seen once, also when the connection is cut."""
    async with httpx2.AsyncClient() as http:
        await http.post(f"{url}/faults", json={"cut_follow_bytes": [0, 5000]})
    async with AsyncClient(url, "dev") as client:
        task = await client.submit("for i in $(seq 3000); do echo line $i; done; exit 4")
        records = [record async for record in client.follow(task.id)]
    seen = b"".join(each.data for each in records if isinstance(each, Output))
    assert seen == b"".join(b"line %d\n" % i for i in range(1, 3001))
    assert [each.exit_code for each in records if isinstance(each, Exit)] == [4]


async def test_unreachable() -> None:
    """Where nobody listens, the error says so."""
    async with AsyncClient("http://127.0.0.1:9", "dev", retries=0) as client:
        with pytest.raises(errors.Unreachable):
            await client.me()


async def test_follows_a_task_through_its_attempts(url: str) -> None:
    """Output and exit records of every attempt are seen, the failed one first."""
    async with AsyncClient(url, "dev") as client:
        task = await client.submit("echo out; exit 3", retry={"max_attempts": 2})
        records = [record async for record in client.follow_task(task.id)]
    assert [(each.attempt, each.data) for each in records if isinstance(each, Output)] == [
        (1, b"out\n"),
        (2, b"out\n"),
    ]
    assert [each.exit_code for each in records if isinstance(each, Exit)] == [3, 3]


async def test_administers(url: str) -> None:
    """Groups, workers and live changes are there as in the synchronous client."""
    async with AsyncClient(url, "dev") as client:
        assert (await client.pause("async")).paused
        assert not (await client.resume("async")).paused
        assert "async" in [each.name async for each in client.groups()]
        assert (await client.workers())[0].capacity.slots == 4
        assert (await client.health())["live"]
        async with aclosing(client.changes()) as changes:
            assert isinstance(await anext(changes), Change)
