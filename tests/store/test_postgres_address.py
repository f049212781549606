"""URLs of databases: what is wrong with them is told, and their passwords are not."""

import pickle
import urllib.parse

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import postgres
from taskyard.core.errors import InvalidInput, TaskyardError, Unavailable
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.connection import PostgresConnection
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.errors import not_connected
from taskyard.store.postgres.migrate import migrate


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://root:hush@h/d", "must be a URL like postgresql://USER@HOST/DATABASE"),
        ("/var/lib/taskyard", "must be a URL like postgresql://USER@HOST/DATABASE"),
        ("host=h dbname=d password=hush", "must be a URL like postgresql://USER@HOST/DATABASE"),
        ("postgresql://u:hush@h", "must have the name of a database"),
        ("postgresql://h/d", "must have a user"),
        ("postgresql://u:hush@h/d?sslmodus=require", "is not a valid URL of PostgreSQL"),
        ("postgresql://u:hu%sh@h/d", "is not a valid URL of PostgreSQL"),
    ],
)
def test_a_wrong_url_is_refused(url: str, said: str) -> None:
    """With an example of a right one."""
    with pytest.raises(InvalidInput, match="database") as error:
        database_address(url)
    assert said in str(error.value)
    assert "hush" not in str(error.value)


def test_the_password_is_nowhere_to_be_read() -> None:
    """It travels to the process that writes, and is in no text."""
    for address in (
        database_address("postgresql://u:hush@h:1234/d?sslmode=verify-full"),
        database_address("postgresql://u@h:1234/d?sslmode=verify-full", "hush"),
    ):
        assert "hush" not in f"{address} {address!r} {address.shown}"
        assert address.shown == "postgresql://h:1234/d"
        pickled = pickle.dumps(PostgresDatabase(address))
        again = pickle.loads(pickled).address  # noqa: S301 - ours
        assert conninfo_to_dict(again.conninfo)["password"] == "hush"


def test_options_of_the_url_win_over_ours() -> None:
    """Those of TLS and of the connection; of several servers the one that writes is taken."""
    parts = conninfo_to_dict(
        database_address(
            "postgresql://u@one,two/d?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=9"
        ).conninfo
    )
    assert parts["sslmode"] == "verify-full"
    assert parts["sslrootcert"] == "/ca.pem"
    assert str(parts["connect_timeout"]) == "9"
    assert parts["target_session_attrs"] == "read-write"
    alone = conninfo_to_dict(database_address("postgresql://u@one/d").conninfo)
    assert "target_session_attrs" not in alone


def _refusal(url: str, password: str | None = None) -> TaskyardError:
    with pytest.raises(TaskyardError) as error:
        migrate(PostgresDatabase(database_address(url, password)))
    return error.value


def test_what_keeps_us_from_connecting_says_what_to_do() -> None:
    """Nobody there, the wrong password, no such user or database; the password is not told."""
    server = postgres.server()
    name = postgres.new_database()
    wrong = _refusal(server.loopback_url(name, password="not this"))
    assert "check the user and the password" in str(wrong)
    assert "not this" not in str(wrong)
    assert "check the user and the password" in str(_refusal(server.loopback_url(name, "nobody")))
    assert "password" in str(_refusal(server.loopback_url(name, password=None)))
    assert "CREATE DATABASE" in str(_refusal(server.loopback_url("missing")))
    away = urllib.parse.urlencode({"host": "/nowhere"})
    assert "cannot be reached" in str(_refusal(f"postgresql://u@/d?{away}"))
    assert "name of the host" in str(_refusal("postgresql://u@nowhere.invalid/d"))
    tls = server.loopback_url(name) + "?sslmode=require"
    assert "sslmode" in str(_refusal(tls))


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("FATAL:  the database system is starting up", "wait for it"),
        ("FATAL:  the database system is not yet accepting connections", "wait for it"),
        ("FATAL:  query_wait_timeout", "default_pool_size"),
        ('FATAL:  database "tasks" does not exist', "CREATE DATABASE"),
    ],
)
def test_what_a_server_says_is_told_with_what_to_do(said: str, hint: str) -> None:
    """One that is starting has no wrong name."""
    told = str(not_connected(psycopg.OperationalError(said)))
    assert hint in told
    assert said.rsplit(maxsplit=1)[-1] in told


def test_the_password_may_come_from_elsewhere() -> None:
    """From a file or the environment, say, and it counts instead of the one in the URL."""
    server = postgres.server()
    url = server.loopback_url(postgres.new_database(), password="not this")
    database = PostgresDatabase(database_address(url, postgres.PASSWORD))
    assert migrate(database)


def test_a_connection_is_known_by_its_name_and_waits_for_nothing_forever() -> None:
    """Statements, locks and idle transactions have their limits, and commits are durable."""
    server = postgres.server()
    name = postgres.new_database()
    server.run(f"ALTER DATABASE {name} SET synchronous_commit = off")
    connection = PostgresConnection(
        PostgresDatabase(database_address(server.url(name)), "taskyard one").raw
    )
    shown = [
        connection.select(f"SELECT current_setting('{setting}')").fetchone()[0]
        for setting in (
            "application_name",
            "search_path",
            "statement_timeout",
            "lock_timeout",
            "idle_in_transaction_session_timeout",
            "synchronous_commit",
        )
    ]
    connection.close()
    assert shown == ["taskyard one", "taskyard", "30s", "10s", "1min", "on"]


def test_a_connection_that_cannot_be_set_up_is_closed() -> None:
    """And the failure is told as any other."""
    server = postgres.server()
    url = server.loopback_url(postgres.new_database(), password="not this")
    connection = PostgresConnection(PostgresDatabase(database_address(url)).raw)
    with pytest.raises(psycopg.Error) as error:
        connection.begin()
    assert isinstance(connection.trouble(error.value), Unavailable)
    connection.close()
