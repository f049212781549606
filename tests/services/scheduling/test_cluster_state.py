"""Rooms: what is free adds up, whoever comes and goes in which order."""

from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.ids import AttemptId, GroupName, IncarnationId, WorkerId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity, Resources
from taskyard.core.scheduling.queues import QueueKey
from taskyard.ports.dispatching import WorkerRecord
from taskyard.services.scheduling.cluster_state import ClusterState, Reservation

TOTAL = Capacity(4, 4000, 4 << 30)
KEY = QueueKey(WorkspaceName("a"), GroupName("g"))


def record(name: str, life: str = "one") -> WorkerRecord:
    """A worker."""
    return WorkerRecord(
        WorkerId(name), IncarnationId(life), "h", "1", TOTAL, ("command",), Instant(0), Instant(0)
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["join", "leave", "hold", "free", "hold"]),
            st.sampled_from(["w1", "w2"]),
            st.integers(0, 5),
        ),
        max_size=40,
    )
)
def test_free_is_total_less_what_is_held(steps: list[tuple[str, str, int]]) -> None:
    """At every moment, for every worker that is here."""
    rooms = ClusterState(lambda: 0.0)
    held: dict[str, tuple[str, Resources]] = {}
    here: set[str] = set()
    for action, worker, number in steps:
        name = f"{worker}-{number}"
        asked = Resources(100 * number, number << 20)
        if action == "join":
            rooms.join(record(worker))
            here.add(worker)
        elif action == "leave":
            rooms.leave(WorkerId(worker))
            here.discard(worker)
        elif action == "hold" and name not in held:
            rooms.hold(AttemptId(name), Reservation(WorkerId(worker), KEY, asked))
            held[name] = (worker, asked)
        elif action == "free":
            found = rooms.free(AttemptId(name))
            assert (found is not None) == (held.pop(name, None) is not None)
        assert {room.worker_id for room in rooms.rooms()} == here
        for room in rooms.rooms():
            expected = TOTAL
            for owner, resources in held.values():
                if owner == room.worker_id:
                    expected = expected.minus(resources)
            assert room.free == expected
        assert rooms.held() == set(held)
        assert rooms.held_count == len(held)
        assert all(rooms.holds(AttemptId(one)) for one in held)


def test_only_the_present_incarnation_beats() -> None:
    """An earlier life is told that it is over."""
    seconds = 0.0
    rooms = ClusterState(lambda: seconds)
    rooms.join(record("w1", "one"))
    assert rooms.beat(WorkerId("w1"), IncarnationId("one"), Instant(1))
    rooms.join(record("w1", "two"))
    assert not rooms.beat(WorkerId("w1"), IncarnationId("one"), Instant(1))
    assert not rooms.beat(WorkerId("w2"), IncarnationId("one"), Instant(1))
    seconds = 2.5
    assert [one.incarnation for one in rooms.silent(2)] == ["two"]
    assert rooms.beat(WorkerId("w1"), IncarnationId("two"), Instant(7))
    assert rooms.silent(2) == []
    assert rooms.workers()[0][0].beat_at == 7
