"""Whole stores are copied from one database to another, and back; interrupted at any moment."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from whole_stores import Contents, checksums, contents, fill, located, many_rows, schema, unwatched

from fakes.stores import FAST, prepare
from taskyard.core.errors import StoreDamaged, StoreInUse, TaskyardError
from taskyard.store.sqlite import database
from taskyard.store.sqlite.database import FILE_NAME, UNFINISHED
from taskyard.store.sqlite.store import SqliteStore
from taskyard.store.transfer import engine, sqlite, sqlite_database
from taskyard.store.transfer.engine import Step
from taskyard.store.transfer.errors import (
    NotEmpty,
    NotVerified,
)
from taskyard.store.transfer.procedures import Moved, back_up, copy_store

KILLED: Final = """
import os, signal, sys
from pathlib import Path
from taskyard.store.transfer import engine
from taskyard.store.transfer.address import parse_address
from taskyard.store.transfer.address import Location
from taskyard.store.transfer.procedures import copy_store

engine.BATCH_ROWS = 20
left = int(sys.argv[3])

def watch(step):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

def located(text):
    address = parse_address(text)
    return Location(address, getattr(address, "directory", None))

copy_store(located(sys.argv[1]), located(sys.argv[2]), watch)
"""
"""Copies, and ends by SIGKILL at so many steps."""


class Interrupted(Exception):
    """Stands for the end of the process."""


def with_schema() -> st.SearchStrategy[Contents]:
    """Contents for the present schema."""
    with tempfile.TemporaryDirectory(dir=FAST) as made:
        return contents(schema(Path(made)))


@given(with_schema())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_contents_there_and_back(made: Contents) -> None:
    """Are the same rows, in every table."""
    with tempfile.TemporaryDirectory(dir=FAST) as root:
        first, second, third = (Path(root) / name for name in "abc")
        fill(first, made)
        before = checksums(first)
        for here, there in ((first, second), (second, third)):
            copied = copy_store(located(here), located(there), unwatched, key_elsewhere=True)
            assert copied.tables == before
        assert checksums(third) == checksums(first) == before


def test_an_interrupted_copy_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At whichever step it was interrupted; nothing is copied twice."""
    monkeypatch.setattr(engine, "BATCH_ROWS", 7)
    fill(tmp_path / "a", many_rows(40))
    written: list[str] = []
    real = sqlite.SqliteTarget.write

    def counted(self: sqlite.SqliteTarget, table: object, rows: list[object], to: object) -> None:
        real(self, table, rows, to)  # type: ignore[arg-type]  # passed on as it is
        written.extend(str(row) for row in rows)

    monkeypatch.setattr(sqlite.SqliteTarget, "write", counted)
    tries, result = 0, None
    while result is None:
        tries += 1
        result = interrupted_after(tmp_path, 3)
        assert (tmp_path / "b" / FILE_NAME).exists() == (result is not None)
    assert tries > 8
    assert len(written) == len(set(written)) == result.row_count
    assert checksums(tmp_path / "b") == result.tables == checksums(tmp_path / "a")
    assert not (tmp_path / "b" / UNFINISHED).exists()


def interrupted_after(root: Path, batches: int) -> Moved | None:
    """Copy ``a`` to ``b``; None if that needed more batches than so many."""
    left = batches

    def watch(step: Step) -> None:
        nonlocal left
        left -= step.phase == "copy" and step.bytes > 0
        if left < 0:
            raise Interrupted

    try:
        return copy_store(located(root / "a"), located(root / "b"), watch)
    except Interrupted:
        return None


def test_a_copy_that_was_killed_goes_on(tmp_path: Path) -> None:
    """By SIGKILL, at several moments, the last ones while the tables are compared."""
    fill(tmp_path / "a", many_rows(60))
    for steps in (1, 5, 20, 25, 60):
        command = [sys.executable, "-c", KILLED, f"sqlite:{tmp_path / 'a'}"]
        ended = subprocess.run([*command, f"sqlite:{tmp_path / 'b'}", str(steps)], check=False)
        assert ended.returncode == -signal.SIGKILL
        assert not (tmp_path / "b" / FILE_NAME).exists()
    copy_store(located(tmp_path / "a"), located(tmp_path / "b"), unwatched)
    assert checksums(tmp_path / "b") == checksums(tmp_path / "a")


