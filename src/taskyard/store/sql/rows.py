"""Rows as records and back; the order of columns is that of ``queries/columns.sql``."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
import structlog
from msgspec import Struct

from taskyard.core.attempts import (
    Attempt,
    Confinement,
    Ended,
    KillReport,
    StreamSize,
    Usage,
    confinement_in,
)
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import AttemptId, GroupName, TaskId, WorkspaceName
from taskyard.core.resources import Resources
from taskyard.core.scheduling.requirements import ReadyTask, Requirements, requirements_of
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.core.tasks import Command, NewTask, Task, TaskSpec
from taskyard.store.sql.connection import Connection, Row

T = TypeVar("T")

log = structlog.get_logger(__name__)

encode: Final = msgspec.json.Encoder().encode
_spec: Final = msgspec.json.Decoder(TaskSpec).decode
_resources: Final = msgspec.json.Decoder(Resources).decode
_demand: Final = msgspec.json.Decoder(Requirements).decode
_handle: Final = msgspec.json.Decoder(dict[str, Any]).decode

SHORT_SPEC: Final = 4096
"""Characters of a specification that is kept once it was read; longer ones would take room."""


class Outcome(Struct, frozen=True, omit_defaults=True):
    """The members of an ended attempt that are read together; one JSON column."""

    kill_report: KillReport | None = None
    usage: Usage | None = None
    stdout: StreamSize = StreamSize()
    stderr: StreamSize = StreamSize()
    confinement: Confinement | None = None
    order_bytes: int = 0


_outcome: Final = msgspec.json.Decoder(Outcome).decode
_PLAIN: Final = Requirements()
_NO_OUTCOME: Final = Outcome()


def text(value: object) -> str:
    """A record as JSON text."""
    return encode(value).decode()


def spec_of(column: str) -> TaskSpec:
    """The specification in a ``spec`` column.

    Each is read twice within a moment, to place the task and to end it, and many are alike.
    Records are frozen, so that those who read the same text can share what it says.
    """
    return _short_spec(column) if len(column) <= SHORT_SPEC else _spec(column)


def spec_or_plain(column: str) -> TaskSpec:
    """The specification in a ``spec`` column, or one without wishes where that cannot be read.

    For what has to be done whatever the task says: to end it, to let its attempt go.
    """
    try:
        return spec_of(column)
    except (msgspec.MsgspecError, UnicodeError):
        return PLAIN_SPEC


PLAIN_SPEC: Final = TaskSpec(work=Command(argv=("false",)))


@lru_cache(maxsize=1024)
def _short_spec(column: str) -> TaskSpec:
    return _spec(column)


def readable(record_of: Callable[[Row], T], rows: Sequence[Row]) -> list[T]:
    """The records of rows, without those that cannot be read."""
    records = []
    for row in rows:
        try:
            records.append(record_of(row))
        except Exception:
            # One that is damaged must not keep the server from starting, nor workers from joining.
            log.exception("row_not_readable", id=row[0])
    return records


UNREADABLE: Final = Command(argv=("",))
"""What a task is shown to run that cannot be read."""


def shown_task(connection: Connection, row: Row) -> Task:
    """A task from the columns that ``task_by_id`` names, whether it can be read or not.

    One that cannot can still be looked at, cancelled and deleted; run or retried it cannot be, as
    its command has no program.
    """
    try:
        return task_of(row)
    except (msgspec.MsgspecError, UnicodeError) as error:
        log.warning("task_not_readable", task_id=row[1], reason=str(error))
        group, name = connection.execute("tasks.names_of", (row[0],)).fetchone()
        return task_of(row, TaskSpec(work=UNREADABLE, group=GroupName(group), name=name))


def task_of(row: Row, spec: TaskSpec | None = None) -> Task:
    """A task from the columns that ``task_by_id`` names; ``spec`` in place of what is stored."""
    spec = spec or spec_of(row[3])
    if spec.priority != row[16]:
        spec = msgspec.structs.replace(spec, priority=row[16])
    return Task(
        seq=row[0],
        id=row[1],
        workspace=row[2],
        spec=spec,
        state=TaskState(row[4]),
        created_at=row[5],
        attempt_count=row[6],
        start_at=row[7],
        current_attempt=row[8],
        kill_requested_at=row[9],
        finished_at=row[10],
        reason=Reason(row[11]) if row[11] is not None else None,
        message=row[12],
        schedule_id=row[13],
        due_at=row[14],
        retry_of=row[15],
    )


def attempt_of(row: Row) -> Attempt:
    """An attempt from the columns that ``attempt_by_id`` names."""
    outcome = _outcome(row[18]) if row[18] is not None else _NO_OUTCOME
    handle = _handle(row[17]) if row[17] is not None else {}
    return Attempt(
        id=row[0],
        task_id=row[1],
        workspace=row[2],
        number=row[3],
        worker_id=row[4],
        incarnation=row[5],
        lease_token=row[6],
        lease_expires_at=row[7],
        resources=_resources(row[8]),
        state=AttemptState(row[9]),
        assigned_at=row[10],
        started_at=row[11],
        finished_at=row[12],
        exit_code=row[13],
        signal=row[14],
        reason=Reason(row[15]) if row[15] is not None else None,
        message=row[16],
        handle=handle,
        confinement=outcome.confinement or confinement_in(handle),
        kill_report=outcome.kill_report,
        usage=outcome.usage,
        stdout=outcome.stdout,
        stderr=outcome.stderr,
        progress=row[19],
        progress_text=row[20],
    )


def attempt_row(task_seq: int, attempt: Attempt) -> tuple[Any, ...]:
    """The values of ``insert_attempt``."""
    return (
        attempt.id,
        task_seq,
        attempt.task_id,
        attempt.workspace,
        attempt.number,
        attempt.worker_id,
        attempt.incarnation,
        attempt.lease_token,
        attempt.lease_expires_at,
        attempt.state.value,
        attempt.assigned_at,
        text(attempt.resources),
    )


def outcome_text(ended: Ended) -> str | None:
    """The ``outcome`` column of an ended attempt; None if it would be empty."""
    outcome = Outcome(
        ended.kill_report,
        ended.usage,
        ended.stdout,
        ended.stderr,
        ended.confinement,
        ended.order_bytes,
    )
    return None if outcome == _NO_OUTCOME else text(outcome)


def requirements_in(column: str | None, resources: Resources) -> Requirements:
    """A task's demand by its column, which is NULL if it has only cores and memory."""
    return Requirements(resources) if column is None else _demand_or_plain(column)


