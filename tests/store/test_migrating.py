"""Bringing schemas up to date: killed at any moment, by several at once, from earlier releases."""

import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fakes.stores import FAST
from taskyard.core.errors import StoreDamaged, Unavailable
from taskyard.store.sql.migrations import Migration
from taskyard.store.sqlite import migrate as migrate_module
from taskyard.store.sqlite.database import connect
from taskyard.store.sqlite.migrate import migrate, migrations, statements

EARLIER_TABLES = """
CREATE TABLE yoyo_lock (
    locked INT DEFAULT 1, ctime TIMESTAMP, pid INT NOT NULL, PRIMARY KEY (locked)
);
CREATE TABLE _yoyo_migration (
    migration_hash VARCHAR(64), migration_id VARCHAR(255), applied_at_utc TIMESTAMP,
    PRIMARY KEY (migration_hash)
);
"""
"""What the library made that earlier releases migrated with."""

KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from taskyard.store.sqlite import migrate as migrate_module

root = Path(sys.argv[1])

def killing_at(count, path):
    connection = connect(path)
    left = [count]
    def seen(statement):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    connection.set_trace_callback(seen)
    return connection

connect = migrate_module.connect
migrate_module.migrations()
count = 0
while True:
    place = root / str(count)
    place.mkdir()
    if len(sys.argv) > 2:
        shutil.copy(sys.argv[2], place / "db")
    pid = os.fork()
    if pid == 0:
        migrate_module.connect = lambda path: killing_at(count, path)
        migrate_module.migrate(place / "db")
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != -signal.SIGKILL:
        sys.exit(status)
    count += 1
"""

AT_ONCE = """
import os, sys
from pathlib import Path
from taskyard.store.sqlite.migrate import migrate, migrations

migrations()
wait, go = os.pipe()
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.read(wait, 1)
        migrate(Path(sys.argv[1]))
        os._exit(0)
    children.append(pid)
os.close(go)
sys.exit(any([os.waitpid(pid, 0)[1] for pid in children]))
"""


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory where syncing costs nothing."""
    with tempfile.TemporaryDirectory(dir=FAST) as directory:
        yield Path(directory)


def content(path: Path) -> list[tuple[object, ...]]:
    """Tables and indexes of ours, and which migrations were applied."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE tbl_name NOT LIKE '%yoyo%' ORDER BY name"
        ).fetchall()
        return rows + connection.execute("SELECT id FROM schema_migrations ORDER BY id").fetchall()


def make_earlier(path: Path, count: int) -> None:
    """A database of an earlier release that had the first ``count`` migrations."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(EARLIER_TABLES)
        for migration in migrations()[:count]:
            connection.executescript(migration.script)
            hashed = hashlib.sha256(migration.id.encode()).hexdigest()
            connection.execute(
                "INSERT INTO _yoyo_migration VALUES (?, ?, CURRENT_TIMESTAMP)",
                (hashed, migration.id),
            )
        connection.commit()


@pytest.mark.parametrize("earlier", [None, 3], ids=["new", "of an earlier release"])
def test_killed_at_any_statement_the_next_start_does_what_is_missing(
    root: Path, earlier: int | None
) -> None:
    """Nothing is done twice, nothing left out, and no lock is in the way."""
    migrate(root / "whole")
    whole = content(root / "whole")
    arguments = [str(root / "kills")]
    if earlier is not None:
        make_earlier(root / "earlier", earlier)
        arguments.append(str(root / "earlier"))
    (root / "kills").mkdir()
    subprocess.run([sys.executable, "-c", KILLED, *arguments], check=True, timeout=50)
    places = list((root / "kills").iterdir())
    assert len(places) > 30
    for place in places:
        migrate(place / "db")
        assert content(place / "db") == whole


