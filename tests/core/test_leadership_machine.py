# ruff: noqa: D102 - rules tell by their names
"""Several planes, one store: whatever is paused, lost or late, one term's decisions count."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from taskyard.core.ids import PlaneId, Term
from taskyard.core.instants import Instant, after
from taskyard.core.leadership import (
    HOLD_S,
    LEAD_S,
    RENEW_S,
    Hold,
    LeaderState,
    PlaneView,
    claimed,
    next_claim_s,
)

PLANES = 3
TAKEOVER_S = 4.0
INDEX = st.integers(0, PLANES - 1)
TICK_S = 0.25


@dataclass
class Simulated:
    """One plane, its clock, and what is on its way between it and the store."""

    view: PlaneView
    rate: float
    offset: float
    pause_until: float = 0.0
    cut_until: float = 0.0
    asks_at: float = 0.0
    slow_until: float = 0.0
    delay_s: float = 0.0
    """How long answers take until then."""
    waiting: list[tuple[float, float, Hold]] = field(default_factory=list)
    """Answers: when they arrive, when they were asked for (its clock), what they say."""
    plans: list[tuple[float, Term]] = field(default_factory=list)
    """Decisions on their way to the store: when they arrive, and their term."""
    dead: bool = False

    def clock(self, now: float) -> float:
        """Its monotonic clock, which runs a little fast or slow and began anywhere."""
        return self.offset + now * self.rate


class Planes(RuleBasedStateMachine):
    """Time goes in ticks; a plane that is paused does nothing, and wakes in the middle of it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.hold: Hold | None = None
        rates = (1.0, 1.02, 0.98)
        self.planes = [
            Simulated(PlaneView(PlaneId(f"p{number}")), rates[number], 1000.0 * number)
            for number in range(PLANES)
        ]
        self.accepted: list[Term] = []
        self.undisturbed_since = 0.0
        self.led_at = 0.0

    @property
    def at(self) -> Instant:
        return after(Instant(0), self.now)

    @rule(seconds=st.floats(0, 12))
    def time_passes(self, seconds: float) -> None:
        self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            for plane in self.planes:
                self._step(plane)
            self._check_takeover()
            self._check_leaders()

    @rule(index=INDEX, seconds=st.floats(0.1, 20))
    def is_paused(self, index: int, seconds: float) -> None:
        self.planes[index].pause_until = self.now + seconds
        self._disturbed(seconds)

    @rule(index=INDEX, seconds=st.floats(0.1, 10))
    def cannot_reach_the_store(self, index: int, seconds: float) -> None:
        self.planes[index].cut_until = self.now + seconds
        self._disturbed(seconds)

    @rule(index=INDEX, seconds=st.floats(0.5, 10), delay_s=st.floats(0, 6))
    def is_answered_slowly(self, index: int, seconds: float, delay_s: float) -> None:
        self.planes[index].slow_until = self.now + seconds
        self.planes[index].delay_s = delay_s
        self._disturbed(seconds + delay_s)

    @rule(index=INDEX)
    def dies(self, index: int) -> None:
        if sum(not one.dead for one in self.planes) > 1:
            self.planes[index].dead = True

    @rule(undisturbed_s=st.floats(0, 10))
    def the_leader_dies(self, undisturbed_s: float) -> None:
        self.pass_time(undisturbed_s)
        for index, plane in enumerate(self.planes):
            if plane.view.leads(plane.clock(self.now)):
                self.dies(index)
        self.pass_time(2 * TAKEOVER_S)

    @rule(index=INDEX, delay_s=st.floats(0, 15))
    def decides(self, index: int, delay_s: float) -> None:
        """A plane that believes to lead sends a plan, which takes as long as it likes."""
        plane = self.planes[index]
        if plane.view.term is not None and not plane.dead:
            plane.plans.append((self.now + delay_s, plane.view.term))

    @rule(index=INDEX)
    def resigns(self, index: int) -> None:
        plane = self.planes[index]
        if plane.view.leads(plane.clock(self.now)) and not plane.dead:
            plane.view = plane.view.lapsed()
            if self.hold is not None and self.hold.plane_id == plane.view.plane_id:
                self.hold = Hold(self.hold.plane_id, self.hold.term, self.at)

    @invariant()
    def terms_are_accepted_in_order(self) -> None:
        """Once a later term's plan was accepted, no earlier one's is."""
        assert self.accepted == sorted(self.accepted)

    def _step(self, plane: Simulated) -> None:
        for plan in [one for one in plane.plans if one[0] <= self.now]:
            # It was sent; whether its plane lives does not matter any more.
            plane.plans.remove(plan)
            if self.hold is not None and plan[1] == self.hold.term:
                self.accepted.append(plan[1])
        if plane.dead or self.now < plane.pause_until:
            return
        for answer in [one for one in plane.waiting if one[0] <= self.now]:
            plane.waiting.remove(answer)
            plane.view = plane.view.answered(answer[2], answer[1], plane.clock(self.now))
        plane.view = plane.view.at(plane.clock(self.now))
        if plane.view.state is LeaderState.LOST:
            plane.view = plane.view.left()
        if self.now >= plane.asks_at and not plane.waiting:
            self._ask(plane)

    def _ask(self, plane: Simulated) -> None:
        plane.asks_at = self.now + RENEW_S
        if self.now < plane.cut_until:
            return
        before = self.hold
        self.hold = claimed(before, plane.view.plane_id, plane.view.term, self.at)
        assert before is None or self.hold.term >= before.term
        delay_s = plane.delay_s if self.now < plane.slow_until else 0.0
        answer = (self.now + delay_s, plane.clock(self.now), self.hold)
        plane.waiting.append(answer)
        plane.asks_at = self.now + next_claim_s(self.hold, plane.view.plane_id, self.at)

    def _disturbed(self, seconds: float) -> None:
        self.undisturbed_since = max(self.undisturbed_since, self.now + seconds + TAKEOVER_S)

    def _check_leaders(self) -> None:
        """At most one believes to lead, by its clock."""
        leaders = [one for one in self.planes if one.view.leads(one.clock(self.now))]
        assert len(leaders) <= 1

    def _check_takeover(self) -> None:
        """With a plane that works undisturbed, nobody leads for 4 s at most."""
        alive = [one for one in self.planes if not one.dead]
        is_led = any(one.view.leads(one.clock(self.now)) for one in alive)
        if is_led or self.now < self.undisturbed_since:
            self.led_at = self.now
        assert self.now - self.led_at < TAKEOVER_S


Planes.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestPlanes = Planes.TestCase


def test_clocks_may_differ_by_a_quarter() -> None:
    """What lies between both times is what drift may use up."""
    assert LEAD_S * 1.25 < HOLD_S
