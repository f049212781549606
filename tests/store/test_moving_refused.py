"""Databases that are no target or no source of a copy are told in words, and stay as they are."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from copied_databases import at, read_back, run
from test_moving_stores import unwatched
from whole_stores import checksums, fill, located, many_rows

import postgres
from taskyard.core.errors import TaskyardError, Unavailable
from taskyard.store.transfer.address import parse_address
from taskyard.store.transfer.checking import check_store
from taskyard.store.transfer.errors import (
    Lost,
    NotAllowedThere,
    NotAStore,
    NotEmpty,
    SchemaMismatch,
    WrongAddress,
)
from taskyard.store.transfer.procedures import back_up, copy_store


def test_a_full_database_is_replaced_only_by_force(tmp_path: Path, url: str) -> None:
    """And one with tables of something else never."""
    fill(tmp_path / "a", many_rows(2))
    fill(tmp_path / "b", many_rows(5))
    copy_store(located(tmp_path / "a"), at(url), unwatched)
    with pytest.raises(NotEmpty, match="holds a store already"):
        copy_store(located(tmp_path / "b"), at(url), unwatched)
    copy_store(located(tmp_path / "b"), at(url), unwatched, force=True)
    assert read_back(url, tmp_path / "c") == checksums(tmp_path / "b")
    other = postgres.server().url(postgres.new_database())
    with psycopg.connect(other) as connection:
        connection.execute("CREATE TABLE invoices (number int)")
    with pytest.raises(TaskyardError, match=r"database of something else: .*invoices"):
        copy_store(located(tmp_path / "b"), at(other), unwatched, force=True)


def test_text_that_postgresql_cannot_hold(tmp_path: Path, url: str) -> None:
    """Is named; nothing of it is a store."""
    made = many_rows(3)
    made["tasks"][1]["message"] = "zero \0 inside"
    fill(tmp_path / "a", made)
    with pytest.raises(NotAStore, match=r"zero character in message of the row \(1,\) of tasks"):
        copy_store(located(tmp_path / "a"), at(url), unwatched)


@pytest.fixture
def refusing() -> Iterator[dict[str, str]]:
    """Databases that cannot be copied to, by the kind."""
    server = postgres.server()
    name = postgres.new_database()
    replica = postgres.new_database()
    server.run(f"ALTER DATABASE {replica} SET default_transaction_read_only = on")
    # Roles are the server's, which all processes of a run share.
    role = f"mover_{os.getpid()}"
    server.run(f"CREATE ROLE {role} LOGIN")
    yield {
        "password": server.loopback_url(name, password="wrong one"),
        "missing": server.url("no_such_database"),
        "port": "postgresql://taskyard@127.0.0.1:1/taskyard",
        "host": "postgresql://taskyard@nowhere.invalid/taskyard",
        "read_only": server.url(replica),
        "rights": server.url(name, role),
    }
    server.run(f"DROP DATABASE {name} WITH (FORCE)")
    server.run(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("password", NotAllowedThere, "refuses the user or password; give the password with"),
        ("missing", NotAStore, "does not exist; check the name of the database"),
        ("port", Lost, "cannot be reached"),
        ("host", Lost, "cannot be reached"),
        ("read_only", Unavailable, "only reads"),
        ("rights", TaskyardError, "rights"),
    ],
)
def test_what_cannot_be_copied_to(
    tmp_path: Path, refusing: dict[str, str], kind: str, error: type[TaskyardError], words: str
) -> None:
    """Is told in words, without a password, and nothing is made of it."""
    fill(tmp_path / "a", many_rows(2))
    with pytest.raises(error, match=words) as raised:
        copy_store(located(tmp_path / "a"), at(refusing[kind]), unwatched)
    assert "wrong one" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not the address of a store"),
        ("/var/lib/taskyard", "write sqlite:/var/lib/taskyard for a data directory"),
        ("sqlite:", "needs a data directory"),
        ("mysql://host/db", "not at mysql://"),
        ("postgresql://host", "must have the name of a database"),
        ("postgresql://user:secret@host/db?nonsense=1", "PostgreSQL URL"),
    ],
)
def test_addresses_of_no_store(text: str, words: str) -> None:
    """Say what one looks like, and never quote a password."""
    with pytest.raises(WrongAddress, match=words) as raised:
        parse_address(text)
    assert "secret@" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ("INSERT INTO schema_migrations VALUES ('9999-later')", SchemaMismatch, "newer version"),
        ("DELETE FROM schema_migrations WHERE id LIKE '0001%'", SchemaMismatch, "older version"),
        ("DELETE FROM schema_migrations", NotAStore, "no Taskyard store"),
    ],
)
def test_schemas_of_other_versions(
    tmp_path: Path, url: str, change: str, error: type[TaskyardError], words: str
) -> None:
    """Are refused on the side that is read."""
    run(url, change)
    for use in (
        lambda: copy_store(at(url), located(tmp_path / "b"), unwatched),
        lambda: back_up(at(url), tmp_path / "x.tar", unwatched),
        lambda: check_store(at(url)),
    ):
        with pytest.raises(error, match=words):
            use()
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "x.tar").exists()
