"""Back-offs stay inside their bounds, whatever a policy says."""

import math

from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.backoff import Backoff, RetryPolicy, backoff_s, delay_s

POLICIES = st.builds(
    lambda low, high, factor, jitter: RetryPolicy(
        1000, min(low, high), max(low, high), factor, jitter
    ),
    st.floats(0, 2_592_000),
    st.floats(0, 2_592_000),
    st.floats(1, 100),
    st.floats(0, 1),
)


@given(POLICIES, st.integers(1, 1000), st.floats(0, 1))
def test_a_delay_never_leaves_its_bounds(policy: RetryPolicy, failed: int, chance: float) -> None:
    """Finite, not negative, not above the maximum, and inside the jitter around the exact value."""
    delay = backoff_s(policy, failed, chance)
    assert math.isfinite(delay)
    assert 0 <= delay <= policy.backoff_max_s
    middle = backoff_s(policy, failed, 0.5)
    assert delay <= middle * (1 + policy.jitter) * (1 + 1e-9) + 1e-9
    assert delay >= min(middle * (1 - policy.jitter), policy.backoff_max_s) * (1 - 1e-9) - 1e-9


@given(POLICIES, st.integers(1, 999))
def test_delays_do_not_shrink(policy: RetryPolicy, failed: int) -> None:
    """Each further failure waits at least as long, jitter aside."""
    assert backoff_s(policy, failed, 0.5) <= backoff_s(policy, failed + 1, 0.5)


def test_delays_double_up_to_the_maximum() -> None:
    """The documented formula, number by number."""
    policy = RetryPolicy(10, 1.0, 10.0, 2.0, 0.1)
    assert [backoff_s(policy, n, 0.5) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    assert backoff_s(policy, 1, 0.0) == 0.9
    assert backoff_s(policy, 1, 1.0) == 1.1


@given(
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.integers(-1, 10**6),
    st.floats(0, 1000),
    st.floats(0, 1),
)
def test_a_plain_delay_never_leaves_its_bounds(
    first: float, longest: float, failures: int, factor: float, share: float
) -> None:
    """Never negative, never above the longest; the first one after one failure."""
    assert 0 <= delay_s(first, longest, failures, max(factor, 1e-3)) <= longest
    assert delay_s(first * share, first, 1, factor) == first * share


def test_delays_of_a_loop_double_until_it_works_again() -> None:
    """Each twice the one before, up to the longest; a success starts over."""
    backoff = Backoff(0.1, 0.5)
    assert [backoff.delay_s() for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    backoff.reset()
    assert backoff.next_s == 0.1
    assert [backoff.delay_s(), backoff.next_s] == [0.1, 0.2]
