"""What a running server makes is its own user's, whatever umask and directory it was given."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from served import Served

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """On a directory that was open, and with something done."""
    data = tmp_path_factory.mktemp("private") / "data"
    data.mkdir()
    data.chmod(0o755)
    served = Served(data)
    served.start()
    served.await_ready()
    try:
        with served.client() as client:
            client.put("/secrets/db", json={"value": "x"}).raise_for_status()
            task = client.post("/tasks", json={"command": "echo out; echo err >&2"}).json()["id"]
            client.get(f"/tasks/{task}/wait", params={"timeout_s": 60}).raise_for_status()
        yield served
    finally:
        served.stop()


def test_nobody_else_reads_or_writes_in_the_data_directory(served: Served) -> None:
    """Files, directories, sockets; directories may at most be passed through."""
    found = [served.data, *served.data.rglob("*")]
    assert {"secret.key", "taskyard.sqlite3", "server.json", "control.sock"} <= {
        path.name for path in found
    }
    open_to_others = [
        (str(path.relative_to(served.data)), oct(path.lstat().st_mode))
        for path in found
        if path.lstat().st_mode & (0o066 if path.is_dir() else 0o077)
        and not stat.S_ISLNK(path.lstat().st_mode)
    ]
    assert open_to_others == []


def test_what_was_open_is_closed_and_said_so(served: Served) -> None:
    """In the log, with what it was and what it is."""
    said = served.log.read_text(errors="replace")
    assert "data_directory_closed" in said
    assert "0755" in said


def test_the_servers_processes_make_private_files(served: Served) -> None:
    """The one that answers and the one that writes the store."""
    masks = {}
    for pid in (served.pid, *served.store_pids()):
        status = Path(f"/proc/{pid}/status").read_text("ascii")
        masks[pid] = status.split("Umask:")[1].split()[0]
    assert len(masks) == 2
    assert set(masks.values()) == {"0066"}
