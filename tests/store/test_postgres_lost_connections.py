"""Connections to PostgreSQL that are lost: replaced, or told of, and no commit is done twice."""

import threading
from typing import Any

import psycopg
import pytest
from postgres_table import ids, put, terminate

import postgres
from eventually import eventually
from taskyard.core.errors import Unavailable
from taskyard.store.postgres.connection import PostgresConnection
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.errors import ConnectionLost


def test_a_connection_that_ended_meanwhile_is_replaced(connection: PostgresConnection) -> None:
    """Its transaction failed for others' sake: run again, it succeeds."""
    put(connection, 1)
    terminate(connection)
    connection.begin()
    with pytest.raises(ConnectionLost) as error:
        put(connection, 2)
    assert connection.is_conflict(error.value)
    with pytest.raises(ConnectionLost):
        put(connection, 2)  # not outside the transaction it belongs to
    connection.rollback()
    connection.begin()
    put(connection, 2)
    connection.commit()
    assert ids(connection) == [1, 2]


def test_a_transaction_that_lost_its_connection_does_not_commit(
    connection: PostgresConnection,
) -> None:
    """What was written before the loss is gone with it; whatever comes after is not alone."""
    connection.begin()
    put(connection, 1)
    terminate(connection)
    with pytest.raises(ConnectionLost) as error:
        put(connection, 2)
    assert connection.is_conflict(error.value)
    with pytest.raises(ConnectionLost):
        connection.commit()
    connection.rollback()
    assert ids(connection) == []


def test_a_connection_lost_in_a_commit_is_not_tried_again(
    connection: PostgresConnection, database: PostgresDatabase
) -> None:
    """Nobody knows whether it was stored, and that is what is told."""
    name = database.address.shown.rpartition("/")[2]
    postgres.server().run(
        """
        CREATE FUNCTION taskyard.slow() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON taskyard.t DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION taskyard.slow();
        """,
        name,
    )
    connection.begin()
    (pid,) = connection.execute("t.pid").fetchone()
    put(connection, 1)
    asleep = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    asleep += " AND datname = current_database()"

    def end() -> None:
        eventually(lambda: postgres.server().run(asleep, name))
        postgres.server().run(f"SELECT pg_terminate_backend({pid})")

    ender = threading.Thread(target=end)
    ender.start()
    with pytest.raises(ConnectionLost) as error:
        connection.commit()
    ender.join()
    assert not connection.is_conflict(error.value)
    assert "not known" in str(connection.trouble(error.value))


def test_a_server_that_is_away_is_not_waited_for_each_time() -> None:
    """A pause lies between tries, and the failure is told meanwhile."""
    tries, now = [], [100.0]

    def connect() -> "psycopg.Connection[Any]":
        tries.append(now[0])
        raise psycopg.OperationalError("connection refused")

    connection = PostgresConnection(connect, monotonic=lambda: now[0])
    for moment in (100.0, 100.05, 100.2, 100.25, 101.0):
        now[0] = moment
        with pytest.raises(psycopg.Error, match="refused") as error:
            connection.begin()
        assert isinstance(connection.trouble(error.value), Unavailable)
        assert not connection.is_conflict(error.value)
    assert tries == [100.0, 100.2, 101.0]
