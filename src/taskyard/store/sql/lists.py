"""Numbered lists, on SQLite."""

from collections.abc import Sequence

from msgspec.structs import replace

from taskyard.core.changes import Cached, Change
from taskyard.core.errors import Conflict, NotFound, TaskyardError
from taskyard.core.ids import TaskId
from taskyard.core.instants import Instant
from taskyard.core.lists import ListEntry, ListKey, ListStatus, numbered, status_of
from taskyard.core.states import WAITING, TaskState
from taskyard.core.tasks import NewTask, Task
from taskyard.ports.dispatching import Placement
from taskyard.ports.lists import Added, TooManyLists
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.groups import record_of
from taskyard.store.sql.locks import lock_name, lock_tasks
from taskyard.store.sql.rows import column_text
from taskyard.store.sql.submits import Submit
from taskyard.store.sql.tasks import SqlTasks, find
from taskyard.store.sql.transactions import Repository, Session, writes


class SqlLists(Repository):
    """Implements ``ports.lists.ListStore``."""

    def __init__(self, session: Session, tasks: SqlTasks) -> None:
        super().__init__(session)
        self._tasks = tasks

    @writes
    async def open(
        self, key: ListKey, owner: str, *, most: int, concurrency_limit: int | None
    ) -> bool:
        """See the port."""
        parameters = {
            "workspace": key.workspace,
            "group_name": key.group,
            "owner": owner,
            "given_limit": concurrency_limit,
        }

        def write(connection: Connection) -> bool:
            # Lists of one owner are counted, and settings of groups are read before they are set.
            lock_name(connection, "lists", key.workspace, owner)
            lock_name(connection, "group", key.workspace, key.group)
            known = connection.execute("lists.list_given", parameters).fetchone()
            is_new = known is None
            if is_new:
                (count,) = connection.execute("lists.lists_of_owner", parameters).fetchone()
                if count >= most:
                    raise TooManyLists
                connection.execute("lists.insert_list", parameters)
            given = None if is_new else known[0]
            if given != concurrency_limit:
                connection.execute("lists.give_limit", parameters)
            group = record_of(connection, key.workspace, key.group)
            is_set_by_others = group.concurrency_limit != given
            if is_set_by_others or group.concurrency_limit == concurrency_limit:
                return is_new
            settings = {
                "workspace": key.workspace,
                "name": key.group,
                "paused": int(group.paused),
                "concurrency_limit": concurrency_limit,
            }
            connection.execute("groups.put_group", settings)
            self._session.counts.outdate(Cached.LIMITS)
            return True

        return await self._session.write(write)

    @writes
    async def add(
        self,
        key: ListKey,
        task: NewTask,
        variable: str | None,
        actor: str,
        placement: Placement | None = None,
    ) -> Added:
        """See the port."""
        parameters = {"workspace": key.workspace, "group_name": key.group}

        def write(connection: Connection) -> Added:
            row = connection.execute("lists.next_number", parameters).fetchone()
            if row is None:
                raise NotFound("list", key.group)
            new = replace(task, spec=numbered(task.spec, variable, row[0]))
            # Whoever planned may not have heard yet of those before it, which start first.
            waits = placement and connection.execute("lists.has_queued", parameters).fetchone()
            given = None if waits else placement
            (outcome,) = self._tasks.submit_all(connection, [Submit((new,), actor, given)])
            if isinstance(outcome, TaskyardError):
                raise outcome
            (stored,) = outcome
            if not stored.created:
                # A second entry for one task would fail everybody in the batch.
                raise Conflict(
                    f"the idempotency key stands for task {stored.task_id} already;"
                    " add to a list without a key, or with another one"
                )
            entry = (key.workspace, key.group, row[0], stored.seq)
            connection.execute("lists.insert_entry", entry)
            return Added(row[0], new, stored)

        return await self._session.write(write)

    async def entries(self, key: ListKey) -> list[ListEntry]:
        """See the port."""
        return await self._session.read(lambda connection: _entries(connection, key))

    async def task(self, key: ListKey, number: int) -> Task:
        """See the port."""
        return await self._session.read(lambda connection: _task(connection, key, number))

    @writes
    async def withdraw(
        self, key: ListKey, number: int, now: Instant, actor: str
    ) -> tuple[TaskId, list[Change]]:
        """See the port."""

        def write(connection: Connection) -> tuple[TaskId, list[Change]]:
            task = _task(connection, key, number)
            lock_tasks(connection, [task.id])
            task = _task(connection, key, number)
            if task.attempt_count or task.state not in WAITING:
                raise NotFound("waiting task", str(number))
            changes: list[Change] = []
            self._tasks.cancel_one(connection, key.workspace, task.id, now, actor, changes)
            _forget(connection, key, number)
            self._session.counts.outdate(Cached.LIST, f"{key.workspace}/{key.group}")
            return task.id, changes

        return await self._session.write_urgently(write)

    @writes
    async def flush(self, key: ListKey) -> tuple[list[int], list[TaskId]]:
        """See the port."""

        def write(connection: Connection) -> tuple[list[int], list[TaskId]]:
            shown = _entries(connection, key)
            dispatched = [one for one in shown if one.status is not ListStatus.QUEUED]
            # Not those that somebody else takes off it at the same time.
            dispatched = [one for one in dispatched if _forget(connection, key, one.number)]
            self._session.counts.outdate(Cached.LIST, f"{key.workspace}/{key.group}")
            running = [one.task_id for one in dispatched if one.status is ListStatus.RUNNING]
            return [one.number for one in dispatched], running

        return await self._session.write_urgently(write)

    @writes
    async def forget(self, key: ListKey, numbers: Sequence[int]) -> None:
        """See the port."""

        def write(connection: Connection) -> None:
            for number in numbers:
                _forget(connection, key, number)

        await self._session.write_urgently(write)


def _entries(connection: Connection, key: ListKey) -> list[ListEntry]:
    rows = connection.execute(
        "lists.entries_of_list", {"workspace": key.workspace, "group_name": key.group}
    ).fetchall()
    found = []
    for number, seq, task_id, name, size, state, attempt_count in rows:
        status = status_of(TaskState(state), was_dispatched=attempt_count > 0)
        if status is not None:
            if name and column_text("\0") in name:
                # The column may have it in place of a NUL, which names of lists may contain.
                name = find(connection, key.workspace, TaskId(task_id)).spec.name  # noqa: PLW2901
            found.append(ListEntry(number, seq, TaskId(task_id), name or "", size or "", status))
    return found


def _task(connection: Connection, key: ListKey, number: int) -> Task:
    parameters = {"workspace": key.workspace, "group_name": key.group, "number": number}
    row = None
    if number < 1 << 63:  # the largest that a column holds
        row = connection.execute("lists.listed_task", parameters).fetchone()
    if row is None:
        raise NotFound("task", str(number))
    task = find(connection, key.workspace, TaskId(row[0]))
    if status_of(task.state, was_dispatched=task.attempt_count > 0) is None:
        raise NotFound("task", str(number))
    return task


def _forget(connection: Connection, key: ListKey, number: int) -> bool:
    """Take a task off its list; False if it is not on it."""
    parameters = {"workspace": key.workspace, "group_name": key.group, "number": number}
    return connection.execute("lists.delete_entry", parameters).rowcount == 1
