"""Outputs that are told of each write: what happens while it is much, and when nobody can tell."""

import os
from pathlib import Path

import anyio
import pytest

from taskyard.core import output_index
from taskyard.runtimes.function import instance_output
from taskyard.runtimes.function.instance_output import MemberOutput
from taskyard.runtimes.function.written_outputs import WrittenOutputs
from taskyard.runtimes.output import writes

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


class _Printer:
    """Writes numbered lines to both pipes of an output."""

    def __init__(self, output: MemberOutput) -> None:
        self._ends = output.ends(None)
        self.count = 0

    def write(self, count: int) -> None:
        for _ in range(count):
            os.write(self._ends[self.count % 2].fileno(), b"%d\n" % (self.count % 10))
            self.count += 1

    def close(self) -> None:
        for end in self._ends:
            end.close()


def _runs(printed: dict[str, bytes] | None) -> list[tuple[int, int]]:
    assert printed is not None
    return [(one.stream, one.size_bytes) for one in output_index.decode(printed["order"])]


EXACT = [(1, 2), (2, 2)]


async def test_a_flood_loses_its_order_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call has an order again."""
    monkeypatch.setattr(instance_output, "_PERIOD_WRITES", 10)
    written = WrittenOutputs()
    output = MemberOutput(written=written)
    printer = _Printer(output)
    try:
        output.begin(tmp_path / "a", 1 << 20)
        for count in (2, 12, 14, 4, 4):
            printer.write(count)
            await anyio.sleep(0.01)
        runs = _runs(output.finish())
        assert runs[:28] == EXACT * 14
        assert sum(size for _, size in runs) == 2 * printer.count
        assert len(runs) < 36
        output.begin(tmp_path / "b", 1 << 20)
        printer.write(6)
        assert _runs(output.finish()) == EXACT * 3
    finally:
        printer.close()
        output.close()
        written.close()


async def test_who_prints_in_tiny_pieces_waits_a_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order holds meanwhile."""
    monkeypatch.setattr(instance_output, "_PERIOD_TURNS", 3)
    written = WrittenOutputs()
    output = MemberOutput(written=written)
    printer = _Printer(output)
    try:
        output.begin(tmp_path / "a", 1 << 20)
        for _ in range(30):
            printer.write(4)
            await anyio.sleep(0.0005)
        assert _runs(output.finish()) == EXACT * 60
    finally:
        printer.close()
        output.close()
        written.close()


async def test_without_signals_the_order_is_a_guess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has none, or no room for more of them."""

    def refuse(*_: object) -> None:
        raise OSError(22, "no")

    monkeypatch.setattr(writes.WriteSignals, "listen", refuse)
    written = WrittenOutputs()
    output = MemberOutput(written=written)
    printer = _Printer(output)
    try:
        output.begin(tmp_path / "a", 1 << 20)
        printer.write(4)
        assert _runs(output.finish()) == [(1, 4), (2, 4)]
    finally:
        printer.close()
        output.close()
        written.close()


async def test_missed_signals_cost_the_order_only(tmp_path: Path) -> None:
    """The kernel says when it had no room for them; what was printed is all there."""
    written = WrittenOutputs()
    output = MemberOutput(written=written)
    printer = _Printer(output)
    try:
        output.begin(tmp_path / "a", 1 << 20)
        printer.write(4)
        output.is_unsure = True
        assert sum(size for _, size in _runs(output.finish())) == 8
        printer.write(4)
        assert _runs(output.finish()) == EXACT * 2
    finally:
        printer.close()
        output.close()
        written.close()
