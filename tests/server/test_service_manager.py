"""What systemd is told."""

import socket
from collections.abc import Iterator

import pytest

from leftovers import short_directory
from taskyard.server.service_manager import READY, tell_service_manager


@pytest.fixture
def heard() -> Iterator[tuple[str, socket.socket]]:
    """A service manager that listens, and where."""
    with (
        short_directory() as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening,
    ):
        address = str(directory / "notify")
        listening.bind(address)
        listening.settimeout(10)
        yield address, listening


def test_whoever_listens_is_told(
    heard: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message for each state."""
    address, listening = heard
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    tell_service_manager(READY)
    assert listening.recv(100) == b"READY=1"


def test_addresses_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with an @ in the environment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")
        listening.settimeout(10)
        name = listening.getsockname()
        assert isinstance(name, bytes)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name[1:].decode())
        tell_service_manager(READY)
        assert listening.recv(100) == b"READY=1"


def test_nobody_has_to_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor to be there."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    tell_service_manager(READY)
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    tell_service_manager(READY)
