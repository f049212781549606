"""Configurations that are fetched: section 14.3 of the contract, over HTTP."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from drove_world import DroveWorld, spec

from taskyard.core.tasks import Container
from taskyard.ports.outgoing import Fetch, SendFailed, TargetRefused
from taskyard.server.fetching import GuardedFetcher

pytestmark = pytest.mark.anyio


class Source:
    """An HTTP server that says one thing, and remembers what it was asked."""

    def __init__(self, status: int, body: bytes) -> None:
        self.asked = b""
        self.port = 0
        self._answer = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)

    async def handle(self, stream: Any) -> None:
        """One request."""
        async with stream:
            while b"\r\n\r\n" not in self.asked or b"payload" not in self.asked:
                try:
                    with anyio.fail_after(0.2):
                        self.asked += await stream.receive()
                except (TimeoutError, anyio.EndOfStream):
                    break
            await stream.send(self._answer)


@asynccontextmanager
async def source(status: int = 200, body: bytes = b"content") -> AsyncIterator[Source]:
    """A server for a while."""
    served = Source(status, body)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    served.port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django here
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, served.handle)
        try:
            yield served
        finally:
            group.cancel_scope.cancel()


def config(port: int, kind: str = "CONTROLLER_HTTP_FETCH", **http: Any) -> list[dict[str, Any]]:
    """A configuration that is fetched from there."""
    given = {"hostname": "127.0.0.1", "port": port, "operationTimeout": "5s", **http}
    return [{"type": kind, "localFilename": "/c.txt", "http": given}]


@pytest.mark.parametrize("kind", ["CONTROLLER_HTTP_FETCH", "EXECUTOR_HTTP_FETCH"])
async def test_content_is_there_before_the_task_starts(world: DroveWorld, kind: str) -> None:
    """Asked for as the client says; how to get it is kept nowhere."""
    async with source(status=201) as served:
        http = {
            "verb": "post",
            "path": "some/where",
            "payload": "payload",
            "successCodes": [201],
            "headers": {"X-One": "1"},
            "username": "u",
            "password": "p",
        }
        await world.create("T1", "hang", configs=config(served.port, kind, **http))
    lines = served.asked.decode().split("\r\n")
    assert lines[0] == "POST /some/where HTTP/1.1"
    assert "x-one: 1" in lines
    assert f"authorization: Basic {base64.b64encode(b'u:p').decode()}" in lines
    assert lines[-1] == "payload"
    work = (await world.running()).work
    assert isinstance(work, Container)
    assert [(one.path, one.data) for one in work.files] == [
        ("/c.txt", base64.b64encode(b"content").decode())
    ]
    assert b"payload" not in repr(world.workers.given[0]).encode()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [(404, b"", "404"), (200, b"x" * ((1 << 20) + 1), "more than 1048576 bytes")],
)
async def test_what_cannot_be_fetched_refuses_the_task(
    world: DroveWorld, status: int, body: bytes, said: str
) -> None:
    """Naming the file; validation does not look."""
    async with source(status, body) as served:
        wanted = spec("T1", configs=config(served.port))
        assert (await world.post("/tasks/validate/spec", wanted)).status_code == 200
        answer = await world.operate("CREATE", spec=wanted)
    (problem,) = answer.json()["data"]["validationErrors"]
    assert "/c.txt" in problem
    assert said in problem
    assert (await world.api.get("/tasks/APP/instances/T1")).json()["status"] == "FAILED"


async def test_nobody_there_refuses_the_task(world: DroveWorld) -> None:
    """Soon."""
    answer = await world.operate("CREATE", spec=spec("T1", configs=config(1)))
    assert answer.status_code == 400


async def test_private_addresses_are_not_asked() -> None:
    """Unless an operator allows it; names count by what they resolve to."""

    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("example.org", 80)
        return ["10.0.0.1"]

    for fetch, url in (
        (GuardedFetcher(resolver=resolve), "http://example.org/"),
        (GuardedFetcher(), "http://127.0.0.1:1/"),
        (GuardedFetcher(), "ftp://example.org/"),
    ):
        with pytest.raises(TargetRefused):
            await fetch(Fetch(url))


async def test_fetching_takes_no_longer_than_allowed() -> None:
    """A target that never answers costs the time it was given."""

    async def never(stream: Any) -> None:
        async with stream:
            await anyio.sleep_forever()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django here
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, never)
        fetch = GuardedFetcher(allow_private=True)
        with pytest.raises(SendFailed, match="no answer within"):
            await fetch(Fetch(f"http://127.0.0.1:{port}/", connect_s=0.1, total_s=0.1))
        group.cancel_scope.cancel()
