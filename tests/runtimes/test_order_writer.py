"""The index of the order lasts: exact at first, by slices of time later."""

from pathlib import Path

from taskyard.core import output_index
from taskyard.runtimes.output.order import OrderWriter


def test_alternating_without_end_does_not_fill_it(tmp_path: Path) -> None:
    """An eighth of it is exact; more than it has room for is covered all the same."""
    order = OrderWriter(str(tmp_path))
    pieces = 2 * output_index.MAX_RECORDS
    for number in range(pieces):
        order.add(1 + number % 2, 3)
    assert order.is_coarse
    order.add(1, 5)
    order.close()
    index = (tmp_path / output_index.FILE).read_bytes()
    assert output_index.covered(index) == (pieces // 2 * 3 + 5, pieces // 2 * 3)
    exact = output_index.MAX_RECORDS // 8
    records = list(output_index.decode(index))
    assert [(one.stream, one.size_bytes) for one in records[:exact]] == [(1, 3), (2, 3)] * (
        exact // 2
    )
    assert len(records) < output_index.MAX_RECORDS // 2


def test_it_is_written_in_pieces_and_soon(tmp_path: Path) -> None:
    """One write for many records, but none waits forever."""
    order = OrderWriter(str(tmp_path))
    for number in range(10):
        order.add(1 + number % 2, 3)
    path = tmp_path / output_index.FILE
    assert not path.exists()
    due_in_s = order.due_in_s
    order.flush()
    assert (due_in_s, order.due_in_s) == (0.001, None)
    assert output_index.covered(path.read_bytes()) == (15, 15)
    order.close()
