import pytest
from benchmarks.rows import Requirement, Row, compared, missing, plain, quantity


@pytest.mark.parametrize(
    ("requirement", "value", "expected"),
    [
        (Requirement("figure", "at least", 5000), 5000, "ok"),
        (Requirement("figure", "at least", 5000), 4999.9, "missed"),
        (Requirement("figure", "at most", 1.3), 1.3, "ok"),
        (Requirement("figure", "at most", 1.3), 1.31, "missed"),
        (Requirement("figure", "under", 20), 20, "missed"),
        (Requirement("figure", "under", 20), 19.9, "ok"),
    ],
)
def test_verdict_on_a_figure(requirement: Requirement, value: float, expected: str) -> None:
    """`at least` and `at most` include their limit, `under` does not."""
    assert plain("n", "w", "ms", [value], requirement).verdict == expected


def test_verdict_takes_the_median_of_the_rounds() -> None:
    """One bad round of three misses nothing."""
    row = plain("n", "w", "/s", [6000, 100, 5500], Requirement("figure", "at least", 5000))
    assert row.verdict == "ok"


def test_verdict_on_a_ratio_ignores_the_figure() -> None:
    """A ratio is held against the yardstick of the same round."""
    need = Requirement("ratio", "at least", 2.3)
    assert compared("n", "w", "/s", [230.0], "y", [100.0], need).verdict == "ok"
    assert compared("n", "w", "/s", [229.0], "y", [100.0], need).verdict == "missed"


def test_row_without_requirement_has_no_verdict() -> None:
    """Rows for information are neither ok nor missed."""
    assert plain("n", "w", "ms", [1.0]).verdict == "-"


def test_missing_part_and_failed_measurement_are_told_apart() -> None:
    """A part that is not installed is `not measured`; an error is `failed`."""
    assert missing("n", "w", "install redis-server").verdict == "not measured"
    assert missing("n", "w", "TimeoutError", failed=True).verdict == "failed"


def test_ratio_requirement_without_a_ratio_is_not_measured() -> None:
    """A figure whose yardstick is missing keeps no promise about the ratio."""
    row = plain("n", "w", "/s", [1.0], Requirement("ratio", "at least", 2))
    assert isinstance(row, Row)
    assert row.verdict == "not measured"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (25000.4, "/s", "25,000/s"),
        (12.34, "ms", "12.3 ms"),
        (1.234, "ms", "1.23 ms"),
        (5, "ms", "5 ms"),
        (5, "", "5"),
    ],
)
def test_quantity_has_the_digits_it_deserves(value: float, unit: str, text: str) -> None:
    """Three digits or so, and the unit as one writes it."""
    assert quantity(value, unit) == text


def test_requirement_reads_as_one_writes_it() -> None:
    """The table shows the limit with its sign."""
    assert Requirement("ratio", "at least", 2.3).text() == "≥ 2.3 x"
    assert Requirement("figure", "at least", 25_000, "/s").text() == "≥ 25,000/s"
    assert Requirement("figure", "under", 20, "ms").text() == "< 20 ms"
