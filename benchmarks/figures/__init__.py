"""The figures, one module each, in the order they are measured.

A module has a `NAME` (what `--only` takes), `LINES` (every row it can produce, with what is
required, so that a row is in the table even when it could not be measured) and `measure(bench)`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from benchmarks.rows import Requirement, Row
from benchmarks.scale import Scale
from benchmarks.yardsticks import Peers

Lines = Mapping[str, Requirement | None]


class Bench(msgspec.Struct, frozen=True):
    """What a figure is given: how much to measure, the peers, and where data directories go."""

    scale: Scale
    peers: Peers
    data: Path


class Figure(Protocol):
    """One module of this package."""

    NAME: str
    LINES: Lines

    def measure(self, bench: Bench) -> Sequence[Row]:
        """Measure; a row for every line."""
        ...
