"""NATS that is restarted, emptied, frozen, not there or does not let us in."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from nats.aio.client import Client

from eventually import eventually_async
from natsserver import nats_server
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import PlaneId
from taskyard.ports.errors import PayloadTooLarge, TimedOut, Unreachable
from taskyard.ports.messages import LEADER
from taskyard.transport.nats import connection as nats_connections
from taskyard.transport.nats.errors import NatsUnavailable, explain
from taskyard.transport.nats.large_payloads import ENVELOPE_BYTES
from taskyard.transport.nats.messages import WAITING, NatsMessages, nats_messages
from taskyard.transport.nats.options import LEAST_BYTES, NatsOptions, TlsFiles, nats_options

pytestmark = pytest.mark.anyio

A, B = PlaneId("a"), PlaneId("b")
SOON_S = 20.0
SECRET = "hunter2-and-more"


async def _echo(payload: bytes) -> bytes:
    return b"echo " + payload


@asynccontextmanager
async def _two(url: str) -> AsyncIterator[tuple[NatsMessages, NatsMessages]]:
    options = nats_options(url)
    async with nats_messages(options, "t", A) as a, nats_messages(options, "t", B) as b:
        b.serve("echo", _echo)
        yield a, b


async def _answers(messages: NatsMessages, to: PlaneId = B) -> bool:
    try:
        return await messages.request(to, "echo", b"", 1.0) == b"echo "
    except (Unreachable, TimedOut):
        return False


async def test_restarted_server_is_found_again(tmp_path: Path) -> None:
    """It remembers nothing; both planes are there again, the leader as well."""
    with nats_server(tmp_path) as server:
        async with _two(server.url) as (a, b), b.leading():
            heard: list[bytes] = []
            b.listen("changes", heard.append)
            assert await _answers(a)
            for _ in range(3):
                server.stop()
                await eventually_async(lambda: not a.is_connected)
                with anyio.fail_after(1):
                    with pytest.raises(Unreachable):
                        await a.request(B, "echo", b"", SOON_S)
                a.publish("changes", b"nobody hears this")
                server.start()
                await eventually_async(lambda: _answers(a))
                await eventually_async(lambda: _answers(a, LEADER))
                a.publish("changes", b"here")
                await eventually_async(lambda: heard, lambda now: now[-1:] == [b"here"])
            assert set(heard) == {b"here"}
            assert a.connection.connects == 4


async def test_request_under_way_ends_with_its_connection(tmp_path: Path) -> None:
    """Nobody waits for an answer that cannot come."""
    with nats_server(tmp_path) as server:
        async with _two(server.url) as (a, b):
            heard = anyio.Event()

            async def never(_: bytes) -> bytes:
                heard.set()
                await anyio.sleep_forever()
                return b""

            b.serve("never", never)
            with anyio.fail_after(SOON_S):
                async with anyio.create_task_group() as group:

                    async def ask() -> None:
                        with pytest.raises(Unreachable):
                            await a.request(B, "never", b"", 3600)

                    group.start_soon(ask)
                    await heard.wait()
                    server.stop()


@pytest.mark.long
async def test_frozen_server_counts_as_gone_until_it_answers(tmp_path: Path) -> None:
    """Requests time out meanwhile, nothing waits for it longer than that, and it is found again."""
    with nats_server(tmp_path) as server:
        async with _two(server.url) as (a, _):
            await eventually_async(lambda: _answers(a))
            server.freeze()
            with anyio.fail_after(SOON_S):
                with pytest.raises(TimedOut):
                    await a.request(B, "echo", b"", 0.2)
            await eventually_async(lambda: not a.is_connected)
            server.thaw()
            await eventually_async(lambda: _answers(a))


async def test_installations_do_not_hear_each_other(tmp_path: Path) -> None:
    """Though their planes have the same names."""
    with nats_server(tmp_path) as server:
        async with _two(server.url) as (a, _):
            options = nats_options(server.url)
            async with nats_messages(options, "other", PlaneId("c")) as other:
                with pytest.raises(Unreachable):
                    await other.request(B, "echo", b"", SOON_S)
                assert await _answers(a)


async def test_garbage_on_our_subjects_is_passed_over(tmp_path: Path) -> None:
    """Whoever else may write there disturbs nobody."""
    with nats_server(tmp_path) as server:
        async with _two(server.url) as (a, _):
            for subject in (
                "plane.b.echo",
                "plane.b.answers.1",
                "changes",
                "plane.a.pieces",
            ):
                for payload in (b"", b"\xc1", b"\x93\x01\x02\x03", bytes(1000)):
                    await a.connection.send(f"taskyard.t.{subject}", payload, "nowhere")
            assert await _answers(a)


@pytest.mark.parametrize(
    ("options", "url", "said"),
    [
        (["--auth", SECRET], "nats://{}", "refuses the credentials"),
        (["--auth", SECRET], "nats://not-" + SECRET + "@{}", "refuses the credentials"),
        (["--user", "u", "--pass", "x"], "nats://u:" + SECRET + "@{}", "refuses the credentials"),
        ([], "tls://" + SECRET + "@{}", "does not offer TLS"),
    ],
    ids=["none", "wrong token", "wrong password", "no TLS"],
)
async def test_why_there_is_no_connection(
    options: list[str],
    url: str,
    said: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It is told once, in words, and without any secret; nothing was sent without TLS."""
    with nats_server(tmp_path, "-DV", *options) as server:
        read = nats_options(url.format(f"127.0.0.1:{server.port}"))
        error = await _refused(read)
        assert said in str(error)
        assert server.url.rpartition("/")[2] in str(error)
        assert SECRET not in str(error) + repr(error) + repr(read) + "".join(capfd.readouterr())
        if url.startswith("tls"):
            assert "CONNECT {" not in server.log()


