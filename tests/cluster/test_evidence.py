"""The proof can fail: what it looks for is found where it is."""

import time
import uuid
from collections.abc import Iterator

import pytest
from evidence import SETTINGS, Query, gather, of_deposed_leaders, overtaken

from lone_postgres import lone_postgres

_TABLES = """
CREATE SCHEMA taskyard;
CREATE TABLE taskyard.leadership (term bigint);
CREATE TABLE taskyard.attempts (id text, task_seq bigint, number bigint);
CREATE TABLE taskyard.tasks (seq bigint, group_name text);
INSERT INTO taskyard.leadership VALUES (1);
"""
NEXT_TERM = "UPDATE taskyard.leadership SET term = term + 1"


@pytest.fixture
def run() -> Iterator[Query]:
    """Runs statements in a database with what is looked at of a store."""
    with lone_postgres(settings=SETTINGS) as server:
        server.run(_TABLES, "taskyard")
        gather(lambda sql: server.run(sql, "taskyard"))
        yield lambda sql: server.run(sql, "taskyard")


def decided() -> str:
    """The id of an attempt that was decided on now."""
    made = f"{time.time_ns() // 1_000_000:012x}7{uuid.uuid4().hex[:19]}"
    time.sleep(0.005)  # ids tell milliseconds
    return str(uuid.UUID(made))


def place(run: Query, attempt: str, task: int) -> None:
    """Store an attempt that was decided on before."""
    run(f"INSERT INTO taskyard.attempts VALUES ('{attempt}', {task}, 1)")  # noqa: S608 - ours


def test_a_deposed_leaders_plan_is_found(run: Query) -> None:
    """Not what was stored before the next term began, nor what the next one decided."""
    early, late = decided(), decided()
    place(run, early, 1)
    run(NEXT_TERM)
    place(run, decided(), 2)
    assert of_deposed_leaders(run) == []
    place(run, late, 3)
    assert of_deposed_leaders(run) == [(late, 2)]


def test_who_was_overtaken_is_found(run: Query) -> None:
    """The first of two, if the second one was decided on and stored before it."""
    for task in (1, 2, 3):
        run(f"INSERT INTO taskyard.tasks VALUES ({task}, 'gx/one')")  # noqa: S608 - ours
    for task in (1, 3, 2):
        place(run, decided(), task)
    ((passed, by, waited_s),) = overtaken(run)
    assert (passed, by) == (2, 3)
    assert 0 < waited_s < 10
