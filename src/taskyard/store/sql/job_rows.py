"""Rows of jobs, their groups and executions, as records and back."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from taskyard.core.errors import NotFound
from taskyard.core.ids import GroupName, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.jobs import Execution, Job, JobDefinition, JobKey
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.locks import lock_job
from taskyard.store.sql.rows import attempt_of, task_of

_WORD: Final = re.compile(r"\w+")
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


def job_at(connection: Connection, seq: int) -> Job:
    """The job at a position that is known to exist."""
    return job_of(connection.execute("jobs.job_by_seq", {"seq": seq}).fetchone())


def execution_at(connection: Connection, row: Row) -> Execution:
    """An execution from the columns that ``executions_of_job`` names, with its last attempt."""
    task = task_of(row[3:20])
    found = connection.execute("jobs.last_attempt", {"seq": task.seq}).fetchone()
    return Execution(row[0], task, None if found is None else attempt_of(found), row[1])


def words_of(text: str) -> list[str]:
    """The words that a name is found by: runs of letters, digits and underscores, in any case."""
    return sorted(set(_WORD.findall(text.casefold())))


def key_values(key: JobKey) -> dict[str, Any]:
    """The parameters that name a job."""
    return {"workspace": key.workspace, "group_name": key.group, "id": key.id}


def check_group(connection: Connection, place: dict[str, Any]) -> None:
    """Raise ``NotFound`` if there is no such group."""
    if connection.execute("jobs.job_group", place).fetchone() is None:
        raise NotFound("group", place["group_name"])


def open_group(connection: Connection, key: JobKey, now: Instant) -> int:
    """The number of a job's group, which is created if missing."""
    place = key_values(key)
    row = connection.execute("jobs.job_group", place).fetchone()
    if row is not None:
        return int(row[0])
    row = connection.execute("jobs.insert_job_group", {**place, "now": now}).fetchone()
    if row is None:  # somebody else was faster, and has added its words
        (number,) = connection.execute("jobs.job_group", place).fetchone()
        return int(number)
    (number,) = row
    for word in words_of(key.group):
        values = {"workspace": key.workspace, "word": word, "number": number}
        connection.execute("jobs.insert_job_group_word", values)
    return int(number)


def job_to_change(connection: Connection, key: JobKey) -> Job | None:
    """The job of a key, which nobody else changes until the commit; None if there is none."""
    lock_job(connection, key)
    row = connection.execute("jobs.job_by_id", key_values(key)).fetchone()
    return None if row is None else job_of(row)


def insert_job(connection: Connection, key: JobKey, values: Mapping[str, Any]) -> int | None:
    """The position of a new job, whose group is created if missing; None if it exists already."""
    number = open_group(connection, key, values["now"])
    row = connection.execute("jobs.insert_job", values).fetchone()
    if row is None:
        return None
    connection.execute("jobs.job_added", {"number": number, "now": values["now"]})
    return int(row[0])


def find_job(connection: Connection, key: JobKey) -> Job:
    """The job of a key. Raises ``NotFound``, for its group if that is missing."""
    row = connection.execute("jobs.job_by_id", key_values(key)).fetchone()
    if row is None:
        check_group(connection, key_values(key))
        raise NotFound("job", key.id)
    return job_of(row)


def find_execution(connection: Connection, job: Job, task_id: TaskId) -> Execution:
    """The execution of a job that is this task. Raises ``NotFound``."""
    row = connection.execute("jobs.execution_of_task", {"task_id": task_id}).fetchone()
    if row is None or row[20] != job.seq:
        raise NotFound("execution", task_id)
    return execution_at(connection, row)


def last_execution(connection: Connection, job: Job) -> TaskId | None:
    """The task of the last execution; None if there was none."""
    values = {"job_seq": job.seq, "limit": 1}
    row = connection.execute("jobs.executions_of_job", values).fetchone()
    return None if row is None else TaskId(row[4])