def test_numbers_go_on_behind_the_last(tmp_path: Path) -> None:
    """Also where the entries with the last ones are gone."""
    fill(tmp_path / "a", many_rows(10))
    with closing(sqlite3.connect(tmp_path / "a" / FILE_NAME)) as connection, connection:
        connection.execute("DELETE FROM audit WHERE number > 9")
    copy_store(located(tmp_path / "a"), located(tmp_path / "b"), unwatched)
    with closing(sqlite3.connect(tmp_path / "b" / FILE_NAME)) as connection, connection:
        number = connection.execute(
            "INSERT INTO audit (at, actor, workspace, action, outcome) "
            "VALUES (1, '', '', '', 'done') RETURNING number"
        ).fetchone()
    assert number == (28,)


def test_output_sources_and_the_key_go_along(tmp_path: Path) -> None:
    """With the rights that they have, and nothing that is not ours."""
    fill(tmp_path / "a", many_rows(2))
    attempt = tmp_path / "a" / "attempts" / "0190-1"
    bundle = tmp_path / "a" / "functions" / "bundles" / "ab" / ("ab" * 32)
    for path, content in (
        (attempt / "stdout", b"out" * 1_000_000),
        (attempt / "stdout.gz", b"packed"),
        (attempt / ".hidden", b"half"),
        (attempt / "work" / "file", b"of the work"),
        (bundle, b"source"),
        (tmp_path / "a" / "objects" / "output" / "0190-2" / "=stdout", b"of another machine"),
        (tmp_path / "a" / "objects" / "results" / "=0190-2", b"answer"),
        (tmp_path / "a" / "objects" / ".unfinished" / "0190", b"half"),
        (tmp_path / "a" / "secret.key", b"key"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (attempt / "stderr").symlink_to("/etc/passwd")
    os.mkfifo(attempt / "order")
    result = copy_store(located(tmp_path / "a"), located(tmp_path / "b"), unwatched)
    assert (result.file_count, result.file_bytes) == (5, 3_000_036)
    assert result.key == str(tmp_path / "b" / "secret.key")
    found = {str(p.relative_to(tmp_path / "b")) for p in (tmp_path / "b").rglob("*") if p.is_file()}
    assert found == {
        FILE_NAME,
        "lock",
        "secret.key",
        "attempts/0190-1/stdout",
        "attempts/0190-1/stdout.gz",
        "attempts/0190-2/stdout",
        "attempts/0190-2/result",
        f"functions/bundles/ab/{bundle.name}",
    }
    assert (tmp_path / "b" / "attempts" / "0190-1" / "stdout").read_bytes() == b"out" * 1_000_000
    for name in found - {"lock"}:
        assert not (tmp_path / "b" / name).stat().st_mode & 0o077


def test_a_store_in_use_is_not_copied(tmp_path: Path) -> None:
    """Neither from nor to."""
    fill(tmp_path / "a", many_rows(2))
    prepare(tmp_path / "b")
    for used in ("a", "b"):
        with (
            sqlite_database.locked(tmp_path / used),
            pytest.raises(StoreInUse, match=f"{tmp_path / used}"),
        ):
            copy_store(located(tmp_path / "a"), located(tmp_path / "b"), unwatched)
    assert not (tmp_path / "b" / UNFINISHED).exists()


def test_a_target_with_contents_is_replaced_only_by_force(tmp_path: Path) -> None:
    """Until the copy is complete the old one is what it was; its key is kept."""
    fill(tmp_path / "a", many_rows(5))
    fill(tmp_path / "b", many_rows(9))
    (tmp_path / "a" / "secret.key").write_bytes(b"of a")
    (tmp_path / "b" / "secret.key").write_bytes(b"of b")
    before = checksums(tmp_path / "b")
    with pytest.raises(NotEmpty, match="--force"):
        copy_store(located(tmp_path / "a"), located(tmp_path / "b"), unwatched)

    def watch(step: Step) -> None:
        if step.phase == "verify":
            raise Interrupted

    with pytest.raises(Interrupted):
        copy_store(located(tmp_path / "a"), located(tmp_path / "b"), watch, force=True)
    assert checksums(tmp_path / "b") == before
    copy_store(located(tmp_path / "a"), located(tmp_path / "b"), unwatched, force=True)
    assert checksums(tmp_path / "b") == checksums(tmp_path / "a")
    assert (tmp_path / "b" / "secret.key").read_bytes() == b"of a"
    (kept,) = (tmp_path / "b").glob("secret.key.replaced-*")
    assert kept.read_bytes() == b"of b"


def test_another_unfinished_copy_is_not_gone_on_with(tmp_path: Path) -> None:
    """It says of what it is."""
    fill(tmp_path / "a", many_rows(5))
    fill(tmp_path / "c", many_rows(6))

    def watch(step: Step) -> None:
        if step.table == "events":
            raise Interrupted

    with pytest.raises(Interrupted):
        copy_store(located(tmp_path / "a"), located(tmp_path / "b"), watch)
    with pytest.raises(NotEmpty, match=f"unfinished copy of sqlite:{tmp_path / 'a'}"):
        copy_store(located(tmp_path / "c"), located(tmp_path / "b"), unwatched)
    copy_store(located(tmp_path / "c"), located(tmp_path / "b"), unwatched, force=True)
    assert checksums(tmp_path / "b") == checksums(tmp_path / "c")


@pytest.mark.anyio
async def test_no_server_begins_an_empty_store_beside_an_unfinished_copy(tmp_path: Path) -> None:
    """It says what to do; once the copy is finished, it serves that."""
    fill(tmp_path / "a", many_rows(5))

    def watch(step: Step) -> None:
        if step.table == "events":
            raise Interrupted

    with pytest.raises(Interrupted):
        copy_store(located(tmp_path / "a"), located(tmp_path / "b"), watch)
    (tmp_path / "b" / FILE_NAME).touch()
    store = SqliteStore(tmp_path / "b")
    with pytest.raises(StoreDamaged, match="unfinished copy of a store; finish it by running the"):
        await store.open()
    copy_store(located(tmp_path / "a"), located(tmp_path / "b"), unwatched)
    await store.open()
    await store.close()


def test_a_source_that_changed_between_two_tries_is_noticed(tmp_path: Path) -> None:
    """The copy does not become a store."""
    fill(tmp_path / "a", many_rows(5))

    def watch(step: Step) -> None:
        if step.phase == "verify":
            raise Interrupted

    with pytest.raises(Interrupted):
        copy_store(located(tmp_path / "a"), located(tmp_path / "b"), watch)
    with closing(sqlite3.connect(tmp_path / "a" / FILE_NAME)) as connection, connection:
        connection.execute("UPDATE tasks SET priority = 7 WHERE seq = 3")
    with pytest.raises(NotVerified, match="other contents in its 5 rows"):
        copy_store(located(tmp_path / "a"), located(tmp_path / "b"), unwatched)
    assert not (tmp_path / "b" / FILE_NAME).exists()


def test_a_full_disk_in_the_middle(tmp_path: Path) -> None:
    """Is told; there is no store, and the copy goes on once there is room."""
    fill(tmp_path / "a", many_rows(400))
    small = tmp_path / "b"
    small.mkdir()
    real = database.connect

    def limited(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
        connection = real(path, read_only=read_only)
        if path.name == UNFINISHED:
            (count,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {count + 20}")
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "connect", limited)
        patch.setattr(engine, "BATCH_ROWS", 20)
        with pytest.raises(TaskyardError, match="is full; make room, then run the same command"):
            copy_store(located(tmp_path / "a"), located(small), unwatched)
    assert not (small / FILE_NAME).exists()
    copy_store(located(tmp_path / "a"), located(small), unwatched)
    assert checksums(small) == checksums(tmp_path / "a")
    shutil.rmtree(small)


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_what_is_made_has_the_rights_that_a_server_gives(tmp_path: Path, mask: int) -> None:
    """Work passes through the directories of attempts; nobody else reads anything."""
    fill(tmp_path / "a", many_rows(1))
    attempt = tmp_path / "a" / "attempts" / "0190-1"
    attempt.mkdir(parents=True)
    (attempt / "stdout").write_bytes(b"out")
    before = os.umask(mask)
    try:
        copy_store(located(tmp_path / "a"), located(tmp_path / "b"), unwatched)
        back_up(located(tmp_path / "b"), tmp_path / "x.tar", unwatched)
    finally:
        os.umask(before)
    for name, mode in (
        ("b", 0o711),
        ("b/attempts", 0o711),
        ("b/attempts/0190-1", 0o711),
        ("b/attempts/0190-1/stdout", 0o600),
        (f"b/{FILE_NAME}", 0o600),
        ("x.tar", 0o600),
    ):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode, name


def test_a_backup_leaves_nothing_of_its_snapshot(tmp_path: Path) -> None:
    """It has no name any more when it is read, and is what was there before later changes."""
    fill(tmp_path / "a", many_rows(50))
    with sqlite.opened_snapshot(tmp_path / "a", tmp_path) as source:
        assert sorted(one.name for one in tmp_path.iterdir()) == ["a"]
        with closing(sqlite3.connect(tmp_path / "a" / FILE_NAME)) as connection, connection:
            connection.execute("DELETE FROM tasks")
        assert source.count(source.tables()["tasks"]) == 50
