"""What every store promises of leadership: one holds, by the store's clock, in terms that grow."""

from functools import partial
from typing import Any

import pytest
from racing import Clients, answers

from eventually import eventually_async
from taskyard.core.errors import NotFound
from taskyard.core.ids import PlaneId, Term
from taskyard.core.instants import SECOND, Instant, seconds_between
from taskyard.core.leadership import HOLD_S
from taskyard.ports.leadership import Claimed, Plane

pytestmark = pytest.mark.anyio
A, B = PlaneId("plane-a"), PlaneId("plane-b")
LONG_S = 3600.0


def plane(plane_id: PlaneId = A, name: str = "one") -> Plane:
    """A control plane."""
    return Plane(plane_id, name, "http://127.0.0.1:8000", "1.0")


@pytest.fixture
async def store(clients: Clients) -> Any:
    """A store that knows two planes."""
    await clients.first.leadership.register(plane(A))
    await clients.first.leadership.register(plane(B, "two"))
    return clients.first


async def test_nobody_leads_at_first(store: Any) -> None:
    """Registering is not leading."""
    assert await store.leadership.leader() is None


async def test_the_first_who_asks_leads_in_term_one(store: Any) -> None:
    """For as long as it asked for, by the store's clock; everybody sees that."""
    answer = await store.leadership.claim(A, None, LONG_S)
    assert (answer.hold.plane_id, answer.hold.term) == (A, 1)
    assert seconds_between(answer.now, answer.hold.expires_at) == pytest.approx(LONG_S, abs=0.1)
    seen = await store.leadership.leader()
    assert seen.hold == answer.hold
    assert seen.now >= answer.now


async def test_a_hold_lasts_as_the_rule_says_unless_another_time_is_asked_for(store: Any) -> None:
    """The rule's time is the default."""
    answer = await store.leadership.claim(A, None)
    assert seconds_between(answer.now, answer.hold.expires_at) == pytest.approx(HOLD_S, abs=0.1)


async def test_others_are_kept_out(store: Any) -> None:
    """And told who leads; asking changes nothing."""
    held = (await store.leadership.claim(A, None, LONG_S)).hold
    assert (await store.leadership.claim(B, None, LONG_S)).hold == held
    assert (await store.leadership.claim(B, Term(1), LONG_S)).hold == held
    assert (await store.leadership.leader()).hold == held


async def test_whoever_leads_extends_its_term(store: Any) -> None:
    """The time counts from now."""
    await store.leadership.claim(A, None, 60.0)
    longer = await store.leadership.claim(A, Term(1), LONG_S)
    assert longer.hold.term == 1
    assert seconds_between(longer.now, longer.hold.expires_at) == pytest.approx(LONG_S, abs=0.1)
    assert (await store.leadership.leader()).hold == longer.hold


async def test_a_hold_that_ran_out_is_taken_over_in_the_next_term(store: Any) -> None:
    """By whoever asks first; the one before is told."""
    await store.leadership.claim(A, None, 0.0)
    taken = (await store.leadership.claim(B, None, LONG_S)).hold
    assert (taken.plane_id, taken.term) == (B, 2)
    assert (await store.leadership.claim(A, Term(1), LONG_S)).hold == taken


async def test_a_term_that_ran_out_is_not_extended(store: Any) -> None:
    """Not even where nobody took over: whoever had it begins another one."""
    await store.leadership.claim(A, None, 0.0)
    assert (await store.leadership.claim(A, Term(1), LONG_S)).hold.term == 2


@pytest.mark.parametrize("term", [None, 0, 2])
async def test_a_plane_that_does_not_know_its_term_begins_another(
    store: Any, term: int | None
) -> None:
    """At once: it keeps out nobody but itself."""
    await store.leadership.claim(A, None, LONG_S)
    asked = None if term is None else Term(term)
    again = (await store.leadership.claim(A, asked, LONG_S)).hold
    assert (again.plane_id, again.term) == (A, 2)


async def test_resigning_lets_the_next_one_lead_at_once(store: Any) -> None:
    """In the next term."""
    await store.leadership.claim(A, None, LONG_S)
    assert await store.leadership.resign(A, Term(1))
    seen = await store.leadership.leader()
    assert not seen.hold.holds(seen.now)
    taken = (await store.leadership.claim(B, None, LONG_S)).hold
    assert (taken.plane_id, taken.term) == (B, 2)