def test_several_processes_at_once_take_turns(root: Path) -> None:
    """Each of them finds the schema complete, and each migration was applied once."""
    for number in range(10):
        path = root / str(number)
        subprocess.run([sys.executable, "-c", AT_ONCE, str(path)], check=True, timeout=50)
        with closing(sqlite3.connect(path)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM schema_migrations").fetchone()
        assert count == len(migrations())


@pytest.mark.parametrize("count", [1, 7, 11])
def test_a_database_of_an_earlier_release_is_taken_over(tmp_path: Path, count: int) -> None:
    """Also one that a killed server left locked; its rows stay."""
    migrate(tmp_path / "new")
    make_earlier(tmp_path / "old", count)
    with closing(sqlite3.connect(tmp_path / "old")) as connection:
        connection.execute("INSERT INTO yoyo_lock VALUES (1, '2026-01-01', 1)")
        connection.execute("INSERT INTO workspaces VALUES ('kept', 7)")
        connection.commit()
    migrate(tmp_path / "old")
    assert content(tmp_path / "old") == content(tmp_path / "new")
    with closing(sqlite3.connect(tmp_path / "old")) as connection:
        kept = connection.execute("SELECT concurrency_limit FROM workspaces").fetchone()
        # An earlier release refuses a file with a row that none of its migrations has.
        hashes = {
            row[0] for row in connection.execute("SELECT migration_hash FROM _yoyo_migration")
        }
    assert kept == (7,)
    ours = {hashlib.sha256(one.id.encode()).hexdigest() for one in migrations()}
    assert len(hashes - ours) == 1


def test_a_database_of_an_earlier_but_newer_release_is_left_alone(tmp_path: Path) -> None:
    """Whatever else it has."""
    make_earlier(tmp_path / "old", 2)
    with closing(sqlite3.connect(tmp_path / "old")) as connection:
        connection.execute("INSERT INTO _yoyo_migration VALUES ('f', '9999-future', '2099-01-01')")
        connection.commit()
    before = (tmp_path / "old").stat().st_size
    with pytest.raises(StoreDamaged, match="newer version"):
        migrate(tmp_path / "old")
    assert (tmp_path / "old").stat().st_size == before


def test_a_migration_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before it stay; the next start tries again from there."""
    path = tmp_path / "db"
    steps = [
        Migration("0001", "CREATE TABLE a (x);\n"),
        Migration("0002", "CREATE TABLE b (x);\nINSERT INTO missing VALUES (1);\n"),
    ]
    monkeypatch.setattr(migrate_module, "migrations", lambda: tuple(steps))
    with pytest.raises(Unavailable, match="missing"):
        migrate(path)
    with closing(connect(path)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert "a" in tables
    assert "b" not in tables
    steps[1] = Migration("0002", "CREATE TABLE b (x);\n")
    migrate(path)
    with closing(connect(path)) as connection:
        assert connection.execute("SELECT id FROM schema_migrations").fetchall() == [
            ("0001",),
            ("0002",),
        ]


def test_versions_in_languages_without_a_tool_chain_are_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever they were, and they say what to do; images and other languages stay."""
    path = tmp_path / "db"
    (at,) = (n for n, one in enumerate(migrations()) if one.id.endswith("languages-as-images"))
    with monkeypatch.context() as earlier:
        known = migrations()[:at]
        earlier.setattr(migrate_module, "migrations", lambda: known)
        migrate(path)
    rows = [("rust", "ready", ""), ("csharp", "pending", ""), ("go", "ready", "")]
    rows += [("image", "ready", "x"), ("rust", "ready", "x")]
    with closing(connect(path)) as connection:
        for number, (language, state, image) in enumerate(rows):
            connection.execute(
                "INSERT INTO function_versions (function_id, number, state, bundle, size_bytes,"
                " language, handler, entry, dependencies, created_at, created_by, image)"
                " VALUES ('f', ?, ?, '', 0, ?, '', '', '[]', 0, '', ?)",
                (number, state, language, image),
            )
    migrate(path)
    with closing(connect(path)) as connection:
        found = connection.execute("SELECT state, message FROM function_versions").fetchall()
    assert [state for state, _ in found] == ["failed", "failed", "ready", "ready", "ready"]
    assert (
        "in Rust are container images; `taskyard function init NAME --language rust`" in found[0][1]
    )
    assert (
        "in C# are container images; `taskyard function init NAME --language csharp`" in found[1][1]
    )


def test_scripts_are_split_at_the_ends_of_statements() -> None:
    """Semicolons in comments, strings and triggers are none."""
    first = "-- a; b\nCREATE TABLE t (x DEFAULT ';',\n y);\n"
    second = "CREATE TRIGGER g AFTER INSERT ON t BEGIN\n DELETE FROM t;\n SELECT 1;\nEND;\n"
    assert list(statements(f"{first}{second}\n-- the end\n")) == [first, second]
    with pytest.raises(ValueError, match="semicolon"):
        list(statements("SELECT 1"))


@pytest.mark.root
def test_a_user_that_the_machine_does_not_know_can_migrate() -> None:
    """Containers often run as a number without a name."""
    if os.geteuid() != 0:
        pytest.skip("needs root rights")
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, 54321, 54321)
        code = (
            "import os, sys; from pathlib import Path;"
            "from taskyard.store.sqlite.migrate import migrate, migrations; migrations();"
            "os.setgroups([]); os.setgid(54321); os.setuid(54321); migrate(Path(sys.argv[1]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, f"{directory}/db"],
            env={},
            capture_output=True,
            check=False,
            timeout=50,
        )
    assert done.returncode == 0, done.stderr.decode()