def _demand_or_plain(column: str) -> Requirements:
    """A demand; empty if it cannot be read, which placing the task then reports."""
    try:
        return _demand(column)
    except (msgspec.MsgspecError, UnicodeError):
        return _PLAIN


def ready_of(workspace: WorkspaceName, group: GroupName, row: Row) -> ReadyTask:
    """A ready task from the columns that ``ready`` names."""
    requirements = _PLAIN
    if row[7] is not None:
        requirements = _demand_or_plain(row[7])
    elif row[3] is not None or row[4] is not None:
        requirements = Requirements(Resources(cpu_millis=row[3], memory_bytes=row[4]))
    return ReadyTask(row[0], TaskId(row[1]), workspace, group, row[2], requirements, row[5], row[6])


def new_task_row(seq: int, task: NewTask, attempt_id: AttemptId | None = None) -> tuple[Any, ...]:
    """The values of ``insert_task``; ``attempt_id`` names the attempt it is stored with."""
    spec = task.spec
    resources, requirements = spec.resources, requirements_of(spec)
    return (
        seq,
        task.id,
        task.workspace,
        spec.group,
        None if spec.name is None else column_text(spec.name),
        task.state.value if attempt_id is None else TaskState.RUNNING.value,
        spec.priority,
        resources.cpu_millis,
        resources.memory_bytes,
        task.created_at,
        task.created_at if task.state is TaskState.QUEUED else None,
        task.start_at,
        spec.expires_at,
        task.schedule_id,
        task.due_at,
        task.retry_of,
        spec.idempotency_key,
        int(spec.cron is not None),
        None if requirements.is_plain else text(requirements),
        encode(spec).decode(),
        int(attempt_id is not None),
        attempt_id,
    )


SPEC: Final = 19
"""Where ``insert_task`` has the specification."""


def storable_row(seq: int, task: NewTask, attempt_id: AttemptId | None = None) -> tuple[Any, ...]:
    """The values of ``insert_task``, as :func:`new_task_row`.

    Raises ``InvalidInput`` or ``UnicodeEncodeError`` for what no column can hold.
    """
    row = new_task_row(seq, task, attempt_id)
    for value in row:
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise InvalidInput("", "contains a number beyond 64 bits")
        if type(value) is str and "\0" in value:
            raise InvalidInput("", "contains a NUL character")
    return row


def column_text(text: str) -> str:
    """A text of a specification as the column has it that repeats it.

    Columns serve to look for tasks. PostgreSQL's cannot hold a NUL, so it is replaced, in every
    database alike; the specification, which is JSON, keeps it.
    """
    return text.replace("\0", "\ufffd")


def storable_text(text: str | None) -> str | None:
    """A text that somebody reports, with what no column can hold replaced."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")
