"""The driver for PostgreSQL: values, savepoints, snapshots, conflicts, errors."""

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest
from postgres_table import ids, put

import postgres
from taskyard.core.errors import StorageFull, StoreDamaged, TaskyardError, Unavailable
from taskyard.store.postgres import statements as statements_module
from taskyard.store.postgres.connection import PostgresConnection
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.errors import is_conflict, trouble

Connect = Callable[..., PostgresConnection]


def test_values_return_as_they_were(connection: PostgresConnection) -> None:
    """Of every type, the extremes, and nothing at all."""
    rows = [
        (-(2**63), "", b"", 0.0),
        (2**63 - 1, "ß\U0001f41f\ud7ff", bytes(range(256)), 1e300),
        (5, None, None, None),
    ]
    connection.begin()
    assert connection.write_many("t.put_many", rows[:2]) == 2
    assert connection.execute("t.put", {"id": 5, "name": None, "data": None, "part": None}).rowcount
    connection.commit()
    assert sorted(connection.execute("t.all")) == sorted(rows, key=lambda row: row[0])
    total, count, any_above = connection.execute("t.sum").fetchone()
    assert (total, count, any_above) == (4, 3, 1)
    assert isinstance(total, int)


@pytest.mark.parametrize(
    "number",
    [0, 1, -1, 9999, 10_000, -10_001, 123_456_789_012, 10**8, 3 * 10**40 + 7, -(10**12), 2**64],
)
def test_sums_are_integers(connection: PostgresConnection, number: int) -> None:
    """Of any size; averages are not."""
    (found,) = connection.select(f"SELECT {number}::numeric").fetchone()
    assert found == number
    assert isinstance(found, int)
    (found,) = connection.select(f"SELECT {number}::numeric + 0.5").fetchone()
    assert found == pytest.approx(number + 0.5)


@pytest.mark.parametrize(
    ("number", "name", "error"),
    [
        (1, "a\0b", UnicodeEncodeError),
        (1, "\ud800", UnicodeEncodeError),
        (2**63, "a", OverflowError),
        (-(2**63) - 1, "a", OverflowError),
    ],
)
def test_what_cannot_be_stored_leaves_the_transaction_usable(
    connection: PostgresConnection, number: int, name: str, error: type[Exception]
) -> None:
    """As SQLite's driver raises it, one row or many."""
    connection.begin()
    put(connection, 7)
    with pytest.raises(error):
        put(connection, number, name)
    with pytest.raises(error):
        connection.write_many("t.put_many", [(number, name, None, None)])
    with pytest.raises(error):
        connection.write_many("t.one_by_one", [(8, "a"), (number, name)])
    connection.commit()
    assert ids(connection) == [7]


def test_rows_that_are_sent_one_by_one_are_counted(connection: PostgresConnection) -> None:
    """Also when there is none."""
    connection.begin()
    assert connection.write_many("t.one_by_one", [(n, str(n)) for n in range(100)]) == 100
    assert connection.write_many("t.one_by_one", []) == 0
    assert connection.write_many("t.put_many", []) == 0
    connection.commit()
    assert len(ids(connection)) == 100


def test_a_null_needs_no_type(connection: PostgresConnection) -> None:
    """The server knows it from the query."""
    put(connection, 1, "a")
    put(connection, 2, "b")
    assert connection.execute("t.named", {"name": None}).fetchall() == [(1,), (2,)]
    assert connection.execute("t.named", {"name": "b"}).fetchall() == [(2,)]


def test_a_savepoint_takes_back_what_came_after_it(connection: PostgresConnection) -> None:
    """Whether something happened since, and also after an error."""
    connection.begin()
    connection.savepoint("a")
    connection.undo("a")
    put(connection, 1)
    connection.savepoint("a")
    put(connection, 2)
    connection.undo("a")
    connection.savepoint("a")
    put(connection, 3)
    connection.release("a")
    connection.savepoint("a")
    connection.release("a")
    connection.savepoint("a")
    with pytest.raises(psycopg.errors.UniqueViolation):
        put(connection, 3)
    connection.undo("a")
    put(connection, 4)
    connection.commit()
    assert ids(connection) == [1, 3, 4]


def test_a_failed_transaction_is_not_taken_for_a_commit(connection: PostgresConnection) -> None:
    """PostgreSQL answers such a commit with a rollback, and no error."""
    connection.begin()
    put(connection, 1)
    with pytest.raises(psycopg.errors.UniqueViolation):
        put(connection, 1)
    with pytest.raises(psycopg.Error, match="failed before"):
        connection.commit()
    connection.rollback()
    connection.begin()
    put(connection, 2)
    connection.commit()
    assert ids(connection) == [2]


