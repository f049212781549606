"""Copies all rows from a source into a target, goes on where it was killed, and compares."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from taskyard.store.transfer.errors import NotVerified
from taskyard.store.transfer.sides import Progress, Source, Target
from taskyard.store.transfer.tables import Checksum, Row, Table, checksum, common_tables

BATCH_ROWS: Final = 2000
BATCH_BYTES: Final = 4 << 20
"""Of a batch at most, about, unless one row is larger."""


class Step(Struct, frozen=True):
    """How far it is, for whoever watches."""

    phase: str
    """``read``, ``copy`` or ``verify``."""
    table: str
    rows: int
    """Done in this table."""
    total: int
    """In this table; 0 if it is not known."""
    table_number: int = 0
    """Which of the tables this is, from 1."""
    table_count: int = 0
    bytes: int = 0
    """Of texts and contents done in this phase, so far and by this process."""


Watch = Callable[[Step], None]


def copy_rows(source: Source, target: Target, watch: Watch) -> list[Table]:
    """Copy what is missing, batch by batch; returns the tables. Blocks.

    Raises:
        SchemaMismatch: the two sides have other tables or columns.
        TaskyardError: one of the sides failed; what was committed stays.
    """
    tables = common_tables(source.tables(), target.tables(), (source.name, target.name))
    known, size = target.progress(), 0
    for number, table in enumerate(tables, 1):
        progress = known.get(table.name, Progress())
        total = source.count(table)
        watch(Step("copy", table.name, progress.rows, total, number, len(tables), size))
        if progress.is_done:
            continue
        for batch, is_last in batches(source.rows(table, progress.last)):
            last = table.key_of(batch[-1]) if batch else progress.last
            progress = Progress(progress.rows + len(batch), last, is_last)
            target.write(table, batch, progress)
            size += sum(map(size_of, batch))
            watch(Step("copy", table.name, progress.rows, total, number, len(tables), size))
    return tables


def verify(
    tables: Sequence[Table], source: Source, target: Target, watch: Watch
) -> dict[str, Checksum]:
    """Read both sides again and compare them, table by table. Blocks.

    Raises:
        NotVerified: they differ.
    """
    found: dict[str, Checksum] = {}
    for number, table in enumerate(tables, 1):
        watch(Step("verify", table.name, 0, source.count(table), number, len(tables)))
        wanted = checksum(source.rows(table))
        compare(table, wanted, target)
        found[table.name] = wanted
    return found


def compare(table: Table, wanted: Checksum, target: Target) -> None:
    """Raise :class:`NotVerified` unless the target's table has this checksum."""
    there = checksum(target.rows(table))
    if there == wanted:
        return
    what = (
        f"{there.rows} rows instead of {wanted.rows}"
        if there.rows != wanted.rows
        else f"other contents in its {there.rows} rows"
    )
    raise NotVerified(
        f"the table {table.name} of {target.name} has {what}: one of the two was changed "
        "meanwhile, or is damaged; start afresh with --force"
    )


def batches(rows: Iterable[Row]) -> Iterator[tuple[list[Row], bool]]:
    """Rows in batches of bounded size, each with whether it is the last one; at least one."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        # Given out when the next row is there, so that the last one is known for what it is.
        if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield batch, False
            batch, size = [], 0
        batch.append(row)
        size += size_of(row)
    yield batch, True


def size_of(row: Row) -> int:
    """How large a row is, about."""
    return sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
