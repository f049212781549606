"""What a copy needs of the two databases."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from taskyard.store.transfer.tables import Key, Row, Table


class Progress(Struct, frozen=True):
    """How far the copy of a table has come."""

    rows: int = 0
    last: Key | None = None
    """The key of the last row that is there."""
    is_done: bool = False


class StoredFile(Struct, frozen=True):
    """A file, and what it amounts to."""

    name: str
    size_bytes: int
    sha256: str


class Schema(Struct, frozen=True):
    """What made the tables of a store."""

    database: Literal["sqlite", "postgresql"]
    migrations: tuple[str, ...]
    """Their ids, in order."""


class Source(Protocol):
    """A store that is read: one snapshot. Calls block."""

    @property
    def name(self) -> str:
        """What to call it, without secrets."""

    @property
    def schema(self) -> Schema:
        """That of this version, unless it is a backup."""

    def tables(self) -> Mapping[str, Table]:
        """Its tables by name."""

    def count(self, table: Table) -> int:
        """How many rows there are."""

    def rows(self, table: Table, after: Key | None = None) -> Iterator[Row]:
        """The rows behind a key, in order of their keys; in order of bytes, for text."""

    def sequences(self) -> Mapping[str, int]:
        """The last number that each table has given to a row, by the table's name."""

    def check_unused(self) -> None:
        """Raise ``StoreInUse`` if somebody has begun to use it since, where that can be."""


class Target(Protocol):
    """A store in the making. Calls block."""

    @property
    def name(self) -> str:
        """What to call it, without secrets."""

    def tables(self) -> Mapping[str, Table]:
        """Its tables by name."""

    def progress(self) -> Mapping[str, Progress]:
        """How far the copy had come when it was committed last, by the tables' names."""

    def write(self, table: Table, rows: Sequence[Row], progress: Progress) -> None:
        """Insert rows, and keep how far the copy has come: both durably, or neither."""

    def rows(self, table: Table, after: Key | None = None) -> Iterator[Row]:
        """What was written, as :meth:`Source.rows`."""

    def finish(self, sequences: Mapping[str, int]) -> None:
        """Have each table go on behind its last number, and make a store of it."""


class ReadableFiles(Protocol):
    """What belongs to a store besides its rows: output, large answers, sources. Calls block."""

    def names(self) -> Iterator[str]:
        """Of all files, in order."""

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is none, or it is not known yet."""

    def blocks(self, name: str, most: int | None = None) -> Iterator[bytes]:
        """What a file holds; its first bytes if it is longer. Raises ``FileNotFoundError``."""


class FileSet(ReadableFiles, Protocol):
    """The same, to be filled."""

    @property
    def holds_objects(self) -> bool:
        """Whether it takes objects; files of a data directory otherwise."""

    def write(self, name: str, blocks: Iterable[bytes]) -> None:
        """Write a file, all of it or nothing. Raises ``StorageFull``, ``Unavailable``."""

    def sync(self) -> None:
        """Make durable what was written."""
