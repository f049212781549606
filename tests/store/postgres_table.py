"""A table of PostgreSQL for tests of its driver, and queries about it."""

import postgres
from taskyard.store.postgres.connection import PostgresConnection

QUERIES = {
    "t.put": "INSERT INTO t (id, name, data, part) VALUES (:id, :name, :data, :part)",
    "t.put_many": "INSERT INTO t (id, name, data, part) SELECT * FROM"
    " unnest(?::bigint[], ?::text[], ?::bytea[], ?::double precision[])",
    "t.put_new": "INSERT INTO t (id, name) SELECT * FROM unnest(?::bigint[], ?::text[])"
    " ON CONFLICT DO NOTHING",
    "t.one_by_one": "INSERT INTO t (id, name) VALUES (?, ?)",
    "t.all": "SELECT id, name, data, part FROM t ORDER BY id",
    "t.ids": "SELECT id FROM t ORDER BY id",
    "t.named": "SELECT id FROM t WHERE CAST(:name AS text) IS NULL OR name = :name ORDER BY id",
    "t.sum": "SELECT sum(id), count(*), bool_or(id > 1) FROM t",
    "t.set": "UPDATE t SET name = :name WHERE id = :id",
    "t.pid": "SELECT pg_backend_pid()",
    "connection.positions": "SELECT nextval('task_seq') FROM generate_series(1, ?::bigint)",
}


TABLE = """
CREATE SCHEMA taskyard;
CREATE TABLE taskyard.t (id bigint PRIMARY KEY, name text, data bytea, part double precision);
CREATE SEQUENCE taskyard.task_seq;
"""


def put(connection: PostgresConnection, number: int, name: object = None) -> None:
    """Insert a row."""
    connection.execute("t.put", {"id": number, "name": name, "data": None, "part": None})


def ids(connection: PostgresConnection) -> list[int]:
    """What the table has."""
    return [row[0] for row in connection.execute("t.ids")]


def terminate(connection: PostgresConnection) -> None:
    """Have the server end a connection, which does not know it yet."""
    (pid,) = connection.execute("t.pid").fetchone()
    postgres.server().run(f"SELECT pg_terminate_backend({pid}, 5000)")
