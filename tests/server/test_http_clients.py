"""Requests as standard clients send them: offers of HTTP/2, ``Expect``, chunks, HTTP/1.0."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send

from taskyard.server.listeners import Listener, bind_tcp, started

pytestmark = pytest.mark.anyio

_SETTINGS = b"AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA"
_RECORDED = {
    "java": b"POST /x HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 5\r\n"
    b"Host: 127.0.0.1:8000\r\nHTTP2-Settings: " + _SETTINGS + b"\r\nUpgrade: h2c\r\n"
    b"User-Agent: Java-http-client/17.0.15\r\nContent-Type: application/json\r\n\r\nhello",
    "curl": b"POST /x HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: curl/7.88.1\r\n"
    b"Accept: */*\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nContent-Length: 5\r\n\r\nhello",
    "curl, chunks": b"PUT /x HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: curl/7.88.1\r\n"
    b"Accept: */*\r\nTransfer-Encoding: chunked\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "node": b"POST /x HTTP/1.1\r\nhost: 127.0.0.1:8000\r\nconnection: keep-alive\r\naccept: */*\r\n"
    b"accept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\n"
    b"content-length: 5\r\n\r\nhello",
    "go": b"POST /x HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: Go-http-client/1.1\r\n"
    b"Transfer-Encoding: chunked\r\nAccept-Encoding: gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "unknown protocol": b"POST /x HTTP/1.1\r\nHost: x\r\nUpgrade: foo/2, bar\r\n"
    b"Connection: upgrade\r\nContent-Length: 5\r\n\r\nhello",
    "two lines": b"POST /x HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nConnection: keep-alive\r\n"
    b"Upgrade: h2c\r\nUpgrade: foo\r\nContent-Length: 5\r\n\r\nhello",
    "websocket with a body": b"POST /x HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n"
    b"Upgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
    "whole target": b"POST http://x/x HTTP/1.1\r\nHost: y\r\nConnection: upgrade\r\n"
    b"Upgrade: h2c\r\nContent-Length: 5\r\n\r\nhello",
}
_DOT_NET = (
    b"POST /x HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nExpect: 100-continue\r\nTransfer-Encoding: "
    b"chunked\r\nContent-Type: application/json; charset=utf-8\r\n\r\n"
)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what it understood, with a length or, for ``/stream``, without."""
    assert scope["type"] == ScopeType.HTTP
    body, more = b"", True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        body += message["body"]
        more = message["more_body"]
    names = sorted(name.decode() for name, _ in scope["headers"])
    told = {"path": scope["path"], "body": body.decode(), "headers": names}
    answer = json.dumps(told).encode()
    streams = scope["path"] == "/stream"
    headers = [] if streams else [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if streams:
        await send({"type": "http.response.body", "body": answer[:5], "more_body": True})
        answer = answer[5:]
    await send({"type": "http.response.body", "body": answer, "more_body": False})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Port of a listener that echoes."""
    listener = Listener(bind_tcp("127.0.0.1", 0), echo, 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve)
        await started([listener])
        yield listener.socket.getsockname()[1]
        listener.stop()


class Connection:
    """A client that sends bytes and reads answers."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream
        self._received = b""

    async def send(self, data: bytes) -> None:
        """Send."""
        await self._stream.send(data)

    async def until(self, mark: bytes) -> bytes:
        """What comes up to a mark."""
        with anyio.fail_after(10):
            while mark not in self._received:
                self._received += await self._stream.receive()
        found, _, self._received = self._received.partition(mark)
        return found

    async def answer(self) -> dict[str, object]:
        """The next answer with a length, decoded. Asserts that it is a plain 200."""
        head = await self.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
        body = await self.until(b"}")
        told: dict[str, object] = json.loads(body + b"}")
        return told

    async def rest(self) -> bytes:
        """What comes up to the end of the connection."""
        with anyio.fail_after(10):
            try:
                while True:
                    self._received += await self._stream.receive()
            except anyio.EndOfStream:
                return self._received


@pytest.mark.parametrize("request_bytes", _RECORDED.values(), ids=_RECORDED)
@pytest.mark.parametrize("piece", [1 << 20, 1], ids=["at once", "byte by byte"])
async def test_body_arrives_and_the_connection_goes_on(
    port: int, request_bytes: bytes, piece: int
) -> None:
    """The offer of another protocol is ignored: one plain answer for each request, twice."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        client = Connection(stream)
        for _ in range(2):
            for at in range(0, len(request_bytes), piece):
                await client.send(request_bytes[at : at + piece])
            told = await client.answer()
            assert (told["path"], told["body"]) == ("/x", "hello")
            names = told["headers"]
            assert isinstance(names, list)
            assert not {"upgrade", "http2-settings"} & set(names)
            assert names.count("host") == 1


async def test_pipelined_offers_are_answered_one_by_one(port: int) -> None:
    """All of them in one piece."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        client = Connection(stream)
        await client.send(_RECORDED["java"] * 3 + _RECORDED["node"])
        for _ in range(4):
            assert (await client.answer())["body"] == "hello"


async def test_expected_continue_comes_before_the_body_and_only_then(port: int) -> None:
    """As .NET waits for it; also together with an offer of HTTP/2, as curl sends it."""
    offer = b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        client = Connection(stream)
        for head in (_DOT_NET, _DOT_NET.removesuffix(b"\r\n") + offer):
            await client.send(head)
            assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue"
            await client.send(b"5\r\nhello\r\n0\r\n\r\n")
            assert (await client.answer())["body"] == "hello"


async def test_offer_of_a_connection_that_ends_is_ignored_too(port: int) -> None:
    """Both in one header."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        client = Connection(stream)
        await client.send(_RECORDED["java"].replace(b" Upgrade,", b" close, Upgrade,"))
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body)["body"] == "hello"


@pytest.mark.parametrize("path", [b"/x", b"/stream"])
async def test_http_1_0_gets_neither_chunks_nor_continue(port: int, path: bytes) -> None:
    """The bytes of the answer alone, up to the end of the connection; no offer is heard."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        client = Connection(stream)
        await client.send(
            b"POST %s HTTP/1.0\r\nExpect: 100-continue\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nContent-Length: 5\r\n\r\nhello" % path
        )
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"chunked" not in head
    assert b"connection: close" in head
    assert json.loads(body)["body"] == "hello"


async def test_a_request_for_a_tunnel_is_refused(port: int) -> None:
    """Whatever the form of its target."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        client = Connection(stream)
        await client.send(b"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")


_GO = """package main

import (
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	body := io.MultiReader(strings.NewReader("hel"), strings.NewReader("lo"))
	answer, err := http.Post(os.Args[1], "text/plain", body)
	if err != nil {
		panic(err)
	}
	io.Copy(os.Stdout, answer.Body)
}
"""
_JAVA = """import java.net.URI;
import java.net.http.*;

public class Client {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        var body = HttpRequest.BodyPublishers.ofString("hello");
        var request = HttpRequest.newBuilder(URI.create(arguments[0])).POST(body).build();
        client.send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
    }
}
"""
_NODE = (
    "fetch(process.argv[1], {method: 'POST', body: 'hello'}).then(a => a.text()).then(console.log)"
)


@pytest.mark.parametrize("path", ["/x", "/stream"])
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["curl", "-sS", "--http2", "-d", "hello"], marks=pytest.mark.curl, id="http2"),
        pytest.param(["curl", "-sS", "--http1.0", "-d", "hello"], marks=pytest.mark.curl, id="1.0"),
        pytest.param(["node", "-e", _NODE], marks=pytest.mark.node, id="node"),
        pytest.param(["go", "run", "client.go"], marks=pytest.mark.golang, id="go"),
        pytest.param(["java", "Client.java"], marks=pytest.mark.java, id="java"),
    ],
)
async def test_real_clients_are_understood(
    port: int, tmp_path: Path, command: list[str], path: str
) -> None:
    """Their bodies arrive, and they understand the answer."""
    (tmp_path / "client.go").write_text(_GO)
    (tmp_path / "Client.java").write_text(_JAVA)
    with anyio.fail_after(50):
        done = await anyio.run_process(
            [*command, f"http://127.0.0.1:{port}{path}"], cwd=tmp_path, check=False
        )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["path"], told["body"]) == (path, "hello")
