"""A running server for the client's tests."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskyard.sdk import Client

SERVER = Path(__file__).with_name("contract_server.py")


@pytest.fixture(scope="session")
def data() -> Iterator[Path]:
    """The data directory of a running server."""
    # Short, because the path of a socket has 108 bytes at most.
    with tempfile.TemporaryDirectory(prefix="ty") as directory:
        place = Path(directory)
        process = subprocess.Popen([sys.executable, str(SERVER), directory])
        try:
            deadline = time.monotonic() + 20
            while not (place / "server.json").exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield place
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


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