def test_a_reader_sees_one_snapshot_and_writes_nothing(
    connection: PostgresConnection, database: PostgresDatabase
) -> None:
    """From its first query to its end."""
    with closing(database.connect_reading()) as reader:
        reader.begin()
        assert ids(reader) == []
        put(connection, 1)
        assert ids(reader) == []
        with pytest.raises(psycopg.Error) as error:
            put(reader, 2)
        assert "read-only" in str(reader.trouble(error.value))
        reader.rollback()
        reader.begin()
        assert ids(reader) == [1]
        reader.commit()


def test_positions_rise_and_are_given_once(
    connection: PostgresConnection, database: PostgresDatabase
) -> None:
    """However many clients there are."""
    with closing(database.connect()) as other:
        taken = [*connection.positions(3), *other.positions(1), *connection.positions(2)]
    assert taken == sorted(set(taken))


def test_a_transaction_asks_for_few_positions_again(
    connection: PostgresConnection, database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one, as many tasks of one batch do; the next transaction keeps nothing of it."""
    asked: list[int] = []
    execute = connection.execute

    def noting(name: str, parameters: Any = ()) -> Any:
        asked.append(parameters[0])
        return execute(name, parameters)

    monkeypatch.setattr(connection, "execute", noting)
    connection.begin()
    taken = [next(connection.positions(1)) for _ in range(100)]
    connection.commit()
    assert taken == sorted(set(taken))
    assert len(asked) < 10
    with closing(database.connect()) as other:
        later = next(other.positions(1))
    connection.begin()
    assert next(connection.positions(1)) > later > taken[-1]
    connection.commit()


def test_changes_are_counted(connection: PostgresConnection) -> None:
    """Those that read nothing but change; queries do not count."""
    before = connection.total_changes
    ids(connection)
    assert connection.total_changes == before
    put(connection, 1)
    assert connection.total_changes > before


def test_a_deadlock_is_a_conflict(
    connection: PostgresConnection, database: PostgresDatabase
) -> None:
    """One of both fails, and succeeds when it is run again."""
    connection.write_many("t.one_by_one", [(1, "a"), (2, "a")])
    failures: list[Exception] = []

    def change(mine: PostgresConnection, first: int, second: int) -> None:
        while True:
            mine.begin()
            try:
                mine.execute("t.set", {"id": first, "name": "b"})
                if not failures:
                    both.wait(20)
                mine.execute("t.set", {"id": second, "name": "b"})
                mine.commit()
            except psycopg.Error as error:
                mine.rollback()
                failures.append(error)
            else:
                return

    both = threading.Barrier(2)
    with closing(database.connect()) as other:
        thread = threading.Thread(target=change, args=(other, 2, 1))
        thread.start()
        change(connection, 1, 2)
        thread.join()
    assert failures
    assert all(is_conflict(error) for error in failures)


def test_statements_are_prepared_again_when_their_table_has_changed(
    connection: PostgresConnection, database: PostgresDatabase
) -> None:
    """By a migration of a newer release, or when a pooler has dropped them."""
    name = database.address.shown.rpartition("/")[2]
    put(connection, 1, "a")
    assert connection.execute("t.all").fetchone()[1] == "a"
    postgres.server().run("ALTER TABLE taskyard.t ALTER name TYPE varchar(5)", name)
    connection.begin()
    with pytest.raises(psycopg.Error) as error:
        connection.execute("t.all")
    assert connection.is_conflict(error.value)
    connection.rollback()
    connection.begin()
    assert connection.execute("t.all").fetchone()[1] == "a"
    connection.commit()


def test_queries_without_a_name_are_kept_in_bounds(connection: PostgresConnection) -> None:
    """Each is prepared once; those that are not used any more are dropped at the server too."""
    for number in range(statements_module.SELECTS_KEPT + 20):
        (found,) = connection.select(f"SELECT :x + {number}", {"x": 1}).fetchone()
        assert found == number + 1
    (count,) = connection.select("SELECT count(*) FROM pg_prepared_statements").fetchone()
    assert count <= statements_module.SELECTS_KEPT + 2


@pytest.mark.parametrize(
    ("state", "kind", "said"),
    [
        ("53100", StorageFull, "full"),
        ("XX001", StoreDamaged, "backup"),
        ("XX002", StoreDamaged, "backup"),
        ("25006", Unavailable, "primary"),
        ("42501", Unavailable, "rights"),
        ("57014", Unavailable, "too long"),
        ("55P03", Unavailable, "lock"),
        ("22003", Unavailable, "failed"),
    ],
)
def test_errors_say_what_to_do(state: str, kind: type[TaskyardError], said: str) -> None:
    """By PostgreSQL's own codes."""
    error = psycopg.errors.lookup(state)("it happened")
    found = trouble(error)
    assert type(found) is kind
    assert said in str(found)
    assert "it happened" in str(found)
    assert not is_conflict(error)
