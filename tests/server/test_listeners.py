"""What a listener does with connections, before any route is asked."""

import errno
import os
import stat
import sys
from collections.abc import AsyncIterator, Hashable
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio.abc import SocketStream
from litestar.types import Receive, Scope, Send

from taskyard.core.errors import Overloaded
from taskyard.dialects.http.requests import LOCAL_KEY
from taskyard.dialects.http.shares import Shares
from taskyard.runtimes.processes.peers import Peer
from taskyard.server import body_rate, http_protocol, listeners
from taskyard.server.control_socket import bind_unix, is_task, local_admin
from taskyard.server.listeners import Listener, bind_tcp, started

pytestmark = pytest.mark.anyio


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the length of the body, and whether the caller is local."""
    size, more = 0, True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        size += len(message["body"])
        more = message["more_body"]
    body = f"{size} {LOCAL_KEY in scope['state']}".encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Port of a listener that echoes."""
    listener = Listener(bind_tcp("127.0.0.1", 0), echo, 1)
    port: int = listener.socket.getsockname()[1]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve)
        await started([listener])
        yield port
        listener.stop()


async def everything(stream: SocketStream) -> bytes:
    """All bytes up to the end of the connection."""
    received = b""
    with anyio.fail_after(10):
        try:
            while True:
                received += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return received


async def sent(port: int, data: bytes) -> bytes:
    """What comes back for some bytes, up to the end of the connection."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(data)
        return await everything(stream)


@pytest.mark.parametrize(
    "headers",
    [
        b"x: " + b"y" * 40_000,
        b"\r\n".join(b"h%d: v" % n for n in range(200)),
        b"x: " + b"y" * 1_000_000,
    ],
    ids=["large", "many", "huge"],
)
async def test_too_much_header_is_refused(port: int, headers: bytes) -> None:
    """431 as a problem document, and the connection ends."""
    answer = await sent(port, b"GET / HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in answer
    assert b'"status":431' in answer


async def test_header_without_an_end_is_noticed_before_it_is_complete(port: int) -> None:
    """Memory of unfinished headers is bounded."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(b"GET / HTTP/1.1\r\nx: ")
        received = b""
        with anyio.fail_after(10):
            try:
                while not received:
                    await stream.send(b"y" * 8192)
                    with anyio.move_on_after(0.01):
                        received = await stream.receive()
            except (anyio.BrokenResourceError, anyio.EndOfStream):
                received = received or await everything(stream)
        assert received.startswith(b"HTTP/1.1 431 ") or not received


