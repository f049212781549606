"""What the tables share: the writer, the readers, and the ledger."""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from taskyard.store.sqlite.database import Readers
from taskyard.store.sqlite.ledger import Ledger
from taskyard.store.sqlite.writer import Writer

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]


class Session:
    """An open store: how to write to it and how to read from it."""

    def __init__(self, writer: Writer, readers: Readers, ledger: Ledger) -> None:
        self.writer = writer
        self.readers = readers
        self.ledger = ledger
        self.last_seq = 0
        """Position of the newest task; the writer's thread alone reads and moves it."""

    async def write(self, operation: Operation[T]) -> T:
        """Run an operation of its own; when it raises, nothing of it is left."""

        def undoing(connection: sqlite3.Connection) -> T:
            before = self.ledger.mark()
            try:
                return operation(connection)
            except BaseException:
                self.ledger.back_to(before)
                raise

        return await self.writer.run(undoing)

    async def read(self, operation: Operation[T]) -> T:
        """Run a reading operation on a snapshot of what is committed."""
        return await self.readers.run(operation)
