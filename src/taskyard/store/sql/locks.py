"""Looking and changing as one step, where several processes write to one database.

A statement sees what was committed when it began. What is decided by an answer may be wrong by the
time it is written, unless the next statement says so itself (a guard), or nobody else can have
changed it since: that is what these are for. Each waits for others who hold the same, and what is
read afterwards is what they left; it is let go with the transaction. It is asked for together with
what is read next. Where one process alone writes, they do nothing.

Whoever takes several takes them in the order of their keys, so that nobody waits in a circle; the
database would notice, after a while, and the batch would be done again.
"""

from collections.abc import Collection

from taskyard.core.functions.functions import FunctionId
from taskyard.core.ids import TaskId
from taskyard.core.jobs import JobKey
from taskyard.store.sql.connection import Connection


def lock_tasks(connection: Connection, task_ids: Collection[TaskId]) -> None:
    """Tasks, as far as they exist."""
    if connection.is_shared and task_ids:
        connection.execute_later("locks.tasks", (sorted(set(task_ids)),))


def lock_histories(connection: Connection, seqs: Collection[int]) -> None:
    """The histories of tasks, which are numbered without gaps."""
    if connection.is_shared and seqs:
        connection.execute_later("locks.histories", (sorted(set(seqs)),))


def lock_job(connection: Connection, key: JobKey) -> None:
    """A job with its executions, if it exists."""
    if connection.is_shared:
        connection.execute_later("locks.job", (key.workspace, key.group, key.id))


def lock_function(connection: Connection, function_id: FunctionId) -> None:
    """A function, if it exists."""
    if connection.is_shared:
        connection.execute_later("locks.function", (function_id,))


def lock_entry(connection: Connection, kind: str, entry_id: str, workspace: str) -> None:
    """A resource of a function, if it exists."""
    if connection.is_shared:
        connection.execute_later("locks.entry", (kind, entry_id, workspace))


def lock_delivery(connection: Connection, delivery_id: str) -> None:
    """A webhook message with its tries, if it exists."""
    if connection.is_shared:
        connection.execute_later("locks.delivery", (delivery_id,))


def lock_deliveries(connection: Connection, task_id: TaskId) -> None:
    """All webhook messages about a task."""
    if connection.is_shared:
        connection.execute_later("locks.deliveries", (task_id,))


def lock_name(connection: Connection, *parts: str, shared: bool = False) -> None:
    """Whatever goes by a name, whether it exists or not.

    Args:
        connection: inside a transaction.
        parts: what kind of thing, then what tells it from others of its kind.
        shared: do not wait for others who share it, only for those who do not.
    """
    if connection.is_shared:
        query = "locks.shared_name" if shared else "locks.name"
        connection.execute_later(query, ("\n".join(parts),))
