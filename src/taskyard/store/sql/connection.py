"""What the store needs of a database: connections that run named queries in transactions.

Each database has a driver that implements :class:`Connection`, and its own words where the common
queries (``queries/``) are not understood (see ``queries.py``). Everything else about the store is
written once, in this package.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from taskyard.core.errors import TaskyardError

Row = Sequence[Any]
"""Values are ``str``, ``int``, ``float``, ``bytes`` or None, whatever the database."""
Parameters = Sequence[Any] | Mapping[str, Any]
"""For ``?`` in a query, or for its ``:name``."""


class NotAsRemembered(Exception):
    """Rows were not as they were expected to be. The batch is done again, looking first."""


class Answer(Protocol):
    """What a query that was asked will have answered once it is looked at."""

    def fetchone(self) -> Any:
        """The first row; None if there is none."""


class Rows(Protocol):
    """What a query answered."""

    @property
    def rowcount(self) -> int:
        """Rows that were inserted, changed or deleted."""

    def fetchone(self) -> Any:
        """The next row; None if there is none. Untyped, as its columns are the caller's to know."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """All rows that are left, one by one."""


class Connection(Protocol):
    """One connection. Used by one thread at a time.

    What the driver raises in trouble that is nobody's own (a full disk, a lost connection) is of
    the types ``failures`` and passes through all operations to whoever runs the transaction, who
    asks :meth:`trouble` what to tell. What one caller's values are to blame for is raised as
    ``UnicodeEncodeError`` or ``OverflowError``, and leaves the transaction usable.
    """

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What the driver raises."""

    @property
    def is_shared(self) -> bool:
        """Whether others may write to the database at the same time."""

    @property
    def rows_at_once(self) -> int:
        """Rows of one statement of :meth:`write_many` at most."""

    @property
    def keeps_changes(self) -> bool:
        """Whether several processes write to the database, and read there what others changed."""

    @property
    def total_changes(self) -> int:
        """Rows inserted, changed or deleted so far; only compared with itself."""

    def trouble(self, error: Exception) -> TaskyardError:
        """``StorageFull``, ``StoreDamaged`` or ``Unavailable``, for one of ``failures``."""

    def is_conflict(self, error: Exception) -> bool:
        """Whether a transaction failed for others' sake only, and is worth another try at once."""

    def execute(self, name: str, parameters: Parameters = ()) -> Rows:
        """Run the query of this name: its file, a dot, its own name (``tasks.task_by_id``)."""

    def select(self, sql: str, parameters: Parameters = ()) -> Rows:
        """Run a query that was put together from parts every database understands."""

    def text(self, name: str) -> str:
        """The text of a named query, to put others together from."""

    def write_many(self, name: str, rows: Sequence[Row]) -> int:
        """Insert or change rows in order with as few statements as can be; answers how many were.

        A statement costs a fixed time whatever it writes: one for many rows pays that once.
        """

    def change_many(self, name: str, rows: Sequence[Row]) -> list[Any]:
        """As :meth:`write_many`; answers with what the query returns, in no order."""

    def execute_each(self, name: str, parameters: Sequence[Parameters]) -> list[list[Any]]:
        """Run a query several times, in order; answers with the rows of each.

        Waits for the database as rarely as can be.
        """

    def ask(self, name: str, parameters: Parameters = ()) -> Answer:
        """Run a query together with the next one, and look at the answer afterwards."""

    def execute_later(self, name: str, parameters: Parameters = ()) -> None:
        """Run a query before the next one, or the commit; for those whose answer is ignored."""

    def write_later(self, name: str, rows: Sequence[Row]) -> None:
        """As :meth:`write_many`, before the next query or the commit."""

    def write_surely(self, name: str, rows: Sequence[Row]) -> None:
        """As :meth:`write_later`; the commit fails unless as many rows are changed as are given.

        That is a conflict, or :class:`NotAsRemembered` at once: either way the batch is done again.
        """

    def positions(self, count: int) -> Iterator[int]:
        """Positions (``seq``) for so many new tasks, rising; gaps are allowed."""

    def begin(self) -> None:
        """Begin a transaction: one that writes, or sees one snapshot if the connection reads."""

    def commit(self) -> None:
        """End the transaction; what it wrote survives a power cut once this returned."""

    def rollback(self) -> None:
        """Undo the transaction, if there is one. Raises nothing."""

    def savepoint(self, name: str) -> None:
        """Remember the present state of the transaction."""

    def release(self, name: str) -> None:
        """Forget a savepoint."""

    def undo(self, name: str) -> None:
        """Return to a savepoint, and forget it."""

    def give_back(self) -> None:
        """Give unused space back to the file system, a little at a time; inside a transaction."""

    def close(self) -> None:
        """Close it; may be called twice."""


class DiskSpace(Protocol):
    """What whoever writes knows of its disk."""

    def is_short(self) -> bool:
        """Whether only urgent operations may be stored now."""

    def give_up(self) -> bool:
        """Free the room that was kept for urgent operations; False if there is none."""

    def tidy(self, operations: int) -> None:
        """After a commit of so many operations: give back what is not needed."""


class Database(Protocol):
    """Opens connections; is pickled on its way to the store server's process.

    Both methods raise ``StoreDamaged``, ``StorageFull`` and ``Unavailable``.
    """

    def connect(self) -> Connection:
        """A connection that writes."""

    def connect_reading(self) -> Connection:
        """A connection whose transactions see one snapshot each, and cannot write."""

    def disk_space(self, connection: Connection) -> DiskSpace | None:
        """The disk as whoever writes on this connection sees it; None if it is not ours to mind."""
