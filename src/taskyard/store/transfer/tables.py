"""Tables as both databases describe them, and rows as checksums see them."""

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from taskyard.store.transfer.errors import SchemaMismatch

Row = tuple[Any, ...]
Key = tuple[Any, ...]
"""The values of a row in the columns of its table's primary key."""

OF_THE_DATABASE: Final = frozenset(
    {
        "schema_migrations",
        "installation",
        "planes",
        "leadership",
        "changes",
        "transfer",
        "objects",
        "object_chunks",
        "object_orphans",
        "task_count_shards",
        "output_total_shards",
    }
)
"""Tables about the running installation or the database itself, which do not go along."""
_ENCODER: Final = msgspec.msgpack.Encoder()


class Kind(StrEnum):
    """What a column holds, in the words of neither database."""

    INTEGER = "integer"
    REAL = "real"
    TEXT = "text"
    BYTES = "bytes"


class Column(Struct, frozen=True):
    """A column that is stored; those that are computed are left out."""

    name: str
    kind: Kind


class Table(Struct, frozen=True):
    """A table whose rows go along."""

    name: str
    columns: tuple[Column, ...]
    """In order of their names, which is the same everywhere."""
    key: tuple[str, ...]
    """The columns of its primary key, in their order there."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(column.name for column in self.columns)

    def key_of(self, row: Row) -> Key:
        """The key of a row."""
        names = self.names
        return tuple(row[names.index(name)] for name in self.key)


class Checksum(Struct, frozen=True):
    """What all rows of a table amount to."""

    rows: int
    sha256: str


def checksum(rows: Iterable[Row]) -> Checksum:
    """The checksum of rows in order of their keys; the same whatever database they come from.

    Rows are hashed as MessagePack, which writes equal values equally, and values of different
    kinds differently.
    """
    tally = Tally()
    for row in rows:
        tally.add(row)
    return tally.checksum()


class Tally:
    """A checksum in the making."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._count = 0

    def add(self, row: Row) -> None:
        """One more row, in order of the keys."""
        self._digest.update(_ENCODER.encode(row))
        self._count += 1

    def checksum(self) -> Checksum:
        """Of the rows so far."""
        return Checksum(self._count, self._digest.hexdigest())


def common_tables(
    source: Mapping[str, Table], target: Mapping[str, Table], names: tuple[str, str]
) -> list[Table]:
    """The tables of both sides, in order of their names.

    Args:
        source: one side's tables by name.
        target: the other side's.
        names: what the two sides are called.

    Raises:
        SchemaMismatch: they differ.
    """
    for one, other, name in ((source, target, names[1]), (target, source, names[0])):
        for table in one.values():
            if table.name not in other:
                raise SchemaMismatch(f"{name} has no table {table.name}; is it a store at all?")
    for table in source.values():
        if table != target[table.name]:
            raise SchemaMismatch(
                f"the table {table.name} of {names[1]} has other columns than that of {names[0]}; "
                "use the version of Taskyard that made them both"
            )
    return [source[name] for name in sorted(source)]


def encode_key(key: Key) -> bytes:
    """A key, to be kept."""
    return _ENCODER.encode(key)


def decode_key(text: bytes) -> Key:
    """The key that was kept."""
    return tuple(msgspec.msgpack.decode(text))
