"""A few connections to PostgreSQL, used by threads."""

import contextlib
import threading
from collections.abc import Callable
from importlib import resources
from typing import Any, Final, TypeVar

import anyio
import psycopg
from anyio import to_thread

from taskyard.core.errors import StorageFull, StoreDamaged, TaskyardError, Unavailable

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]

_SETTINGS: Final = (
    "SET search_path = taskyard",
    "SET statement_timeout = '60s'",
    "SET lock_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '60s'",
    "SET synchronous_commit = 'on'",
)
"""Options of the connection itself would not pass a pooler."""
_DAMAGED: Final = {"XX001", "XX002", "58P01"}
_AGAIN: Final = {"40001", "40P01"}
_TRIES: Final = 3


def queries(package: str, name: str) -> dict[str, bytes]:
    """The queries of a file by their names; each begins with ``-- name: x``."""
    text = (resources.files(package) / name).read_text(encoding="utf-8")
    _, *parts = text.split("-- name: ")
    found = (part.split("\n", 1) for part in parts)
    return {name.strip(): sql.strip().encode() for name, sql in found}


class Connections:
    """Runs transactions in threads; opens connections when they are needed, and keeps them.

    Args:
        conninfo: where the database is, as libpq takes it.
        most: connections at once.
    """

    def __init__(self, conninfo: str, most: int = 4) -> None:
        self._conninfo = conninfo
        self._limiter = anyio.CapacityLimiter(most)
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Do this in one transaction, in a thread; again if that was undone, such as by a deadlock.

        Raises ``StorageFull``, ``StoreDamaged``, ``Unavailable``, and what ``work`` does.
        """
        # A database that hangs must not keep whoever is told to stop. The thread goes on alone.
        return await to_thread.run_sync(
            self._run, work, limiter=self._limiter, abandon_on_cancel=True
        )

    async def close(self) -> None:
        """Close all connections; nothing can be run any more."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            await to_thread.run_sync(connection.close)

    def _run(self, work: Callable[[Connection], T]) -> T:
        for left in reversed(range(_TRIES)):
            try:
                return self._tried(work)
            except psycopg.Error as error:
                if not left or error.sqlstate not in _AGAIN:
                    raise _trouble(error) from error
        raise AssertionError("unreachable")

    def _tried(self, work: Callable[[Connection], T]) -> T:
        connection = self._begun()
        try:
            done = work(connection)
            connection.commit()
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                connection.rollback()
            raise
        else:
            return done
        finally:
            self._put_back(connection)

    def _begun(self) -> Connection:
        """A connection in a transaction."""
        while (connection := self._kept()) is not None:
            try:
                connection.execute("SELECT 1")
            except psycopg.Error:
                # Lost while nobody used it.
                connection.close()
            else:
                return connection
        connection = psycopg.connect(self._conninfo, application_name="taskyard objects")
        try:
            for setting in _SETTINGS:
                connection.execute(setting)
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    def _kept(self) -> Connection | None:
        with self._lock:
            if self._closed:
                raise Unavailable("the object store is closed")
            return self._idle.pop() if self._idle else None

    def _put_back(self, connection: Connection) -> None:
        with self._lock:
            if not (connection.closed or self._closed):
                self._idle.append(connection)
                return
        connection.close()


def _trouble(error: psycopg.Error) -> TaskyardError:
    said = str(error).strip().split("\n")[0]
    if error.sqlstate == "53100":
        return StorageFull(f"PostgreSQL's disk is full; the object was not stored ({said})")
    if error.sqlstate in _DAMAGED:
        return StoreDamaged(f"an object cannot be read: {said}; restore a backup")
    if error.sqlstate == "42P01":
        return Unavailable("the tables of objects are missing: migrate the database")
    return Unavailable(f"the object store cannot be used: {said}")
