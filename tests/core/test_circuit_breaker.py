"""The circuit breaker: opens after failures that follow one another, closes by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.availability import REASON_LIMIT, RuntimeStatus, bounded_reason, told
from taskyard.core.circuit_breaker import (
    CIRCUIT_TRANSITIONS,
    Circuit,
    CircuitEvent,
    CircuitRule,
    CircuitState,
)
from taskyard.core.errors import IllegalTransition
from taskyard.core.instants import Instant, after

NOW = Instant(1_000_000)
RULE = CircuitRule(3, 60.0)


def failing(times: int) -> Circuit:
    """A circuit after so many failures."""
    circuit = Circuit(RULE)
    for _ in range(times):
        circuit = circuit.failed(NOW)
    return circuit


def test_it_opens_after_failures_that_follow_one_another() -> None:
    """A success in between begins the count again."""
    assert failing(2).state is CircuitState.CLOSED
    assert failing(2).succeeded().failed(NOW).failed(NOW).state is CircuitState.CLOSED
    opened = failing(3)
    assert (opened.state, opened.open_until) == (CircuitState.OPEN, after(NOW, 60))


def test_it_is_tried_again_after_its_reset_time() -> None:
    """One success closes it, one failure opens it for as long again."""
    opened = failing(3)
    assert opened.at(after(NOW, 59.9)) == opened
    later = after(NOW, 60)
    trying = opened.at(later)
    assert trying.state is CircuitState.HALF_OPEN
    assert trying.succeeded() == Circuit(RULE)
    again = trying.failed(later)
    assert (again.state, again.open_until) == (CircuitState.OPEN, after(later, 60))


def test_nothing_is_let_through_while_it_is_open() -> None:
    """Whoever tries nevertheless has made a mistake, which changes nothing."""
    opened = failing(3)
    with pytest.raises(IllegalTransition, match="a circuit that is open cannot succeed"):
        opened.succeeded()
    with pytest.raises(IllegalTransition):
        opened.failed(NOW)


def test_the_table_knows_every_state_and_leads_out_of_each() -> None:
    """None is forever."""
    assert set(CIRCUIT_TRANSITIONS) == set(CircuitState)
    assert {event for table in CIRCUIT_TRANSITIONS.values() for event in table} == set(CircuitEvent)
    assert all(set(table.values()) - {state} for state, table in CIRCUIT_TRANSITIONS.items())


@given(st.integers(1, 6), st.lists(st.tuples(st.booleans(), st.floats(0, 100)), max_size=60))
def test_it_is_open_exactly_when_it_has_to_be(limit: int, tries: list[tuple[bool, float]]) -> None:
    """Against a count of failures and a time, over any history."""
    circuit, now = Circuit(CircuitRule(limit, 60.0)), NOW
    failures, until = 0, None
    for succeeds, pause in tries:
        now = after(now, pause)
        circuit = circuit.at(now)
        if until is not None and now < until:
            assert circuit.state is CircuitState.OPEN
            continue
        expected = CircuitState.CLOSED if until is None else CircuitState.HALF_OPEN
        assert circuit.state is expected
        if succeeds:
            circuit, failures, until = circuit.succeeded(), 0, None
            continue
        circuit, failures = circuit.failed(now), failures + 1
        until = after(now, 60) if failures >= limit else None
        assert (circuit.state is CircuitState.OPEN) == (until is not None)


def test_reasons_are_one_bounded_line() -> None:
    """Whatever an engine answered."""
    assert bounded_reason("a\n  b\t c ") == "a b c"
    assert bounded_reason("") == "no reason given"
    assert len(bounded_reason("x" * 10_000)) == REASON_LIMIT
    assert told(RuntimeStatus(False, "it is gone", after(NOW, 19.6)), NOW) == (
        "it is gone, tried again in 20 s"
    )
    assert told(RuntimeStatus(False, None, NOW), after(NOW, 5)) == (
        "it is not available, tried again in 0 s"
    )
