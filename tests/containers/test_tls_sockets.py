"""TLS whose writing ends before its reading, against a peer that uses OpenSSL."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import anyio
import httpcore2
import pytest

from enginegate import Authority, tls_gate
from taskyard.runtimes.engine.address import TlsFiles
from taskyard.runtimes.engine.tls_sockets import END_WRITING, TlsStream

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]
AFTERWARDS: Final = b"what comes afterwards\n" * 50_000


class Peer:
    """Echoes what comes; says the rest once that has ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        with self._listener, contextlib.suppress(OSError), self._listener.accept()[0] as one:
            while data := one.recv(1 << 16):
                one.sendall(data)
            one.sendall(AFTERWARDS)


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    """For one connection."""
    found = Peer(tmp_path / "s")
    yield found
    # One that nobody came to goes on waiting.
    with socket.socket(socket.AF_UNIX) as waker, contextlib.suppress(OSError):
        waker.connect(str(found.path))
    found.thread.join(10)
    assert not found.thread.is_alive()


async def connected(port: int, context: ssl.SSLContext) -> TlsStream:
    """A new connection."""
    plain = await httpcore2.AnyIOBackend().connect_tcp("127.0.0.1", port, timeout=5)
    stream = TlsStream(plain, context, "127.0.0.1")
    try:
        await stream.shake_hands(5)
    except BaseException:
        await stream.aclose()
        raise
    return stream


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 1_000_003])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_what_comes_after_the_end_of_writing_is_read(
    tmp_path: Path, peer: Peer, version: ssl.TLSVersion, size: int
) -> None:
    """All that was written arrives before the end, and all that is sent afterwards, too."""
    authority = Authority(tmp_path / "tls", "authority")
    context = TlsFiles(authority.path, *authority.certify("client")).context()
    context.maximum_version = context.minimum_version = version
    given = bytes(n % 251 for n in range(size))
    got = bytearray()
    with tls_gate(peer.path, authority) as gate:
        stream = await connected(gate.port, context)

        async def write() -> None:
            await stream.write(given)
            await stream.get_extra_info(END_WRITING)()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            while data := await stream.read(10_000):
                assert len(data) <= 10_000
                got += data
        await stream.aclose()
    assert bytes(got) == given + AFTERWARDS


async def test_nothing_that_came_before_is_lost(tmp_path: Path, peer: Peer) -> None:
    """What nobody has read yet is kept when writing ends, and comes in its order."""
    authority = Authority(tmp_path / "tls", "authority")
    context = TlsFiles(authority.path, *authority.certify("client")).context()
    with tls_gate(peer.path, authority) as gate:
        stream = await connected(gate.port, context)
        await stream.write(b"x" * 100_000)
        got = await stream.read(1)
        await stream.end_writing()
        while data := await stream.read(1 << 16):
            got += data
        await stream.aclose()
    assert got == b"x" * 100_000 + AFTERWARDS


async def test_a_certificate_that_is_not_accepted_is_told(tmp_path: Path, peer: Peer) -> None:
    """As the error that httpx2 knows, whose cause is the reason."""
    authority = Authority(tmp_path / "tls", "authority")
    other = Authority(tmp_path / "tls", "other")
    context = TlsFiles(other.path, *authority.certify("client")).context()
    with tls_gate(peer.path, authority) as gate, pytest.raises(httpcore2.ConnectError) as raised:
        await connected(gate.port, context)
    assert isinstance(raised.value.__cause__, ssl.SSLCertVerificationError)
