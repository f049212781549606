"""What a million waiting tasks cost on PostgreSQL: `flat`, with two databases of one server."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import server
from benchmarks.figures import Bench, Lines, flat, postgresql
from benchmarks.peers import brokers
from benchmarks.rows import Row

NAME = "flat_postgresql"
LINES: Lines = flat.LINES


def measure(bench: Bench) -> Sequence[Row]:
    """See `flat`. Both share the database server, whose memory is not counted."""
    with brokers.postgresql(bench.data) as uri:
        configuration = ("--config", str(postgresql.configuration(bench)))
        few = postgresql.new_database(uri, "few")
        many = postgresql.new_database(uri, "many")
        with (
            server.running(bench.data, "--database", few, *configuration) as calm,
            server.running(bench.data, "--database", many, *configuration) as busy,
        ):
            directory = bench.data / "postgresql" / "base"
            return flat.compare(NAME, bench, calm, busy, lambda: _size(directory))


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*/*"))
