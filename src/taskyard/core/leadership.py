"""Who leads several control planes: the rule by which terms are given, and one plane's view.

1. The store keeps one *hold*: a plane, a term, and until when. It is judged by the store's clock
   alone (:func:`claimed`). Whoever holds extends it; once it has run out, whoever asks first has
   the next term.
2. A plane cannot know when its hold runs out: answers take time, and it may be stopped at any
   instruction. It leads for :data:`LEAD_S` from the moment at which it *asked*, by its own
   monotonic clock. That is less than :data:`HOLD_S`, so that it has stopped when another begins.
3. What a plane does when it wakes too late to know is refused: whatever a leader decides is
   committed on condition of its term.
4. A plane that leads again, even one that nobody took over from, does so in a new term. What it
   decided before, and is still on its way, then changes nothing behind the back of the state
   that it has loaded since.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.errors import IllegalTransition
from taskyard.core.ids import PlaneId, Term
from taskyard.core.instants import Instant, after, seconds_between

FOLLOW_S: Final = 1.0
"""How often a plane that follows asks for the hold, which is its sign of life too."""
RENEW_S: Final = 0.5
"""How often the leader extends its hold. Often, as the hold is what a death costs: four renewals
may fail, or one may take two seconds, before a leader that is merely slow has to stop."""
LEAD_S: Final = 2.5
"""For how long a plane leads after it asked. The difference to :data:`HOLD_S` is what the clocks
of two machines may drift apart meanwhile: a quarter."""
HOLD_S: Final = 3.2
"""For how long the store keeps everybody else out."""


class Hold(Struct, frozen=True):
    """The right to lead, as the store keeps it."""

    plane_id: PlaneId
    term: Term
    expires_at: Instant
    """By the store's clock. Resigned: when it was."""

    def holds(self, now: Instant) -> bool:
        """Whether everybody else is kept out at this moment of the store's clock."""
        return now < self.expires_at


def claimed(
    hold: Hold | None, plane_id: PlaneId, term: Term | None, now: Instant, hold_s: float = HOLD_S
) -> Hold:
    """The hold after a plane asked for it: its own, or that of another, unchanged.

    Args:
        hold: as it was; None if nobody ever led.
        plane_id: who asks.
        term: in which it leads; None if it does not.
        now: by the store's clock.
        hold_s: for how long.
    """
    until = after(now, hold_s)
    if hold is None:
        return Hold(plane_id, Term(1), until)
    is_own = hold.plane_id == plane_id
    if is_own and hold.term == term and hold.holds(now):
        return replace(hold, expires_at=until)
    if is_own or not hold.holds(now):
        return Hold(plane_id, Term(hold.term + 1), until)
    return hold


class LeaderState(StrEnum):
    """Whether a plane leads, in its own view."""

    FOLLOWING = "following"
    LEADING = "leading"
    LOST = "lost"
    """It does not lead any more, and has not yet stopped all that only a leader does."""


class LeaderEvent(StrEnum):
    """What happens to a plane."""

    WIN = "win"
    """The store gave it a term."""
    RENEW = "renew"
    """The store extended its term."""
    YIELD = "yield"
    """Another one holds."""
    LAPSE = "lapse"
    """It could not renew in time, or resigns."""
    LEAVE = "leave"
    """Everything that only a leader does has stopped."""


_S, _E = LeaderState, LeaderEvent
LEADER_TRANSITIONS: Final[dict[LeaderState, dict[LeaderEvent, LeaderState]]] = {
    _S.FOLLOWING: {_E.WIN: _S.LEADING, _E.YIELD: _S.FOLLOWING},
    _S.LEADING: {_E.RENEW: _S.LEADING, _E.YIELD: _S.LOST, _E.LAPSE: _S.LOST},
    _S.LOST: {_E.LEAVE: _S.FOLLOWING},
}


class PlaneView(Struct, frozen=True):
    """Whether a plane leads, in its own view at one moment. Every method answers with another one.

    Moments are seconds of the plane's monotonic clock.
    """

    plane_id: PlaneId
    state: LeaderState = LeaderState.FOLLOWING
    term: Term | None = None
    """In which it leads; None unless it does."""
    leads_until: float = 0.0
    """When it stops to, unless it renews before."""
    led: Term = Term(0)
    """The last term in which it led. It never does so again in that one or an earlier one."""

    def leads(self, now: float) -> bool:
        """Whether it leads at this moment."""
        return self.state is LeaderState.LEADING and now < self.leads_until

    def at(self, now: float) -> "PlaneView":
        """The view at this moment: lost once it could not renew in time."""
        if self.state is LeaderState.LEADING and not self.leads(now):
            return self.lapsed()
        return self

    def answered(self, hold: Hold, asked_at: float, now: float) -> "PlaneView":
        """The store answered with this hold, which it was asked for at ``asked_at``.

        An answer that took too long gives nothing: the hold may have run out on its way.
        """
        if self.at(now).state is LeaderState.LOST:
            return self.at(now)
        until = asked_at + LEAD_S
        if self.state is LeaderState.LEADING:
            if (hold.plane_id, hold.term) != (self.plane_id, self.term):
                return self._moved(LeaderEvent.YIELD)
            until = max(until, self.leads_until)
            return replace(self._moved(LeaderEvent.RENEW), term=hold.term, leads_until=until)
        if hold.plane_id != self.plane_id or hold.term <= self.led or now >= until:
            return self._moved(LeaderEvent.YIELD)
        won = self._moved(LeaderEvent.WIN)
        return replace(won, term=hold.term, leads_until=until, led=hold.term)

    def lapsed(self) -> "PlaneView":
        """It leads no more. Raises :class:`IllegalTransition` unless it does."""
        return self._moved(LeaderEvent.LAPSE)

    def left(self) -> "PlaneView":
        """What only a leader does has stopped. Raises :class:`IllegalTransition` unless lost."""
        return self._moved(LeaderEvent.LEAVE)

    def _moved(self, event: LeaderEvent) -> "PlaneView":
        try:
            state = LEADER_TRANSITIONS[self.state][event]
        except KeyError:
            raise IllegalTransition("control plane", self.state, event) from None
        return PlaneView(self.plane_id, state, led=self.led)


def next_claim_s(hold: Hold, plane_id: PlaneId, now: Instant) -> float:
    """Seconds until a plane asks again: at the latest when another's hold has run out.

    Args:
        hold: what the store answered.
        plane_id: who asks.
        now: by the store's clock, when it answered.
    """
    if hold.plane_id == plane_id:
        return RENEW_S
    return min(FOLLOW_S, max(0.0, seconds_between(now, hold.expires_at)))
