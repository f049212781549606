"""Both databases have one schema: the same tables, columns, keys and indexes, by their meaning."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

import postgres
from fakes.stores import prepare
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.migrate import migrate
from taskyard.store.sqlite.database import FILE_NAME

TYPES = {"bigint": "INTEGER", "text": "TEXT", "bytea": "BLOB", "double precision": "REAL"}
POSTGRES_ONLY = {"installation", "changes"}
POSTGRES_ONLY |= {"task_count_shards", "output_total_shards"}
POSTGRES_ONLY |= {"objects", "object_orphans", "object_chunks"}
"""Tables that only several control planes need."""


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """SQLite's schema."""
    prepare(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        yield connection


@pytest.fixture
def server() -> "Iterator[psycopg.Connection[Any]]":
    """PostgreSQL's."""
    url = postgres.server().url(postgres.new_database())
    migrate(PostgresDatabase(database_address(url)))
    with psycopg.connect(url, options="-c search_path=taskyard") as connection:
        yield connection


def _tables(embedded: sqlite3.Connection) -> list[str]:
    rows = embedded.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    return sorted(row[0] for row in rows)


def test_tables_are_the_same(
    embedded: sqlite3.Connection, server: "psycopg.Connection[Any]"
) -> None:
    """But for what only several control planes need."""
    rows = server.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'taskyard'")
    assert {row[0] for row in rows} - POSTGRES_ONLY == set(_tables(embedded))


def test_columns_are_the_same(
    embedded: sqlite3.Connection, server: "psycopg.Connection[Any]"
) -> None:
    """In the same order, of the same types; what may be missing, and what it is then."""
    for table in _tables(embedded):
        if table == "schema_migrations":
            continue
        ours = [
            (name, kind, bool(required) or bool(key), default, hidden > 1)
            for _, name, kind, required, default, key, hidden in embedded.execute(
                f"PRAGMA table_xinfo({table})"
            )
        ]
        theirs = [
            (name, TYPES[kind], nullable == "NO", _plain(default), generated == "ALWAYS")
            for name, kind, nullable, default, generated in server.execute(
                "SELECT column_name, data_type, is_nullable, column_default, is_generated"
                " FROM information_schema.columns"
                " WHERE table_schema = 'taskyard' AND table_name = %s ORDER BY ordinal_position",
                (table,),
            )
        ]
        assert sorted(ours) == sorted(theirs), table


def test_text_is_ordered_by_its_bytes(server: "psycopg.Connection[Any]") -> None:
    """In every column, as SQLite orders it: pages go on where the last one ended."""
    rows = server.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'taskyard' AND data_type = 'text'"
        " AND collation_name IS DISTINCT FROM 'C'"
    )
    assert rows.fetchall() == []


def test_keys_and_indexes_are_the_same(
    embedded: sqlite3.Connection, server: "psycopg.Connection[Any]"
) -> None:
    """What is unique, in which order rows are found, and of which rows an index knows."""
    for table in _tables(embedded):
        assert _embedded_indexes(embedded, table) == _server_indexes(server, table), table


def test_what_is_checked_is_the_same(
    embedded: sqlite3.Connection, server: "psycopg.Connection[Any]"
) -> None:
    """Each table has as many rules, about the same columns and the same words."""
    for table in _tables(embedded):
        (text,) = embedded.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
        ).fetchone()
        ours = sorted(_words(check) for check in _checks(text))
        rows = server.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE contype = 'c' AND conrelid = %s::regclass",
            (table,),
        )
        assert sorted(_words(row[0]) for row in rows) == ours, table


def test_hot_tables_leave_room_in_their_pages(server: "psycopg.Connection[Any]") -> None:
    """For the next version of a row, and are vacuumed before they grow."""
    rows = server.execute(
        "SELECT relname, array_to_string(reloptions, ' ') FROM pg_class"
        " WHERE relnamespace = 'taskyard'::regnamespace AND reloptions IS NOT NULL"
    ).fetchall()
    options = {row[0]: row[1] for row in rows}
    for table in ("tasks", "attempts", "task_count_shards", "workers", "leadership"):
        assert "fillfactor" in options[table]
        assert "autovacuum_vacuum_scale_factor" in options[table]


def _plain(default: str | None) -> str | None:
    """A default as SQLite tells it; sequences are the database's own matter."""
    if default is None or default.startswith("nextval"):
        return None
    return re.sub(r"::\w+", "", default)


def _embedded_indexes(connection: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    keys = [
        (row[5], row[1]) for row in connection.execute(f"PRAGMA table_xinfo({table})") if row[5]
    ]
    found.append((True, tuple((name, False) for _, name in sorted(keys)), ""))
    for _, name, unique, origin, _ in connection.execute(f"PRAGMA index_list({table})").fetchall():
        if origin == "pk":
            continue
        columns = tuple(
            (row[2], bool(row[3]))
            for row in connection.execute(f"PRAGMA index_xinfo({name})")
            if row[5]
        )
        (text,) = connection.execute(
            "SELECT coalesce(sql, '') FROM sqlite_master WHERE name = ?", (name,)
        ).fetchone() or ("",)
        found.append((bool(unique), columns, _words(text.partition("WHERE")[2])))
    return sorted(found, key=repr)


def _server_indexes(connection: "psycopg.Connection[Any]", table: str) -> list[tuple[object, ...]]:
    rows = connection.execute(
        "SELECT i.indisunique, i.indkey::int[], i.indoption::int[],"
        " coalesce(pg_get_expr(i.indpred, i.indrelid), '')"
        " FROM pg_index AS i WHERE i.indrelid = %s::regclass",
        (table,),
    ).fetchall()
    names = {
        row[0]: row[1]
        for row in connection.execute(
            "SELECT attnum, attname FROM pg_attribute WHERE attrelid = %s::regclass", (table,)
        )
    }
    found = [
        (
            unique,
            tuple(
                (names[key], bool(option & 1)) for key, option in zip(keys, options, strict=True)
            ),
            _words(predicate),
        )
        for unique, keys, options, predicate in rows
    ]
    return sorted(found, key=repr)


def _checks(text: str) -> Iterator[str]:
    """The rules in the text of a table."""
    for match in re.finditer(r"CHECK \(", text):
        depth = 0
        for end, letter in enumerate(text[match.end() - 1 :], match.end()):
            depth += (letter == "(") - (letter == ")")
            if depth == 0:
                yield text[match.start() : end]
                break


def _words(text: str) -> str:
    """What an expression is about: its columns, texts and numbers, and whether it is about NULL."""
    text = re.sub(r"::(text|bigint|integer)(\[\])?", "", text)
    words = re.findall(r"'[^']*'|\bIS NOT NULL\b|\bIS NULL\b|\b\d+\b|\b[a-z_]{2,}\b", text)
    return " ".join(sorted(set(words)))