async def test_long_target_is_refused(port: int) -> None:
    """The request line counts too."""
    answer = await sent(port, b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_headers_just_below_the_limit_pass(port: int) -> None:
    """30 KiB are fine."""
    request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: %s\r\n\r\n"
    assert (await sent(port, request % (b"y" * 30_000))).startswith(b"HTTP/1.1 200 ")


async def test_what_is_not_http_is_refused(port: int) -> None:
    """400 as a problem document."""
    answer = await sent(port, b"\x16\x03\x01 hello\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"status":400' in answer


async def test_headers_that_do_not_arrive_are_given_up(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408 after a while."""
    monkeypatch.setattr(http_protocol, "HEADERS_S", 0.05)
    answer = await sent(port, b"GET / HTTP/1.1\r\nhost: x\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never says a word lasts no longer than one between two requests."""
    monkeypatch.setattr(listeners, "KEEP_ALIVE_S", 0.05)
    listener = Listener(bind_tcp("127.0.0.1", 0), echo, 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve)
        await started([listener])
        assert await sent(listener.socket.getsockname()[1], b"") == b""
        listener.stop()


async def test_connection_is_kept_and_pipelined_requests_are_answered_in_order(port: int) -> None:
    """Three requests on one connection, two of them at once."""
    one = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s"
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(one % (1, b"a"))
        assert (await stream.receive()).endswith(b"1 False")
        await stream.send(one % (2, b"aa") + one % (3, b"aaa"))
        received = b""
        with anyio.fail_after(5):
            while received.count(b"False") < 2:
                received += await stream.receive()
        assert received.index(b"2 False") < received.index(b"3 False")


async def test_chunked_body_arrives_whole(port: int) -> None:
    """Whatever the sizes of its chunks."""

    async def pieces() -> AsyncIterator[bytes]:
        for size in (1, 70_000, 3):
            yield b"x" * size

    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"http://127.0.0.1:{port}/", content=pieces())
    assert answer.text == "70004 False"


async def test_address_in_use_is_named() -> None:
    """The error says which address, and keeps the system's number."""
    with bind_tcp("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}: the address is in use") as error:
            bind_tcp("127.0.0.1", port)
        assert error.value.errno == errno.EADDRINUSE


async def test_unknown_host_is_named() -> None:
    """A name that stands for nothing here."""
    with pytest.raises(OSError, match=r"host\.invalid"):
        bind_tcp("host.invalid", 0)


async def test_control_socket_is_for_its_owner_and_marks_its_callers(tmp_path: Path) -> None:
    """Mode 0600; an old one is replaced; callers are local admins."""
    path = tmp_path / "control.sock"
    path.write_text("left over")
    bound = bind_unix(path)
    assert bound is not None
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600  # noqa: PTH116 - a socket
    listener = Listener(bound, local_admin(echo), 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve)
        await started([listener])
        transport = httpx2.AsyncHTTPTransport(uds=str(path))
        async with httpx2.AsyncClient(transport=transport) as client:
            assert (await client.post("http://x/", content=b"ab")).text == "2 True"
        listener.stop()


@pytest.mark.parametrize(
    ("variables", "status"),
    [({}, b"200"), ({"TASKYARD_ATTEMPT_ID": "a"}, b"403"), ({"TASKYARD_FUNCTION": "f"}, b"403")],
)
async def test_the_control_socket_refuses_tasks(
    tmp_path: Path, variables: dict[str, str], status: bytes
) -> None:
    """Also one that runs as the server's own user."""
    path = tmp_path / "control.sock"
    bound = bind_unix(path)
    assert bound is not None
    listener = Listener(bound, local_admin(echo), 1, control=True)
    ask = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n');"
        "sys.stdout.buffer.write(s.recv(4096))"
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve)
        await started([listener])
        done = await anyio.run_process([sys.executable, "-I", "-c", ask, str(path)], env=variables)
        assert done.stdout.split(b" ", 2)[1] == status
        listener.stop()


def test_processes_of_tasks_are_known_by_their_cgroup_and_their_environment() -> None:
    """This process is none; one that cannot be looked at counts as one."""
    ids = (os.geteuid(), os.getegid())
    assert not is_task(Peer(os.getpid(), *ids))
    assert is_task(Peer(0, *ids))


async def test_too_long_socket_path_is_done_without(tmp_path: Path) -> None:
    """The limit of Unix sockets is about 107 bytes."""
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    assert bind_unix(deep / "control.sock") is None


HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\n"


@pytest.mark.parametrize("first", [b"", b"x"])
async def test_a_body_that_hardly_arrives_is_given_up(
    port: int, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    """Whether nothing of it comes at all, or a byte now and then."""
    monkeypatch.setattr(body_rate, "BODY_GRACE_S", 0.05)
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(HEAD + first)
        assert b"arrives too slowly" in await everything(stream)


async def test_a_body_that_arrives_steadily_has_its_time(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many looks are taken at it, and it is complete in the end."""
    monkeypatch.setattr(body_rate, "BODY_GRACE_S", 0.01)
    monkeypatch.setattr(body_rate, "BODY_BYTES_PER_S", 1)
    looks = []
    look = body_rate.BodyRate._check

    def counted(self: body_rate.BodyRate) -> None:
        looks.append(1)
        look(self)

    monkeypatch.setattr(body_rate.BodyRate, "_check", counted)
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(
            HEAD.replace(b"9000000", b"3001").replace(b"host", b"connection: close\r\nhost")
        )
        with anyio.fail_after(10):
            while len(looks) < 5:
                await stream.send(b"x" * 10)
                await anyio.sleep(0.005)
        await stream.send(b"x" * 3001)
        assert b"3001 False" in await everything(stream)


async def test_one_address_has_so_many_connections(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is told so; when one has ended there is room for another."""
    monkeypatch.setattr(Shares, "check", _two_at_most)
    first, second = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(2)]
    async with second:
        async with first:
            await first.send(GET)
            assert b" 200 " in await first.receive()
            await second.send(GET)
            assert b" 200 " in await second.receive()
            refused = await sent(port, GET)
            assert refused.startswith(b"HTTP/1.1 429 Too Many Requests")
        with anyio.fail_after(10):
            while b" 200 " not in await sent(port, LAST):
                await anyio.lowlevel.checkpoint()


GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def _two_at_most(self: Shares, who: Hashable, count: int = 1) -> None:
    if self.held_by(who) + count > 2:
        raise Overloaded("too many", 1.0)
