"""Every query is understood by PostgreSQL, the oldest release that tests run on included."""

from contextlib import closing

import psycopg
import pytest

import postgres
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.migrate import migrate
from taskyard.store.sql.queries import queries

STATEMENTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
"""What queries begin with; the others are parts of them."""


def test_every_query_is_understood() -> None:
    """Its tables, columns and functions exist, and each placeholder has a type that is sent."""
    database = PostgresDatabase(
        database_address(postgres.server().url(postgres.new_database())), "queries"
    )
    migrate(database)
    wrong, count = {}, 0
    with closing(database.connect()) as connection:
        for name, sql in queries("taskyard.store.postgres").items():
            if not sql.startswith(STATEMENTS):
                continue
            count += 1
            try:
                connection._statements.named(name)
            except (psycopg.Error, TypeError) as error:
                wrong[name] = str(error)
    assert wrong == {}
    assert count > 200


@pytest.mark.parametrize(
    "query",
    [
        "tasks.task_by_id",
        "tasks.update_state",
        "tasks.leave_attempt",
        "tasks.append_event",
        "tasks.drop_zero_counts",
        "dispatch.ready",
        "dispatch.ready_behind",
        "dispatch.place_task",
        "dispatch.attempts_with_tasks",
        "dispatch.end_attempt",
        "dispatch.next_due",
    ],
)
def test_tasks_are_found_by_an_index(query: str) -> None:
    """Also by a statement that was planned while the table was empty."""
    plan = generic_plan(query)
    assert "Index" in plan
    assert "Seq Scan on" not in plan
    assert "Hash Join" not in plan


def generic_plan(query: str) -> str:
    """How PostgreSQL runs a query of ours, planned while all tables were empty."""
    database = PostgresDatabase(
        database_address(postgres.server().url(postgres.new_database())), "plans"
    )
    migrate(database)
    with closing(database.connect()) as connection:
        connection.begin()
        statement = connection._statements.named(query)
        nulls = ", ".join(["NULL"] * len(statement.encoders))
        connection.select("SELECT set_config('plan_cache_mode', 'force_generic_plan', true)")
        execute = f"({nulls})" if nulls else ""
        rows = connection.select(f"EXPLAIN EXECUTE {statement.key.decode()}{execute}").fetchall()
        connection.rollback()
    return "\n".join(row[0] for row in rows)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("dispatch.end_attempt", "attempts_pkey"),
        ("dispatch.start_attempt", "attempts_pkey"),
        ("functions.set_progress", "attempts_pkey"),
        ("dispatch.place_task", "tasks_id_key"),
        ("tasks.update_state", "tasks_pkey"),
        ("tasks.leave_attempt", "tasks_pkey"),
        ("webhooks.claim", "webhook_deliveries_id_key"),
        ("webhooks.pending_number", "webhook_deliveries_id_key"),
        ("parking.park_delivery", "webhook_deliveries_id_key"),
    ],
)
def test_what_has_a_key_is_found_by_it(query: str, index: str) -> None:
    """Not in an index of all that wait or run, which keeps what a snapshot may still see."""
    lines = generic_plan(query).splitlines()
    (at,) = [number for number, line in enumerate(lines) if f"using {index} on" in line]
    assert "Index Cond: (" in lines[at + 1]
