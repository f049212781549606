"""What looks at issued calls cost: each page is read by an index, and nothing is sorted."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fakes.stores import prepare
from taskyard.store.sql.queries import queries
from taskyard.store.sqlite.database import FILE_NAME, connect

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
SQL = queries("taskyard.store.sqlite")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A store with nothing in it."""
    prepare(tmp_path / "data")
    with closing(connect(tmp_path / "data" / FILE_NAME)) as connection:
        yield connection


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param(SQL["endpoints.calls_of_workspace"], id="of a workspace"),
        pytest.param(SQL["endpoints.calls_of_function"], id="of a function"),
        pytest.param(SQL["endpoints.entries_oldest_first"], id="entries oldest first"),
        pytest.param(SQL["functions.functions_newest_first"], id="functions newest first"),
        pytest.param(SQL["endpoints.removed_calls"], id="removed calls"),
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
    sql = SQL["endpoints.entries_by_ids"]
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", VALUES)]
    assert any("catalogue_by_id (kind=? AND id=?" in step for step in plan), plan
