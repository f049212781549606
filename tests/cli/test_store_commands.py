"""``taskyard store``, ``backup`` and ``restore``, as they are typed."""

import json
import os
import pty
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import postgres
from fakes.stores import postgres_url, prepare
from taskyard.cli.main import run
from taskyard.store.sqlite.database import FILE_NAME
from taskyard.store.transfer import archive, sqlite_database

Call = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def call(capfdbinary: pytest.CaptureFixture[bytes]) -> Call:
    """Runs the program: exit status, JSON output, error."""

    def called(*arguments: object) -> tuple[int, Any, str]:
        code = run([str(one) for one in arguments])
        out, err = capfdbinary.readouterr()
        return code, json.loads(out) if out else None, err.decode()

    return called


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a little in it."""
    directory = tmp_path / "a"
    prepare(directory)
    change(directory, "INSERT INTO groups VALUES ('default', 'g', 0, 7)")
    (directory / "secret.key").write_text("key")
    return directory


def change(directory: Path, sql: str) -> None:
    """Run a statement in a directory's database."""
    with closing(sqlite3.connect(directory / FILE_NAME)) as connection, connection:
        connection.execute(sql)


def limit_of(directory: Path) -> int:
    """What the group's limit is."""
    with closing(sqlite3.connect(directory / FILE_NAME)) as connection:
        (limit,) = connection.execute("SELECT concurrency_limit FROM groups").fetchone()
    return int(limit)


def test_a_sound_store(call: Call, data: Path) -> None:
    """Exit status 0, also while a server has it open."""
    with sqlite_database.locked(data):
        assert call("store", "check", "--data", data) == (
            0,
            {"store": f"sqlite:{data}", "sound": True, "findings": []},
            "",
        )


def test_a_store_that_is_not_sound(call: Call, data: Path) -> None:
    """Exit status 1, and what to do."""
    change(data, "INSERT INTO task_labels VALUES ('default', 'k', 'v', 999)")
    code, found, _ = call("store", "check", "--data", data)
    assert code == 1
    assert not found["sound"]
    (finding,) = found["findings"]
    assert finding["rule"] == "orphans"
    assert finding["count"] == 1
    assert finding["what_to_do"]


def test_findings_for_people(data: Path) -> None:
    """Each rule once, a few entries, how many more there are."""
    for number in range(12):
        change(data, f"INSERT INTO task_labels VALUES ('w', 'k{number}', '\x1b[2J', 999)")  # noqa: S608
    screen = on_terminal("store", "check", "--data", str(data))
    assert "error: Rows belong to what does not exist." in screen
    assert "and 2 more" in screen
    assert screen.count("there is no such task") == 10


def on_terminal(*arguments: str) -> str:
    """What the program prints on a terminal."""
    ours, theirs = pty.openpty()
    parts: list[bytes] = []

    def read() -> None:
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:
                return
            if not part:
                return
            parts.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    program = [sys.executable, "-c", "from taskyard.cli.main import main; main()", *arguments]
    subprocess.run(program, stdin=theirs, stdout=theirs, stderr=theirs, check=False)
    os.close(theirs)
    reader.join()
    os.close(ours)
    return b"".join(parts).decode()


def test_copy_to_a_database_and_back(call: Call, tmp_path: Path, data: Path) -> None:
    """With counts and checksums of every table; the key where a data directory is named."""
    url, plane = postgres_url(tmp_path), tmp_path / "plane"
    there = call("store", "copy", "--from", f"sqlite:{data}", "--to", url, "--data", plane)
    assert there[0] == 0
    assert there[1]["tables"]["groups"] == 1
    assert there[1]["key"] == str(plane / "secret.key")
    back = f"sqlite:{tmp_path / 'b'}"
    code, found, _ = call("store", "copy", "--from", url, "--to", back, "--data", plane)
    assert code == 0
    assert found["checksums"] == there[1]["checksums"]
    assert limit_of(tmp_path / "b") == 7
    assert (tmp_path / "b" / "secret.key").read_text() == "key"


def test_backup_of_a_store_in_use(call: Call, tmp_path: Path, data: Path) -> None:
    """Its file is for its owner only, and is not replaced unless asked for."""
    file = tmp_path / "taskyard.tar"
    with sqlite_database.locked(data):
        code, found, _ = call("backup", file, "--data", data)
        assert code == 0
        assert found["key"] == str(file)
        assert file.stat().st_mode & 0o777 == 0o600
        code, _, error = call("backup", file, "--data", data)
        assert (code, "--force" in error) == (1, True)
        assert call("backup", file, "--data", data, "--force")[0] == 0
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "taskyard.tar"]
    assert call("restore", file, "--data", tmp_path / "b")[0] == 0
    assert limit_of(tmp_path / "b") == 7
    code, _, error = call("restore", file, "--data", tmp_path / "b")
    assert (code, "--force" in error) == (1, True)
    change(data, "UPDATE groups SET concurrency_limit = 8")
    assert call("backup", file, "--data", data, "--force")[0] == 0
    assert call("restore", file, "--data", tmp_path / "b", "--force")[0] == 0
    assert limit_of(tmp_path / "b") == 8


