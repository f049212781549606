"""Shared transactions: many operations in one commit, each undone alone if it fails.

An operation is a function of the connection. It either returns, or raises one of the project's
errors: then its own savepoint is rolled back and the others in its batch go on. Operations of one
kind that arrive in numbers can be gathered: one call does all of them that are in a batch. A
commit that fails rolls back the whole batch and fails everybody in it.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from taskyard.core.errors import StorageFull, TaskyardError, Unavailable
from taskyard.store.sqlite.errors import translated
from taskyard.store.sqlite.room import Room

T = TypeVar("T")
Item = TypeVar("Item")
Who = TypeVar("Who")
Operation = Callable[[sqlite3.Connection], T]
Gatherer = Callable[[sqlite3.Connection, Sequence[Item]], Sequence[T | TaskyardError]]
"""Does many items at once, and answers for each with its result or with its own failure. It may
raise nothing after its first write."""

BATCH_LIMIT: Final = 512
"""Operations in one transaction at most, so that a commit never takes long."""


class Entry(Generic[Who]):
    """One thing to be done in the next transaction."""

    __slots__ = ("atomic", "gatherer", "item", "operation", "urgent", "who")

    def __init__(
        self,
        who: Who,
        operation: Operation[Any] | None,
        *,
        atomic: bool = True,
        urgent: bool = False,
        gatherer: Gatherer[Any, Any] | None = None,
        item: object = None,
    ) -> None:
        self.who = who
        """Who is told of the outcome."""
        self.operation = operation
        self.atomic = atomic
        self.urgent = urgent
        """Whether it makes room, or tells what has happened: stored also when the disk is full."""
        self.gatherer = gatherer
        self.item = item


Outcome = tuple[Who, Any, BaseException | None]


def commit(
    connection: sqlite3.Connection,
    batch: Sequence[Entry[Who]],
    before_commit: Callable[[sqlite3.Connection], None],
    after_rollback: Callable[[], None],
    room: Room | None = None,
) -> list[Outcome[Who]]:
    """Do a batch in one transaction; an outcome for everybody in it. Raises nothing.

    While the disk is full only what is urgent is done, with the room that was kept for it.

    Args:
        connection: the one that writes; in no transaction.
        batch: done in order.
        before_commit: a last chance to write, such as what the operations gathered.
        after_rollback: told when the whole batch was undone.
        room: of the disk; without it, nothing is kept for what is urgent.
    """
    if room is None:
        return _commit(connection, batch, before_commit, after_rollback)
    outcomes: list[Outcome[Who]] = []
    if room.is_short():
        outcomes, batch = _refused(batch), [entry for entry in batch if entry.urgent]
    done = _commit(connection, batch, before_commit, after_rollback) if batch else []
    urgent = [entry for entry in batch if entry.urgent]
    if urgent and done and isinstance(done[0][2], StorageFull) and room.give_up():
        outcomes += _refused(batch)
        done = _commit(connection, urgent, before_commit, after_rollback)
    room.tidy(connection, len(batch))
    return [*outcomes, *done]


def _refused(batch: Sequence[Entry[Who]]) -> list[Outcome[Who]]:
    """What is not urgent is not stored."""
    text = "the disk is full; nothing was stored. Kills and deletes are, and make room"
    return [(entry.who, None, StorageFull(text)) for entry in batch if not entry.urgent]


def _commit(
    connection: sqlite3.Connection,
    batch: Sequence[Entry[Who]],
    before_commit: Callable[[sqlite3.Connection], None],
    after_rollback: Callable[[], None],
) -> list[Outcome[Who]]:
    try:
        with translated():
            connection.execute("BEGIN IMMEDIATE")
            results = _run_all(connection, batch)
            before_commit(connection)
            connection.execute("COMMIT")
    except BaseException as error:  # noqa: BLE001 - everybody in the batch is told
        if connection.in_transaction:
            connection.rollback()
        after_rollback()
        failure = error if isinstance(error, TaskyardError) else Unavailable(repr(error))
        return [(entry.who, None, failure) for entry in batch]
    return results


def _run_all(connection: sqlite3.Connection, batch: Sequence[Entry[Who]]) -> list[Outcome[Who]]:
    """Run a batch in order; gathered items at the place of the first of their kind."""
    results: list[Outcome[Who]] = []
    gathered: set[Gatherer[Any, Any]] = set()
    for entry in batch:
        if entry.operation is not None:
            outcome = _attempt(connection, entry.operation, entry.atomic)
            results.append((entry.who, *outcome))
        elif entry.gatherer is not None and entry.gatherer not in gathered:
            gathered.add(entry.gatherer)
            alike = [one for one in batch if one.gatherer == entry.gatherer]
            answers = entry.gatherer(connection, [one.item for one in alike])
            for one, answer in zip(alike, answers, strict=True):
                failed = isinstance(answer, TaskyardError)
                results.append((one.who, None, answer) if failed else (one.who, answer, None))
    return results


def _attempt(
    connection: sqlite3.Connection, operation: Operation[Any], atomic: bool
) -> tuple[Any, BaseException | None]:
    """Run one operation; its own failure is an outcome, the driver's failure is everybody's."""
    if not atomic:
        before = connection.total_changes
        try:
            return operation(connection), None
        except sqlite3.Error:
            raise
        except Exception as error:
            if connection.total_changes != before:
                raise Unavailable("the commit was given up") from error
            return None, error
    connection.execute("SAVEPOINT operation")
    try:
        result = operation(connection)
    except sqlite3.Error:
        raise
    except Exception as error:  # noqa: BLE001 - handed to the one who asked
        connection.execute("ROLLBACK TO operation")
        connection.execute("RELEASE operation")
        return None, error
    connection.execute("RELEASE operation")
    return result, None
