"""Leadership: at most one plane's decisions count, and another takes over soon after a death."""

import pytest

from taskyard.core.errors import IllegalTransition
from taskyard.core.ids import PlaneId, Term
from taskyard.core.instants import Instant, after
from taskyard.core.leadership import (
    FOLLOW_S,
    HOLD_S,
    LEAD_S,
    LEADER_TRANSITIONS,
    RENEW_S,
    Hold,
    LeaderEvent,
    LeaderState,
    PlaneView,
    claimed,
    next_claim_s,
)

NOW = Instant(1_000_000)
A, B = PlaneId("a"), PlaneId("b")
FIRST = claimed(None, A, None, NOW)


def test_the_first_who_asks_leads() -> None:
    """In term 1, for as long as a hold lasts."""
    assert Hold(A, Term(1), after(NOW, HOLD_S)) == FIRST


def test_others_are_kept_out_until_the_hold_runs_out() -> None:
    """Then the next one has the next term."""
    just_before = Instant(FIRST.expires_at - 1)
    assert claimed(FIRST, B, None, just_before) == FIRST
    taken = claimed(FIRST, B, None, FIRST.expires_at)
    assert taken == Hold(B, Term(2), after(FIRST.expires_at, HOLD_S))


def test_whoever_leads_extends_its_term() -> None:
    """As often as it likes, while it lasts."""
    later = after(NOW, 1)
    assert claimed(FIRST, A, Term(1), later) == Hold(A, Term(1), after(later, HOLD_S))


@pytest.mark.parametrize("term", [None, Term(0), Term(2)])
def test_a_plane_that_lost_its_view_begins_a_new_term(term: Term | None) -> None:
    """At once, as it keeps out nobody but itself."""
    assert claimed(FIRST, A, term, after(NOW, 1)).term == 2


def test_a_term_that_ran_out_is_never_extended() -> None:
    """Not even by the one who had it: another may have been about to take over."""
    assert claimed(FIRST, A, Term(1), FIRST.expires_at).term == 2


def test_a_plane_leads_from_when_it_asked() -> None:
    """However long the answer took."""
    view = PlaneView(A).answered(FIRST, 10.0, 11.5)
    assert (view.term, view.leads_until) == (1, 10.0 + LEAD_S)
    assert view.leads(10.0 + LEAD_S - 0.001)
    assert not view.leads(10.0 + LEAD_S)


def test_an_answer_that_took_too_long_gives_nothing() -> None:
    """The hold may have run out on its way."""
    assert PlaneView(A).answered(FIRST, 10.0, 10.0 + LEAD_S) == PlaneView(A)


def test_a_plane_that_could_not_renew_stops_by_itself() -> None:
    """Before the store lets another one in, and whatever a late answer says."""
    view = PlaneView(A).answered(FIRST, 10.0, 10.0)
    lost = view.at(10.0 + LEAD_S)
    assert (lost.state, lost.term) == (LeaderState.LOST, None)
    assert view.answered(FIRST, 12.9, 13.0) == lost
    assert lost.answered(FIRST, 13.0, 13.0) == lost
    assert LEAD_S < HOLD_S


def test_a_renewal_never_shortens_the_time() -> None:
    """Answers may come in another order than they were asked for."""
    view = PlaneView(A).answered(FIRST, 10.0, 10.0)
    assert view.answered(FIRST, 9.0, 10.5).leads_until == 10.0 + LEAD_S
    assert view.answered(FIRST, 11.0, 11.0).leads_until == 11.0 + LEAD_S


@pytest.mark.parametrize("hold", [Hold(B, Term(2), NOW), Hold(A, Term(2), NOW)])
def test_a_leader_yields_to_another_term(hold: Hold) -> None:
    """Another plane's, or one that it was given without knowing."""
    view = PlaneView(A).answered(FIRST, 10.0, 10.0)
    assert view.answered(hold, 10.5, 10.5).state is LeaderState.LOST


def test_a_plane_that_lost_leads_again_only_after_it_has_left() -> None:
    """Until then parts of it still run."""
    lost = PlaneView(A).answered(FIRST, 10.0, 10.0).lapsed()
    following = lost.left()
    assert following == PlaneView(A, led=Term(1))
    assert following.answered(Hold(A, Term(2), NOW), 20.0, 20.0).leads(20.0)


def test_a_late_answer_brings_no_term_back() -> None:
    """It was asked for before the plane left; another may have led since."""
    following = PlaneView(A).answered(FIRST, 10.0, 10.0).lapsed().left()
    assert following.answered(FIRST, 11.0, 11.5) == following


def test_what_does_not_happen_in_a_state_is_refused() -> None:
    """And changes nothing."""
    with pytest.raises(IllegalTransition, match="a control plane that is following cannot lapse"):
        PlaneView(A).lapsed()
    with pytest.raises(IllegalTransition):
        PlaneView(A).left()


def test_the_table_knows_every_state_and_leads_out_of_each() -> None:
    """None is forever, and every event happens somewhere."""
    assert set(LEADER_TRANSITIONS) == set(LeaderState)
    for state, events in LEADER_TRANSITIONS.items():
        assert set(events.values()) - {state}
    assert {event for events in LEADER_TRANSITIONS.values() for event in events} == set(LeaderEvent)


def test_a_follower_asks_at_the_moment_at_which_the_hold_runs_out() -> None:
    """And every second before; the leader extends its own twice as often."""
    assert next_claim_s(FIRST, A, NOW) == RENEW_S
    assert next_claim_s(FIRST, B, NOW) == FOLLOW_S
    assert next_claim_s(FIRST, B, after(NOW, HOLD_S - 0.25)) == 0.25
    assert next_claim_s(FIRST, B, after(NOW, 60)) == 0.0
