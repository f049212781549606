"""The guarded sender: what it refuses to reach, and what it does reach."""

import asyncio
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from taskyard.core.errors import InvalidInput
from taskyard.core.ids import WorkspaceName
from taskyard.core.notifications.messages import DeliveryKind, DeliveryPolicy
from taskyard.ports.outgoing import Post, SendFailed, TargetRefused
from taskyard.ports.webhooks import DueDelivery
from taskyard.server.guarded_targets import Resolver, resolve
from taskyard.server.outbound import Outbound
from taskyard.services.notifications.message_sender import MessageSender

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


class Target:
    """A server on loopback that answers 200 and keeps what it was sent."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[str] = []
        self.reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(4)
        self.heads.append(head.decode())
        writer.write(self.reply)
        await writer.drain()
        writer.close()


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """Plain HTTP."""
    one = Target()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    yield one
    server.close()
    await server.wait_closed()


def answers(*addresses: str) -> Resolver:
    """A resolver that knows one answer."""

    async def resolver(_host: str, _port: int) -> list[str]:
        return list(addresses)

    return resolver


def post(url: str, **headers: str) -> Post:
    """A request with four bytes."""
    return Post(url, headers, b"body")


async def refused(url: str, outbound: Outbound) -> str:
    """Why nothing was sent."""
    try:
        with pytest.raises(TargetRefused) as error:
            await outbound.send(post(url))
        return str(error.value)
    finally:
        await outbound.close()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "127.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::]",
        "10.0.0.1",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "[ff02::1]",
    ],
)
async def test_targets_inside_are_refused_however_they_are_written(
    target: Target, host: str
) -> None:
    """Also in the forms of an address that only a resolver understands."""
    assert "not allowed here" in await refused(f"http://{host}:{target.port}/", Outbound())
    assert target.heads == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["10.1.2.3"],
        ["fe80::1%eth0"],
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "8.8.8.8"],
        ["::ffff:192.168.0.1"],
    ],
)
async def test_a_name_that_resolves_to_an_address_inside_is_refused(
    target: Target, addresses: list[str]
) -> None:
    """One refused address is enough, wherever it stands among others."""
    outbound = Outbound(resolver=answers(*addresses))
    assert "innocent.example is at a " in await refused(
        f"http://innocent.example:{target.port}/", outbound
    )
    assert target.heads == []


async def test_a_name_is_looked_up_once_and_that_answer_is_used(target: Target) -> None:
    """A name server that changes its mind between check and connection changes nothing."""
    asked = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    outbound = Outbound(resolver=rebinding, allowed_networks=[ip_network("127.0.0.0/8")])
    answer = await outbound.send(post(f"http://rebind.example:{target.port}/p?q=1#f"))
    await outbound.close()
    assert (answer.status, answer.body) == (200, b"ok")
    assert asked == [("rebind.example", target.port)]
    assert target.heads[0].startswith("POST /p?q=1 HTTP/1.1\r\n")
    assert f"host: rebind.example:{target.port}\r\n" in target.heads[0].lower()


@pytest.mark.parametrize("host", ["127.0.0.2", "127.2", "[::ffff:127.0.0.2]", "[::1]", "innocent"])
async def test_a_redirect_leads_nowhere_that_is_refused(target: Target, host: str) -> None:
    """Each target is judged by itself, however the first one was."""
    moved = f"HTTP/1.1 302 Go\r\nLocation: http://{host}:{target.port}/\r\n"
    target.reply = f"{moved}Content-Length: 0\r\n\r\n".encode()

    async def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.2"] if host == "innocent" else await resolve(host, port)

    outbound = Outbound(resolver=resolver, allowed_networks=[ip_network("127.0.0.1/32")])
    due = DueDelivery(
        *("d", WorkspaceName("w"), "127.0.0.1", f"http://127.0.0.1:{target.port}/", {}, b"body", 0),
        kind=DeliveryKind.PLAIN,
    )
    with pytest.raises(TargetRefused, match="not allowed here"):
        await MessageSender(outbound, None).send(due, DeliveryPolicy(redirects=3))
    await outbound.close()
    assert len(target.heads) == 1


async def test_headers_that_frame_the_request_are_the_senders(target: Target) -> None:
    """Given ones are sent along, except those that would lead elsewhere."""
    outbound = Outbound(allow_private=True)
    sent = {"X-App": "1", "Host": "evil.example", "Accept-Encoding": "gzip"}
    await outbound.send(Post(f"http://127.0.0.1:{target.port}/", sent, b"body"))
    await outbound.close()
    head = target.heads[0].lower()
    assert "x-app: 1\r\n" in head
    assert "evil" not in head
    assert "gzip" not in head
    assert head.count("host:") == 1
    assert "connection: close\r\n" in head


async def test_cookies_are_not_kept(target: Target) -> None:
    """Nothing of one answer travels with the next request."""
    target.reply = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    outbound = Outbound(allow_private=True)
    for _ in range(2):
        await outbound.send(post(f"http://127.0.0.1:{target.port}/"))
    await outbound.close()
    assert "cookie" not in target.heads[1].lower()


async def test_the_environments_proxy_is_not_used(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would resolve the name once more, behind the guard's back."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    outbound = Outbound(allow_private=True)
    assert (await outbound.send(post(f"http://127.0.0.1:{target.port}/"))).status == 200
    await outbound.close()


async def test_the_next_address_is_tried_when_one_does_not_answer(target: Target) -> None:
    """A name with a dead address first still works."""
    outbound = Outbound(resolver=answers("127.0.0.2", "127.0.0.1"), allow_private=True)
    answer = await outbound.send(post(f"http://two.example:{target.port}/"))
    assert answer.status == 200
    await outbound.close()


async def test_what_cannot_be_reached_fails() -> None:
    """Unknown names, empty answers, closed ports: each says what is wrong."""

    async def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    for resolver, url, words in (
        (unknown, "http://nowhere.example/", "nowhere.example cannot be resolved"),
        (answers(), "http://empty.example/", "it has no address"),
        (answers("127.0.0.1"), "http://closed.example:1/", "the request failed"),
    ):
        outbound = Outbound(resolver=resolver, allow_private=True)
        with pytest.raises(SendFailed, match=words):
            await outbound.send(post(url))
        await outbound.close()


async def test_the_systems_resolver_knows_localhost() -> None:
    """The default resolver answers with plain addresses."""
    assert set(await resolve("localhost", 80)) <= {"127.0.0.1", "::1"}


async def test_urls_are_checked_at_submit_without_resolving() -> None:
    """Syntax, and addresses written out; names wait for their resolution."""
    outbound = Outbound()
    outbound.check_url("http://name.example/", "webhooks.0.url")
    outbound.check_url("http://8.8.8.8/", "webhooks.0.url")
    for url in (
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[::ffff:0:127.0.0.1]/",
        "http://[2606:4700::5efe:10.0.0.1]/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://2130706433/",
        "http://127.0.0.1./",
        "ftp://x.example/",
        "http://u:p@x.example/",
    ):
        with pytest.raises(InvalidInput) as error:
            outbound.check_url(url, "webhooks.0.url")
        assert error.value.field == "webhooks.0.url"
    await outbound.close()
    relaxed = Outbound(allow_private=True)
    relaxed.check_url("http://127.0.0.1/")
    await relaxed.close()


async def test_a_bad_url_is_refused_also_when_it_is_sent() -> None:
    """Whoever forgot to check."""
    for url in ("file:///etc/passwd", "http://a@b.example/", "http://0177.0.0.1/", "x"):
        assert "cannot be used" in await refused(url, Outbound(allow_private=True))


def certificate(directory: Path, name: str) -> Path:
    """A self-signed certificate for a name, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def test_certificates_are_checked_against_the_name(tmp_path: Path) -> None:
    """The connection goes to the address, the name goes into TLS, and has to fit."""
    path = certificate(tmp_path, "hook.example")
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_tls.load_cert_chain(path)
    names: list[str | None] = []
    server_tls.sni_callback = lambda _socket, name, _context: names.append(name)
    one = Target()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0, ssl=server_tls)
    port = server.sockets[0].getsockname()[1]
    trusting = ssl.create_default_context(cafile=path)
    outbound = Outbound(resolver=answers("127.0.0.1"), allow_private=True, tls=trusting)
    answer = await outbound.send(post(f"https://hook.example:{port}/"))
    assert answer.status == 200
    assert names == ["hook.example"]
    with pytest.raises(SendFailed, match="certificate verify failed"):
        await outbound.send(post(f"https://other.example:{port}/"))
    await outbound.close()
    usual = Outbound(resolver=answers("127.0.0.1"), allow_private=True)
    with pytest.raises(SendFailed, match="certificate verify failed"):
        await usual.send(post(f"https://hook.example:{port}/"))
    unchecked = msgspec.structs.replace(post(f"https://hook.example:{port}/"), verify_tls=False)
    assert (await usual.send(unchecked)).status == 200
    with pytest.raises(SendFailed, match="certificate verify failed"):
        await usual.send(post(f"https://hook.example:{port}/"))
    await usual.close()
    server.close()
    await server.wait_closed()