async def test_only_the_present_leader_resigns(store: Any) -> None:
    """Nothing happens to another plane's hold, or to another term."""
    assert not await store.leadership.resign(A, Term(1))
    held = (await store.leadership.claim(A, None, LONG_S)).hold
    assert not await store.leadership.resign(B, Term(1))
    assert not await store.leadership.resign(A, Term(2))
    assert (await store.leadership.leader()).hold == held
    assert await store.leadership.resign(A, Term(1))
    assert not await store.leadership.resign(A, Term(1))


async def test_planes_are_known_with_what_they_said_last(store: Any) -> None:
    """Oldest first; registering again keeps since when they are known."""
    first, second = await store.leadership.planes()
    assert (first.plane, second.plane) == (plane(A), plane(B, "two"))
    assert 0 <= first.beat_at - first.joined_at < SECOND
    await store.leadership.register(plane(A, "renamed"))
    again, _ = await store.leadership.planes()
    assert again.plane.name == "renamed"
    assert again.joined_at == first.joined_at
    assert again.beat_at >= first.beat_at


async def beats(store: Any) -> dict[PlaneId, Instant]:
    """When each plane gave its last sign of life."""
    return {one.plane.id: one.beat_at for one in await store.leadership.planes()}


@pytest.mark.parametrize(("asking", "other"), [(A, B), (B, A)])
async def test_asking_is_a_sign_of_life(store: Any, asking: PlaneId, other: PlaneId) -> None:
    """Whoever leads; a clock may need a moment to go on."""
    before = await beats(store)
    await store.leadership.claim(A, None, LONG_S)

    async def asked() -> Instant:
        await store.leadership.claim(asking, Term(1), LONG_S)
        return (await beats(store))[asking]

    await eventually_async(asked, lambda at: at > before[asking])
    if other == B:
        assert (await beats(store))[B] == before[B]


async def test_planes_that_fell_silent_are_forgotten(store: Any) -> None:
    """They have to register again before they can lead."""
    assert await store.leadership.forget(60.0) == 0
    await store.leadership.claim(A, None, LONG_S)
    assert await store.leadership.forget(-60.0) == 2
    assert await store.leadership.planes() == []
    with pytest.raises(NotFound, match="control plane"):
        await store.leadership.claim(A, Term(1), LONG_S)
    assert (await store.leadership.leader()).hold.term == 1
    await store.leadership.register(plane(A))
    assert (await store.leadership.claim(A, Term(1), LONG_S)).hold.term == 1


async def test_a_stranger_cannot_lead(store: Any) -> None:
    """And changes nothing by asking."""
    with pytest.raises(NotFound, match="control plane"):
        await store.leadership.claim(PlaneId("nobody"), None, LONG_S)
    assert await store.leadership.leader() is None


async def test_of_two_that_ask_at_once_one_leads(clients: Clients, store: Any) -> None:
    """The other one is told which, and every round has the next term."""
    del store
    for number, first, second in clients.in_turns():
        outcomes: list[Claimed] = answers(
            await clients.race(
                partial(first.leadership.claim, A, None, LONG_S),
                partial(second.leadership.claim, B, None, LONG_S),
            )
        )
        holds = {(one.hold.plane_id, one.hold.term) for one in outcomes}
        assert len(holds) == 1
        ((leader, term),) = holds
        assert term == number + 1
        assert await first.leadership.resign(leader, term)


async def test_a_renewal_and_a_takeover_at_once_leave_one_leader(
    clients: Clients, store: Any
) -> None:
    """The hold has run out: whoever comes first has the next term, and the other one is told."""
    for _, first, second in clients.in_turns():
        before = (await store.leadership.claim(A, None, 0.0)).hold
        outcomes: list[Claimed] = answers(
            await clients.race(
                partial(first.leadership.claim, A, before.term, LONG_S),
                partial(second.leadership.claim, B, None, LONG_S),
            )
        )
        assert outcomes[0].hold == outcomes[1].hold
        assert outcomes[0].hold.term == before.term + 1
        leader = outcomes[0].hold
        assert await store.leadership.resign(leader.plane_id, leader.term)


async def test_resigning_and_asking_at_once_are_done_in_some_order(
    clients: Clients, store: Any
) -> None:
    """The other plane leads in the next term, or is kept out a last time."""
    for _, first, second in clients.in_turns():
        before = (await store.leadership.claim(A, None, LONG_S)).hold
        resigned, asked = await clients.race(
            partial(first.leadership.resign, A, before.term),
            partial(second.leadership.claim, B, None, LONG_S),
        )
        assert resigned is True
        if asked.hold.plane_id == A:
            asked = await store.leadership.claim(B, None, LONG_S)
        assert (asked.hold.plane_id, asked.hold.term) == (B, before.term + 1)
        assert await store.leadership.resign(B, asked.hold.term)
