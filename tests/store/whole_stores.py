"""Stores with contents of every kind, for what moves whole stores."""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

from fakes.stores import prepare
from taskyard.store.sqlite.database import FILE_NAME, connect
from taskyard.store.transfer import sqlite
from taskyard.store.transfer.address import Location, SqliteAddress
from taskyard.store.transfer.engine import Step
from taskyard.store.transfer.tables import Checksum, Kind, Table, checksum

Row = dict[str, Any]
Contents = dict[str, list[Row]]
"""Rows by table."""

_TEXT: Final = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12
)
_VALUES: Final[Mapping[Kind, st.SearchStrategy[Any]]] = {
    Kind.INTEGER: st.integers(-(2**63), 2**63 - 1),
    Kind.REAL: st.floats(allow_nan=False),
    Kind.TEXT: _TEXT,
    Kind.BYTES: st.binary(max_size=40),
}
_ENDED_TASK: Final = ("succeeded", "failed", "dead", "cancelled", "expired")
_TASK: Final = ("scheduled", "queued", "running", "retrying", *_ENDED_TASK)
_ATTEMPT: Final = ("assigned", "running", "succeeded", "failed", "killed", "lost")
_PARKED: Final = ("task", "job", "schedule", "trigger", "delivery", "attempt")


def _task(row: Row, number: int) -> None:
    row["state"] = state = _TASK[number % len(_TASK)]
    row["current_attempt"] = f"a{number}" if state == "running" else None
    row["finished_at"] = number if state in _ENDED_TASK else None
    row["start_at"] = row["queued_at"] = number


def _attempt(row: Row, number: int) -> None:
    row["state"] = state = _ATTEMPT[number % len(_ATTEMPT)]
    row["finished_at"] = None if state in {"assigned", "running"} else number
    row["outcome"] = '{"stdout":{"stored_bytes":3}}' if number % 2 else None


def _delivery(row: Row, number: int) -> None:
    row["state"] = state = ("pending", "delivered", "failed")[number % 3]
    row["next_at"] = number if state == "pending" else None
    row["delivered_at"] = number if state == "delivered" else None


def _worker_token(row: Row, number: int) -> None:
    row["digest"] = bytes([number % 256]) * 32


def _credential(row: Row, number: int) -> None:
    row["role"] = (10, 20, 30, 40)[number % 4]
    if "digest" in row:
        row["digest"] = bytes([number % 256]) * 32


def _one_of(column: str, *values: object) -> Callable[[Row, int], None]:
    def put(row: Row, number: int) -> None:
        row[column] = values[number % len(values)]

    return put


def _maintenance(row: Row, number: int) -> None:
    row["one"], row["is_on"] = 1, number % 2


def _user(row: Row, number: int) -> None:
    row["uid"] = number + 1


_FITTED: Final[Mapping[str, Callable[[Row, int], None]]] = {
    "tasks": _task,
    "attempts": _attempt,
    "webhook_deliveries": _delivery,
    "tokens": _credential,
    "worker_tokens": _worker_token,
    "users": _credential,
    "audit": _one_of("outcome", "done", "refused"),
    "workers": _one_of("state", "ready", "draining", "lost"),
    "function_versions": _one_of("state", "pending", "building", "ready", "failed", "retired"),
    "catalogue": _one_of("kind", "endpoint", "trigger", "schedule", "tag", "node", "build"),
    "parked": _one_of("kind", *_PARKED),
    "maintenance": _maintenance,
    "workspace_users": _user,
}
"""What makes a row of a table one that its constraints allow."""


def schema(directory: Path) -> dict[str, tuple[Table, frozenset[str]]]:
    """The tables of the present schema, each with the columns that may be NULL."""
    prepare(directory)
    with sqlite.opened_source(directory) as source:
        tables = dict(source.tables())
    with closing(sqlite3.connect(directory / FILE_NAME)) as connection:
        return {
            name: (
                table,
                frozenset(
                    column
                    for _, column, _, is_required, _, place in connection.execute(
                        f"PRAGMA table_info({name})"
                    )
                    if not is_required and not place
                ),
            )
            for name, table in tables.items()
        }


def contents(
    tables: Mapping[str, tuple[Table, frozenset[str]]], most: int = 3
) -> st.SearchStrategy[Contents]:
    """Rows for every table, of which some may collide."""
    return st.fixed_dictionaries(
        {
            name: st.lists(
                st.fixed_dictionaries(
                    {
                        column.name: (
                            st.none() | _VALUES[column.kind]
                            if column.name in optional
                            else _VALUES[column.kind]
                        )
                        for column in table.columns
                    }
                ),
                max_size=most,
            )
            for name, (table, optional) in tables.items()
        }
    )


def fill(directory: Path, made: Contents) -> None:
    """A store with these rows; those that collide with others are left out."""
    prepare(directory)
    with closing(connect(directory / FILE_NAME)) as connection:
        connection.execute("BEGIN")
        for table, rows in made.items():
            for number, row in enumerate(rows):
                fitted = dict(row)
                if table in _FITTED:
                    _FITTED[table](fitted, number)
                names, marks = ", ".join(fitted), ", ".join("?" * len(fitted))
                connection.execute(
                    f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})",  # noqa: S608
                    list(fitted.values()),
                )
        connection.execute("COMMIT")


def many_rows(count: int) -> Contents:
    """Tasks with some events each, and an audit trail."""
    tasks = [
        {
            "seq": number,
            "id": f"task-{number:06d}",
            "workspace": "default",
            "group_name": "g",
            "priority": 0,
            "created_at": number,
            "spec": "{}",
        }
        for number in range(count)
    ]
    events = [
        {"task_seq": number, "number": event, "at": event, "kind": "submitted", "detail": "x" * 50}
        for number in range(count)
        for event in range(3)
    ]
    audit = [
        {"number": number * 3, "at": 1, "actor": "me", "workspace": "w", "action": "a"}
        for number in range(1, count)
    ]
    return {"tasks": tasks, "events": events, "audit": audit}


def located(directory: Path) -> Location:
    """The store of a data directory."""
    return Location(SqliteAddress(directory), directory)


def checksums(directory: Path) -> dict[str, Checksum]:
    """What is in a data directory's database."""
    with sqlite.opened_source(directory) as source:
        return {name: checksum(source.rows(table)) for name, table in source.tables().items()}


def unwatched(_step: Step) -> None:
    """Nobody watches."""
