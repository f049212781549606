"""Between rows and records of jobs: the order of their columns."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from taskyard.core.ids import GroupName, WorkspaceName
from taskyard.core.jobs import Execution, Job, JobDefinition, JobKey
from taskyard.store.sqlite.database import queries
from taskyard.store.sqlite.rows import attempt_of, task_of

_SQL: Final = queries("jobs")
_definition: Final = msgspec.json.Decoder(JobDefinition).decode
Row = Sequence[Any]


def text_of(value: object) -> str:
    """A record as JSON text."""
    return msgspec.json.encode(value).decode()


def definition_text(
    definition: JobDefinition, old: JobDefinition | None = None, kept: Sequence[str] = ()
) -> str:
    """The ``definition`` column; details named in ``kept`` stay where the new ones lack them."""
    if old is not None:
        details = {name: old.details[name] for name in kept if name in old.details}
        merged = {**details, **definition.details}
        definition = msgspec.structs.replace(definition, details=merged)
    return text_of(definition)


def job_of(row: Row) -> Job:
    """A job from the columns that ``job_by_id`` names."""
    return Job(
        seq=row[0],
        key=JobKey(WorkspaceName(row[1]), GroupName(row[2]), row[3]),
        definition=_definition(row[4]),
        created_at=row[5],
        modified_at=row[6],
        retry_count=row[7],
        next_at=row[8],
        ticket=row[9],
        execution_count=row[10],
    )


def job_at(connection: sqlite3.Connection, seq: int) -> Job:
    """The job at a position that is known to exist."""
    return job_of(connection.execute(_SQL.job_by_seq.sql, {"seq": seq}).fetchone())


def execution_at(connection: sqlite3.Connection, row: Row) -> Execution:
    """An execution from the columns that ``executions_of_job`` names, with its last attempt."""
    task = task_of(row[3:20])
    found = connection.execute(_SQL.last_attempt.sql, {"seq": task.seq}).fetchone()
    return Execution(row[0], task, None if found is None else attempt_of(found), row[1])
