"""How long a worker stays."""

import pytest

from taskyard.core.stay import Stay, why_too_short

HOUR = Stay(lifetime_s=3600)


def test_a_worker_stays_by_default() -> None:
    """And takes whatever it is given."""
    stay = Stay()
    assert stay.left_s(1e9) is None
    assert stay.why_not_taken(1e12, 1e9, 7) is None
    assert stay.why_leaving(1e9, 1e9, 7) is None


@pytest.mark.parametrize(
    ("age_s", "timeout_s", "taken"),
    [(0, 3600, True), (1, 3600, False), (3000, 600, True), (3001, 600, False), (3599, None, True)],
)
def test_what_may_run_longer_than_it_stays_is_not_taken(
    age_s: float, timeout_s: float | None, taken: bool
) -> None:
    """What has no timeout is, as the drain limits it."""
    assert (HOUR.why_not_taken(timeout_s, age_s, 0) is None) == taken


def test_nothing_is_taken_once_the_lifetime_is_over() -> None:
    """And it leaves whether it runs something or not."""
    assert HOUR.left_s(5000) == 0
    assert HOUR.why_not_taken(None, 3600, 0) is not None
    assert HOUR.why_leaving(3600, None, 3) == "its lifetime is over"
    assert HOUR.why_leaving(3599, 3599, 3) is None


def test_an_idle_worker_leaves_after_a_while() -> None:
    """Not one that has something to run."""
    stay = Stay(idle_exit_s=300)
    assert stay.why_leaving(1000, None, 1) is None
    assert stay.why_leaving(1000, 299, 1) is None
    assert stay.why_leaving(300, 300, 0) == "it had nothing to run for 300 s"


def test_one_attempt_is_taken_and_waited_for() -> None:
    """However long it takes, and however long it takes to come."""
    stay = Stay(once=True)
    assert stay.why_leaving(1e6, 1e6, 0) is None
    assert stay.why_not_taken(None, 5, 0) is None
    assert stay.why_not_taken(None, 6, 1) is not None
    assert stay.why_leaving(7, None, 1) is None
    assert stay.why_leaving(8, 0.0, 1) == "it has had its attempt"


def test_the_reason_has_both_numbers() -> None:
    """For people."""
    assert why_too_short(40, 60) == "it may run for 60 s, and its worker leaves in 40 s"
    assert why_too_short(60, 60) is None
