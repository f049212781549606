"""A running server for the client's tests."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract import contract_server
from taskyard.sdk import Client


@pytest.fixture(scope="session")
def data() -> Iterator[Path]:
    """The data directory of a running server."""
    with contract_server() as place:
        yield place


@pytest.fixture(scope="session")
def url(data: Path) -> str:
    """The address of the running server."""
    address: str = json.loads((data / "server.json").read_text())["url"]
    return address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """A client of the running server."""
    with Client(url, "dev") as client:
        yield client
