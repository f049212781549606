"""What looks at issued calls cost: each page is read by an index, and nothing is sorted."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fakes.stores import prepare
from taskyard.store.sqlite import invocations as module
from taskyard.store.sqlite.database import FILE_NAME, connect, queries

VALUES = {
    "workspace": "w",
    "function_id": "f",
    "issued_at": 0,
    "seq": 0,
    "offset": 0,
    "limit": 9,
    "after": 0,
    "kind": "tag",
    "tag": "x",
    "deleted": 0,
    "ids": "[]",
    "scope": "removed:function:f",
    "today": "00002",
    "week": "00001",
}
ENDPOINTS = queries("endpoints")
FUNCTIONS = queries("functions")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A store with nothing in it."""
    prepare(tmp_path / "data")
    with closing(connect(tmp_path / "data" / FILE_NAME)) as connection:
        yield connection


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param(module._OF_WORKSPACE, id="of a workspace"),
        pytest.param(module._OF_FUNCTION, id="of a function"),
        pytest.param(ENDPOINTS.entries_oldest_first.sql, id="entries oldest first"),
        pytest.param(FUNCTIONS.functions_newest_first.sql, id="functions newest first"),
        pytest.param(ENDPOINTS.removed_calls.sql, id="removed calls"),
    ],
)
def test_pages_are_read_in_order(connection: sqlite3.Connection, sql: str) -> None:
    """A list of many pages costs what its pages cost."""
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", VALUES)]
    # The tags of a function are looked through in the row itself.
    steps = [step for step in plan if "json_each" not in step]
    assert not [step for step in steps if "TEMP B-TREE" in step or step.startswith("SCAN")], plan


def test_tags_are_found_by_their_ids(connection: sqlite3.Connection) -> None:
    """However many there are."""
    sql = ENDPOINTS.entries_by_ids.sql
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", VALUES)]
    assert any("catalogue_by_id (kind=? AND id=?" in step for step in plan), plan
