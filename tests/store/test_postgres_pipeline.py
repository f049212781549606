"""Statements that are sent without waiting for their answers, or together with the next one."""

from contextlib import closing

import psycopg
import pytest
from postgres_table import ids, put

from taskyard.store.postgres.connection import PostgresConnection
from taskyard.store.postgres.database import PostgresDatabase


def test_what_nobody_waits_for_is_written_with_the_next_statement(
    connection: PostgresConnection, database: PostgresDatabase
) -> None:
    """Or with the commit, in order; what a savepoint takes back is not written at all."""
    connection.begin()
    connection.write_later("t.put_many", [(1, "a", None, None)])
    connection.execute_later("t.set", {"id": 1, "name": "b"})
    assert connection.execute("t.named", {"name": "b"}).fetchall() == [(1,)]
    connection.savepoint("a")
    connection.write_later("t.one_by_one", [(2, "a"), (3, "a")])
    connection.undo("a")
    connection.savepoint("a")
    connection.write_later("t.one_by_one", [(4, "a")])
    connection.release("a")
    connection.savepoint("a")
    put(connection, 5)
    connection.write_later("t.one_by_one", [(6, "a")])
    connection.undo("a")
    connection.write_later("t.one_by_one", [(7, "a")])
    connection.commit()
    with closing(database.connect()) as other:
        assert ids(other) == [1, 4, 7]
        other.begin()
        other.write_later("t.put_many", [(8, "a", None, None)])
        other.rollback()
        other.begin()
        other.execute_later("t.set", {"id": 7, "name": "alone"})
        other.commit()
        assert other.execute("t.named", {"name": "alone"}).fetchall() == [(7,)]
    assert ids(connection) == [1, 4, 7]


def test_what_fails_later_fails_the_transaction(connection: PostgresConnection) -> None:
    """Its commit too, of which nothing is left."""
    connection.begin()
    put(connection, 1)
    connection.write_later("t.one_by_one", [(2, "a"), (1, "a")])
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.commit()
    connection.rollback()
    connection.begin()
    connection.write_later("t.one_by_one", [(3, "a"), (3, "a")])
    with pytest.raises(psycopg.errors.UniqueViolation):
        put(connection, 4)
    connection.rollback()
    with pytest.raises(UnicodeEncodeError):
        connection.write_later("t.one_by_one", [(5, "\0")])
    assert ids(connection) == []


def test_a_query_is_run_for_each_of_many(connection: PostgresConnection) -> None:
    """Each answers with its own rows, in order."""
    connection.write_many("t.one_by_one", [(1, "a"), (2, "b"), (3, "a")])
    asked = [{"name": name} for name in ("b", "c", "a")]
    assert connection.execute_each("t.named", asked) == [[(2,)], [], [(1,), (3,)]]
    assert connection.execute_each("t.named", []) == []


def test_what_is_written_surely_fails_the_commit_otherwise(connection: PostgresConnection) -> None:
    """Unless as many rows are changed as are given; that is a conflict, and nothing is left."""
    connection.begin()
    connection.write_surely("t.put_many", [(1, "a", None, None), (2, "b", None, None)])
    connection.commit()
    assert ids(connection) == [1, 2]
    connection.begin()
    connection.write_surely("t.put_new", [(2, "c"), (3, "c")])
    with pytest.raises(psycopg.errors.DivisionByZero) as failed:
        connection.commit()
    assert connection.is_conflict(failed.value)
    connection.rollback()
    assert ids(connection) == [1, 2]


def test_what_is_asked_is_answered_with_the_next_statement(connection: PostgresConnection) -> None:
    """Or when it is looked at, if there is none."""
    put(connection, 1, "a")
    connection.begin()
    asked = connection.ask("t.named", {"name": "a"})
    other = connection.ask("t.named", {"name": "nobody"})
    put(connection, 2)
    assert asked.fetchone() == (1,)
    assert other.fetchone() is None
    assert connection.ask("t.named", {"name": "nobody"}).fetchone() is None
    connection.rollback()
    connection.begin()
    connection.savepoint("s")
    undone = connection.ask("t.named", {"name": "a"})
    connection.undo("s")
    with pytest.raises(RuntimeError):
        undone.fetchone()
    connection.rollback()
