"""Backups are restored into databases and data directories of any version that can take them."""

import io
import json
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from copied_databases import at, read_back
from test_moving_stores import Interrupted
from whole_stores import checksums, fill, located, many_rows, unwatched

from taskyard.store.sqlite import migrate as sqlite_migrate
from taskyard.store.sqlite.database import connect
from taskyard.store.transfer import sqlite_database
from taskyard.store.transfer.checking import check_store
from taskyard.store.transfer.engine import Step
from taskyard.store.transfer.errors import (
    NotAStore,
    NotEmpty,
    SchemaMismatch,
)
from taskyard.store.transfer.procedures import back_up, copy_store, restore


def test_a_backup_replaces_a_store_only_by_force(tmp_path: Path, url: str) -> None:
    """An unfinished one is begun again without."""
    for name, count in (("a", 5), ("b", 3)):
        fill(tmp_path / name, many_rows(count))
    copy_store(located(tmp_path / "a"), at(url), unwatched)
    file = tmp_path / "taskyard.tar"
    back_up(located(tmp_path / "b"), file, unwatched)
    with pytest.raises(NotEmpty, match="holds a store already"):
        restore(file, at(url), unwatched)
    assert read_back(url, tmp_path / "c") == checksums(tmp_path / "a")

    def watch(step: Step) -> None:
        if step.phase == "verify":
            raise Interrupted

    with pytest.raises(Interrupted):
        restore(file, at(url), watch, force=True)
    restore(file, at(url), unwatched)
    assert read_back(url, tmp_path / "d") == checksums(tmp_path / "b")


def test_a_damaged_backup_replaces_nothing(tmp_path: Path, url: str) -> None:
    """It is read before anything is touched."""
    fill(tmp_path / "a", many_rows(5))
    copy_store(located(tmp_path / "a"), at(url), unwatched)
    file = tmp_path / "taskyard.tar"
    back_up(at(url), file, unwatched)
    content = bytearray(file.read_bytes())
    content[content.index(b"task-000003")] ^= 1
    file.write_bytes(content)
    with pytest.raises(NotAStore, match="its table tasks has changed; use another backup"):
        restore(file, at(url), unwatched, force=True)
    assert read_back(url, tmp_path / "b") == checksums(tmp_path / "a")


def older(archive: Path, count: int) -> None:
    """Have an archive say that so many of the migrations were not there yet."""
    with tarfile.open(archive) as tar:
        members = [(one, tar.extractfile(one)) for one in tar.getmembers()]
        contents = [(one, file.read()) for one, file in members if file is not None]
    with tarfile.open(archive, "w") as tar:
        for member, saved in contents:
            content = saved
            if member.name == "taskyard-backup.json":
                head = json.loads(saved)
                if count:
                    head["schema"]["migrations"] = head["schema"]["migrations"][:-count]
                else:
                    head["schema"]["migrations"].append("9999-later")
                content = json.dumps(head).encode()
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_backups_of_other_versions(tmp_path: Path, url: str) -> None:
    """Older ones go into a store on their database, which is brought up to date at the end."""
    before = [migration for migration in sqlite_migrate.migrations() if migration.id < "0015"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_migrate, "migrations", lambda: tuple(before))
        patch.setattr(sqlite_database, "migrations", lambda: tuple(before))
        (tmp_path / "a").mkdir()
        sqlite_migrate.migrate(tmp_path / "a" / "taskyard.sqlite3")
        with closing(connect(tmp_path / "a" / "taskyard.sqlite3")) as connection:
            connection.execute("INSERT INTO lists VALUES ('w', 'g', 'me', 3)")
            connection.execute("INSERT INTO groups VALUES ('w', 'g', 0, 7)")
        file = tmp_path / "old.tar"
        back_up(located(tmp_path / "a"), file, unwatched)
    with pytest.raises(SchemaMismatch, match="restore it into a data directory, which brings it"):
        restore(file, at(url), unwatched)
    restore(file, located(tmp_path / "b"), unwatched)
    with closing(connect(tmp_path / "b" / "taskyard.sqlite3")) as connection:
        (limit,) = connection.execute("SELECT given_limit FROM lists").fetchone()
    assert limit == 7, "the migration that came later has not run on these rows"
    assert check_store(located(tmp_path / "b")) == []
    back_up(located(tmp_path / "b"), file, unwatched, force=True)
    older(file, 0)
    with pytest.raises(SchemaMismatch, match="newer version of Taskyard; upgrade"):
        restore(file, located(tmp_path / "c"), unwatched)
    back_up(at(url), file, unwatched, force=True)
    older(file, 1)
    with pytest.raises(SchemaMismatch, match="restore it into a PostgreSQL database"):
        restore(file, located(tmp_path / "c"), unwatched)
    with pytest.raises(SchemaMismatch, match="another version of Taskyard"):
        restore(file, at(url), unwatched, force=True)
    assert not (tmp_path / "c").exists()
