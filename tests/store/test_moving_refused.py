"""What is no store, or not one of this version, is not copied, and told in words."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from whole_stores import fill, located, many_rows, unwatched

from fakes.stores import prepare
from taskyard.core.errors import TaskyardError
from taskyard.store.sqlite.database import FILE_NAME
from taskyard.store.transfer.errors import (
    NotAStore,
    SchemaMismatch,
    WrongAddress,
)
from taskyard.store.transfer.procedures import copy_store


def _foreign(directory: Path) -> None:
    with closing(sqlite3.connect(directory / FILE_NAME)) as connection:
        connection.execute("CREATE TABLE notes (text TEXT)")


def _migration(directory: Path, sql: str) -> None:
    prepare(directory)
    with closing(sqlite3.connect(directory / FILE_NAME)) as connection, connection:
        connection.execute(sql)


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("missing", NotAStore, "does not exist; check the path"),
        ("empty", NotAStore, "has no taskyard.sqlite3; check the path"),
        ("file", NotAStore, "is a file; name the data directory"),
        ("postgres", NotAStore, "belongs to a PostgreSQL server; name its database by postgresql"),
        ("text", NotAStore, "is not an SQLite database"),
        ("foreign", NotAStore, "is not Taskyard's"),
        ("newer", SchemaMismatch, "written by a newer version of Taskyard; upgrade"),
        ("older", SchemaMismatch, "written by an older version of Taskyard; start this version"),
        ("same", WrongAddress, "are the same store; name two"),
    ],
)
def test_what_cannot_be_copied(
    tmp_path: Path, kind: str, error: type[TaskyardError], words: str
) -> None:
    """Is told in words, and nothing is made of it."""
    origin = tmp_path / "a"
    if kind == "file":
        origin.write_bytes(b"")
    elif kind != "missing":
        origin.mkdir()
    if kind == "postgres":
        (origin / "PG_VERSION").write_text("15\n")
    elif kind == "text":
        (origin / FILE_NAME).write_text("no database at all, but a text" * 100)
    elif kind == "foreign":
        _foreign(origin)
    elif kind == "newer":
        _migration(origin, "INSERT INTO schema_migrations (id) VALUES ('9999-later')")
    elif kind == "older":
        _migration(origin, "DELETE FROM schema_migrations WHERE id LIKE '0018%'")
    elif kind == "same":
        fill(origin, many_rows(1))
        (tmp_path / "b").symlink_to(origin)
    with pytest.raises(error, match=words):
        copy_store(located(origin), located(tmp_path / "b"), unwatched)
    assert kind == "same" or not (tmp_path / "b").exists()


def test_secrets_need_their_key(tmp_path: Path) -> None:
    """Or somebody who says that it is elsewhere."""
    secret = {"workspace": "w", "name": "n", "value": b"v", "created_at": 1, "updated_at": 1}
    fill(tmp_path / "a", {"secrets": [secret]})
    with pytest.raises(WrongAddress, match="--no-key"):
        copy_store(located(tmp_path / "a"), located(tmp_path / "b"), unwatched)
    assert not (tmp_path / "b").exists()
    copy_store(located(tmp_path / "a"), located(tmp_path / "b"), unwatched, key_elsewhere=True)