async def test_right_credentials_are_let_in(tmp_path: Path) -> None:
    """A token, a user with a password in the address, or one that is given beside it."""
    with nats_server(tmp_path, "--auth", SECRET) as server:
        async with _two(server.url.replace("//", f"//{SECRET}@")) as (a, _):
            assert await _answers(a)
        options = nats_options(server.url, password=SECRET)
        async with nats_messages(options, "t", A) as messages:
            assert messages.is_connected
    with nats_server(tmp_path, "--user", "u:v", "--pass", SECRET) as server:
        async with _two(server.url.replace("//", f"//u%3Av:{SECRET}@")) as (a, _):
            assert await _answers(a)
        options = nats_options(server.url.replace("//", "//u%3Av@"), password=SECRET)
        async with nats_messages(options, "t", A) as messages:
            assert messages.is_connected


async def test_nobody_there_and_somebody_else_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is told for what it is."""
    monkeypatch.setattr(nats_connections, "FIRST_S", 0.5)
    with nats_server(tmp_path) as server:
        url = server.url
    assert "is nats-server running?" in str(await _refused(nats_options(url)))

    async def other(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.send(b"SSH-2.0-OpenSSH_9\r\n")

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, other)
        port = listener.listeners[0].extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610
        error = await _refused(nats_options(f"127.0.0.1:{port}"))
        assert "is not a NATS server" in str(error)
        group.cancel_scope.cancel()


async def test_tls_is_checked(tmp_path: Path) -> None:
    """Against the authority that is named; by anybody else's it is refused."""
    cert, key = _certificate(tmp_path)
    with nats_server(tmp_path, "--tls", "--tlscert", str(cert), "--tlskey", str(key)) as server:
        url = server.url.replace("nats:", "tls:")
        async with nats_messages(nats_options(url, tls=TlsFiles(ca=cert)), "t", A) as messages:
            assert messages.is_connected
        assert "TLS failed" in str(await _refused(nats_options(url)))


async def test_the_first_server_that_is_there_is_taken(tmp_path: Path) -> None:
    """Of several in one setting."""
    with nats_server(tmp_path) as gone, nats_server(tmp_path) as server:
        gone.stop()
        async with _two(f"{gone.url},{server.url}") as (a, _):
            assert await _answers(a)


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        ("http://h", "such as nats://HOST:4222"),
        ("nats://", "such as nats://HOST:4222"),
        ("nats://h:99999", "such as nats://HOST:4222"),
        ("nats://h:4222/x", "after the port"),
        ("", "such as nats://HOST:4222"),
        ("nats://h,,nats://i", "such as nats://HOST:4222"),
    ],
)
def test_wrong_addresses_are_refused(urls: str, said: str) -> None:
    """And say what a right one looks like, without what may be secret in them."""
    with pytest.raises(InvalidInput, match=said) as refused:
        nats_options(urls)
    assert refused.value.field == "nats.url"


def test_names_that_are_no_part_of_a_subject_are_refused() -> None:
    """Nobody reaches others by what is in a name."""
    for name in ("", "a.b", "*", ">", "a b", "a\r\nPUB x", "ä", "x" * 65):
        with pytest.raises(InvalidInput):
            NatsMessages(None, name, A, None)  # type: ignore[arg-type]


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    """By the name of their setting."""
    there, missing = tmp_path / "there", tmp_path / "missing"
    there.write_text("x")
    for files, field in (
        (TlsFiles(ca=there), "nats.tls_ca"),
        (TlsFiles(ca=missing), "nats.tls_ca"),
        (TlsFiles(cert=there, key=there), "nats.tls_cert"),
        (TlsFiles(cert=there), "nats.tls_key"),
    ):
        with pytest.raises(InvalidInput) as refused:
            nats_options("tls://h", tls=files)
        assert refused.value.field == field
    with pytest.raises(InvalidInput) as refused:
        nats_options("tls://h", credentials=missing)
    assert refused.value.field == "nats.credentials"


