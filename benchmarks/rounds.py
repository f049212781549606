"""Several rounds of one measurement, and what is said of them: median, least and most."""

import statistics
from collections.abc import Sequence

import msgspec


class Summary(msgspec.Struct, frozen=True):
    """A figure over its rounds, in the figure's own unit."""

    median: float
    low: float
    high: float
    rounds: tuple[float, ...]


def summarize(values: Sequence[float]) -> Summary:
    """Median, least and most of at least one value.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no rounds to summarize")
    return Summary(
        median=statistics.median(values), low=min(values), high=max(values), rounds=tuple(values)
    )


def paired_ratio(figures: Sequence[float], yardsticks: Sequence[float]) -> float:
    """The median of figure ÷ yardstick, round by round.

    Both are measured in turns, so a machine that slows down for a while slows both of a pair.

    Raises:
        ValueError: not the same number of rounds, or none, or a yardstick of zero.
    """
    if len(figures) != len(yardsticks) or not figures:
        raise ValueError("ratios need the same number of rounds, at least one")
    if any(value <= 0 for value in yardsticks):
        raise ValueError("a yardstick must be more than zero")
    return statistics.median(a / b for a, b in zip(figures, yardsticks, strict=True))


def percentile(values: Sequence[float], fraction: float) -> float:
    """The smallest value that `fraction` (0 to 1) of all values do not exceed (nearest rank).

    Raises:
        ValueError: there is no value, or the fraction is outside 0 to 1.
    """
    if not values:
        raise ValueError("no values to take a percentile of")
    if not 0 <= fraction <= 1:
        raise ValueError(f"a fraction lies between 0 and 1, not {fraction}")
    ordered = sorted(values)
    # Integer thousandths: 0.99 * 300 must not become 297.00000000000006 and round up.
    rank = -(-round(fraction * 1000) * len(ordered) // 1000)
    return ordered[max(rank, 1) - 1]
