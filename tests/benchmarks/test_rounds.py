import pytest
from benchmarks.rounds import paired_ratio, percentile, summarize


def test_summary_has_the_median_the_least_and_the_most() -> None:
    """The median of an even number of rounds lies between the two in the middle."""
    summary = summarize([4.0, 1.0, 2.0, 3.0])
    assert (summary.median, summary.low, summary.high) == (2.5, 1.0, 4.0)
    assert summary.rounds == (4.0, 1.0, 2.0, 3.0)


def test_no_rounds_are_refused() -> None:
    """A figure without a round is a mistake, not zero."""
    with pytest.raises(ValueError, match="no rounds"):
        summarize([])


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_percentile_is_the_nearest_rank(fraction: float, expected: int) -> None:
    """Of 1 to 100, the percentile is its own number, in whichever order they come."""
    assert percentile(list(range(100, 0, -1)), fraction) == expected


def test_percentile_does_not_round_up_a_whole_rank() -> None:
    """99 % of 300 values is the 297th, though 0.99 * 300 is a little more in binary."""
    assert percentile(list(range(1, 301)), 0.99) == 297


def test_percentile_of_one_value_is_that_value() -> None:
    """A single measurement is its own p50 and p99."""
    assert percentile([7.0], 0.5) == percentile([7.0], 0.99) == 7.0


def test_percentile_refuses_nothing_and_nonsense() -> None:
    """No values, or a fraction given in per cent, is an error."""
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        percentile([1.0], 99)


def test_ratio_is_taken_round_by_round() -> None:
    """A machine twice as slow in one round changes both of the pair, and not the ratio."""
    assert paired_ratio([10.0, 5.0, 12.0], [5.0, 2.5, 6.0]) == 2.0


@pytest.mark.parametrize(("figures", "yardsticks"), [([1.0], []), ([], []), ([1.0], [0.0])])
def test_ratio_refuses_unpaired_rounds_and_zero(
    figures: list[float], yardsticks: list[float]
) -> None:
    """Every round has its yardstick, and that is more than zero."""
    with pytest.raises(ValueError, match=r"rounds|zero"):
        paired_ratio(figures, yardsticks)