def test_backup_of_a_database(
    call: Call, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Says that the key is not in it; a server's environment names the database."""
    url = postgres_url(tmp_path)
    assert call("store", "copy", "--from", f"sqlite:{data}", "--to", url)[0] == 0
    code, found, error = call("backup", tmp_path / "1.tar", "--database", url)
    assert (code, found["key"]) == (0, None)
    assert "key of the secrets is not in the backup" in error
    monkeypatch.setenv("TASKYARD_DATABASE", url)
    code, found, _ = call("backup", tmp_path / "2.tar")
    assert (code, found["from"].startswith("postgresql://")) == (0, True)
    assert call("store", "check")[0] == 0
    assert call("restore", tmp_path / "2.tar", "--data", tmp_path / "b")[0] == 0
    assert limit_of(tmp_path / "b") == 7


def test_the_password_of_a_database(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file, or from where a server has it; a wrong one is told without showing it."""
    name = postgres_url(tmp_path) and (tmp_path / "database").read_text()
    url = postgres.server().loopback_url(name, password=None)
    secret = tmp_path / "password"
    secret.write_text(f"{postgres.PASSWORD}\n")
    check = ("store", "check", "--database", url)
    assert call(*check, "--password-file", secret)[0] == 0
    monkeypatch.setenv("TASKYARD_DATABASE_PASSWORD", postgres.PASSWORD)
    assert call(*check)[0] == 0
    monkeypatch.setenv("TASKYARD_DATABASE_PASSWORD", "a wrong one")
    code, _, error = call(*check)
    assert code == 77
    assert "refuses the user or password" in error
    assert "a wrong one" not in error
    secret.write_text("")
    code, _, error = call(*check, "--password-file", secret)
    assert (code, "has no password in its first line" in error) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("store", "check", "--data", "{root}/nothing"), 66, "does not exist; check the path"),
        (("store", "check", "--database", "sqlite:{root}"), 2, "--database is for PostgreSQL"),
        (("store", "check", "--database", "mysql://x/y"), 2, "not at mysql://"),
        (("store", "copy", "--from", "{root}/a", "--to", "sqlite:b"), 2, "write sqlite:{root}/a"),
        (("store", "copy", "--from", "sqlite:{root}/a", "--to", "sqlite:{root}/a"), 2, "same"),
        (("restore", "{root}/nothing.tar"), 66, "does not exist; check the path"),
        (("restore", "{root}/a/taskyard.sqlite3"), 66, "is not a backup of Taskyard"),
        (("restore", "{root}/a"), 66, "is a directory; name the file"),
        (("backup", "{root}/a", "--data", "{root}/a"), 1, "is a directory; name a file in it"),
        (("backup", "{root}/no/x.tar", "--data", "{root}/a"), 125, "{root}/no/x.tar cannot be"),
        (("backup", "{root}/x.tar", "--data", "{root}/no"), 66, "does not exist"),
    ],
)
def test_what_is_wrong(
    call: Call, tmp_path: Path, data: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """Is told in a sentence, with the exit status for its kind; nothing is made."""
    del data
    before = sorted(tmp_path.rglob("*"))
    ended = call(*(one.format(root=tmp_path) for one in arguments), "--json")
    assert ended[0] == code
    assert words.format(root=tmp_path) in json.loads(ended[2])["error"]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("damage", ["cut", "changed", "end"])
def test_damaged_backups_are_refused(call: Call, tmp_path: Path, data: Path, damage: str) -> None:
    """Wherever they are; there is no store afterwards, and the old one is what it was."""
    file = tmp_path / "taskyard.tar"
    attempt = data / "attempts" / "0190-1"
    attempt.mkdir(parents=True)
    (attempt / "stdout").write_bytes(b"printed" * 9999)
    assert call("backup", file, "--data", data)[0] == 0
    content = bytearray(file.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "changed":
        at = content.index(b"printedprinted")
        content[at] ^= 1
    else:
        del content[content.rindex(archive.MANIFEST.encode()) :]
    file.write_bytes(content)
    prepare(tmp_path / "b")
    change(tmp_path / "b", "INSERT INTO groups VALUES ('default', 'g', 0, 3)")
    code, _, error = call("restore", file, "--data", tmp_path / "b", "--force")
    assert code == 66
    assert "use another" in error
    assert limit_of(tmp_path / "b") == 3


def test_a_full_disk_keeps_no_half_backup(
    call: Call, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 75, and nothing is left behind."""

    def full(_writer: archive.ArchiveWriter, _name: str, _content: bytes) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(archive.ArchiveWriter, "add_key", full)
    code, _, error = call("backup", tmp_path / "x.tar", "--data", data)
    assert code == 75
    assert "is full, and nothing was kept" in error
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a"]
