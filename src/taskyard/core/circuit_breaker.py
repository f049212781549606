"""A circuit breaker: stops asking what fails again and again, and asks once more after a while.

Closed, it lets everything through and counts failures that follow one another; too many open it.
Open, it lets nothing through until its reset time is over. Half-open, it lets one try through,
whose outcome closes it or opens it again. It closes by itself; nobody has to reset it.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.errors import IllegalTransition
from taskyard.core.instants import Instant, after


class CircuitState(StrEnum):
    """Whether tries are let through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CircuitEvent(StrEnum):
    """What happens to a circuit."""

    SUCCEED = "succeed"
    FAIL = "fail"
    """A failure, fewer than too many."""
    EXCEED = "exceed"
    """A failure, and with it too many."""
    REST = "rest"
    """The reset time is over."""


_S, _E = CircuitState, CircuitEvent
CIRCUIT_TRANSITIONS: Final[dict[CircuitState, dict[CircuitEvent, CircuitState]]] = {
    _S.CLOSED: {_E.SUCCEED: _S.CLOSED, _E.FAIL: _S.CLOSED, _E.EXCEED: _S.OPEN},
    _S.OPEN: {_E.REST: _S.HALF_OPEN},
    _S.HALF_OPEN: {_E.SUCCEED: _S.CLOSED, _E.FAIL: _S.OPEN, _E.EXCEED: _S.OPEN},
}


class CircuitRule(Struct, frozen=True):
    """When a circuit opens, and for how long."""

    max_failures: int = 5
    """Failures that follow one another and open it; at least 1."""
    reset_s: float = 60.0
    """Seconds until it is tried again."""


class Circuit(Struct, frozen=True):
    """One circuit at one moment. Every method answers with another one."""

    rule: CircuitRule = CircuitRule()
    state: CircuitState = CircuitState.CLOSED
    failures: int = 0
    """Failures since the last success."""
    open_until: Instant | None = None
    """When it may be tried again; only while it is open."""

    def at(self, now: Instant) -> "Circuit":
        """The circuit at this moment: half-open once its reset time is over.

        Longer than that it never waits: then the clock was set back.
        """
        if self.open_until is None or now < self.open_until <= after(now, self.rule.reset_s):
            return self
        return replace(self, state=self._next(CircuitEvent.REST), open_until=None)

    def succeeded(self) -> "Circuit":
        """A try succeeded. Raises :class:`IllegalTransition` while it is open."""
        return Circuit(self.rule, self._next(CircuitEvent.SUCCEED))

    def failed(self, now: Instant) -> "Circuit":
        """A try failed. Raises :class:`IllegalTransition` while it is open."""
        failures = self.failures + 1
        exceeds = failures >= self.rule.max_failures
        state = self._next(CircuitEvent.EXCEED if exceeds else CircuitEvent.FAIL)
        is_open = state is CircuitState.OPEN
        until = after(now, self.rule.reset_s) if is_open else None
        return Circuit(self.rule, state, failures, until)

    def _next(self, event: CircuitEvent) -> CircuitState:
        try:
            return CIRCUIT_TRANSITIONS[self.state][event]
        except KeyError:
            raise IllegalTransition("circuit", self.state, event) from None