async def _refused(options: NatsOptions) -> NatsUnavailable:
    with pytest.raises(NatsUnavailable) as refused:
        async with nats_messages(options, "t", A):
            pass
    return refused.value


def _certificate(root: Path) -> tuple[Path, Path]:
    cert, key = root / "cert.pem", root / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=t"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


async def test_more_than_can_be_taken_or_sent_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood costs messages, and neither memory nor the connection."""
    monkeypatch.setattr(nats_connections, "PENDING_BYTES", 20_000)
    with nats_server(tmp_path) as server:
        async with _two(server.url) as (a, b):
            heard: list[bytes] = []
            b.listen("changes", heard.append)
            for _ in range(WAITING + 500):
                a.publish("changes", bytes(200))
            assert a.dropped >= 499
            sent = WAITING + 500 - a.dropped
            await eventually_async(lambda: len(heard) + b.dropped, lambda seen: seen == sent)
            assert b.dropped > 0
            a.publish("changes", b"afterwards")
            await eventually_async(lambda: heard[-1:] == [b"afterwards"])
            assert await _answers(a)
            assert (a.connects, b.connects) == (1, 1)


async def test_server_that_takes_small_messages_only(tmp_path: Path) -> None:
    """Large ones go in smaller ranges; what is too small for anything is refused."""
    config = tmp_path / "nats.conf"
    config.write_text(f"max_payload: {LEAST_BYTES}")
    payload = bytes(range(256)) * 4000
    with nats_server(tmp_path, "-c", str(config)) as server:
        async with _two(server.url) as (a, b):
            assert await a.request(B, "echo", payload, SOON_S) == b"echo " + payload
            heard: list[bytes] = []
            b.listen("changes", heard.append)
            with pytest.raises(PayloadTooLarge):
                a.publish("changes", payload[:LEAST_BYTES])
            a.publish("changes", payload[: LEAST_BYTES - ENVELOPE_BYTES])
            await eventually_async(lambda: heard)
    config.write_text(f"max_payload: {LEAST_BYTES - 1}")
    with nats_server(tmp_path, "-c", str(config)) as server:
        assert "max_payload" in str(await _refused(nats_options(server.url)))


_ALLOWED = """
authorization { users: [
  { user: a, password: p, permissions: { publish: "taskyard.>", subscribe: %s } }
] }
"""


async def test_what_may_not_be_heard_is_told(tmp_path: Path) -> None:
    """At the start, and as a reason not to be ready when it comes about later."""
    config = tmp_path / "nats.conf"
    config.write_text(_ALLOWED % '["taskyard.t.plane.>"]')
    with nats_server(tmp_path, "-c", str(config)) as server:
        options = nats_options(server.url.replace("//", "//a:p@"))
        error = await _refused(options)
        assert "does not let us listen" in str(error)
        assert "taskyard.t.*" in str(error)
        config.write_text(_ALLOWED % '["taskyard.>"]')
        server.stop()
        server.start()
        async with nats_messages(options, "t", A) as messages:
            assert messages.is_connected
            config.write_text(_ALLOWED % '["taskyard.t.plane.>"]')
            server.stop()
            server.start()
            await eventually_async(
                lambda: "does not let us listen" in explain(messages.connection.last_error, options)
            )
            assert not messages.is_connected


async def test_who_begins_or_ceases_to_lead_meanwhile_is_right_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the very moment in which a connection is made again."""
    with nats_server(tmp_path) as server:
        async with _two(server.url) as (a, b), AsyncExitStack() as stack:
            await stack.enter_async_context(a.leading())
            a.serve("echo", _echo)
            server.stop()
            await eventually_async(lambda: not a.is_connected and not b.is_connected)
            flush, left = Client.flush, [a, b]

            async def meanwhile(client: Client, timeout: int = 10) -> None:  # noqa: ASYNC109 - the library's
                await flush(client, timeout)
                if a in left:
                    left.remove(a)
                    await stack.aclose()
                if b in left:
                    left.remove(b)
                    await stack.enter_async_context(b.leading())

            monkeypatch.setattr(Client, "flush", meanwhile)
            server.start()
            await eventually_async(lambda: a.is_connected and b.is_connected)
            await eventually_async(lambda: _answers(a, LEADER))
            leader = "taskyard.t.leader.*"
            assert (leader in a.connection.subscribed, leader in b.connection.subscribed) == (
                False,
                True,
            )
