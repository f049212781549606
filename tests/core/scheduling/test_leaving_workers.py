"""Workers that are to leave get only what ends before."""

from msgspec.structs import replace
from naive_scheduler import START, ready, rooms_of

from taskyard.core.ids import GroupName, WorkerId, WorkspaceName
from taskyard.core.instants import Instant, after
from taskyard.core.resources import Capacity, Resources
from taskyard.core.scheduling.fairness import ReadyQueues
from taskyard.core.scheduling.fleet import Fleet
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.requirements import ReadyTask, Requirements, requirements_of
from taskyard.core.tasks import Command, TaskSpec

KEY = QueueKey(WorkspaceName("a"), GroupName("g"))
OTHER = QueueKey(WorkspaceName("a"), GroupName("other"))


def _task(
    seq: int, timeout_s: float | None, key: QueueKey = KEY, now: Instant = START
) -> ReadyTask:
    made = ready(seq, key, 0, Resources(), now)
    return replace(made, requirements=replace(made.requirements, timeout_s=timeout_s))


def _rooms(*stays_s: float | None) -> list[Room]:
    rooms = rooms_of(*[(4, 4000, 4)] * len(stays_s))
    return [
        room if stay is None else replace(room, leaves_at=after(START, stay))
        for room, stay in zip(rooms, stays_s, strict=True)
    ]


def test_a_task_asks_for_as_long_as_it_may_run() -> None:
    """Which is stored with what else it asks for."""
    spec = TaskSpec(work=Command(argv=("true",)), timeout_s=60)
    assert requirements_of(spec) == Requirements(timeout_s=60)
    assert not requirements_of(spec).is_plain


def test_a_task_goes_where_it_may_run_to_its_end() -> None:
    """Though the other worker has more room."""
    fleet = Fleet.of(_rooms(59, 60))
    fleet.take(WorkerId("w1"), KEY, Resources())
    for stored in (False, True):
        queues = ReadyQueues()
        if stored:
            queues.add(_task(1, 60))
            (chosen,) = queues.plan(fleet, START, 10)
        else:
            found = queues.try_place(_task(2, 60), fleet, START)
            assert found is not None
            chosen = found
        assert chosen.worker_id == "w1"


def test_time_passes() -> None:
    """What fits at first does not a second later."""
    fleet = Fleet.of(_rooms(60))
    assert ReadyQueues().try_place(_task(1, 60), fleet, after(START, 1)) is None
    assert ReadyQueues().try_place(_task(1, 60), fleet, START) is not None


def test_why_says_how_long_workers_stay() -> None:
    """Not that there is no room."""
    queues, fleet = ReadyQueues(), Fleet.of(_rooms(40, 50))
    task = _task(1, 60)
    queues.add(task)
    assert queues.plan(fleet, START, 10) == []
    wait = queues.explain(task, fleet, START)
    assert (wait.code, wait.detail) == ("leaving", {"timeout_s": 60, "longest_stay_s": 50.0})
    assert wait.summary == (
        "may run for 60 s, and no worker in question stays that long: w1 stays longest, 50 s"
    )


def test_what_has_no_timeout_goes_anywhere_until_the_end() -> None:
    """Then nothing does."""
    task, fleet = _task(1, None), Fleet.of(_rooms(60))
    queues = ReadyQueues()
    queues.add(task)
    late = after(START, 60)
    assert queues.plan(fleet, late, 10) == []
    assert queues.explain(task, fleet, late).code == "leaving"
    assert len(queues.plan(fleet, START, 10)) == 1


def test_those_that_end_in_time_are_not_held_up() -> None:
    """By those that ask for as much room and more time, in whichever order they come."""
    for order in ((600, 6), (6, 600)):
        queues, fleet = ReadyQueues(), Fleet.of(_rooms(60))
        for seq, timeout_s in enumerate(order, 1):
            queues.add(_task(seq, timeout_s, KEY if timeout_s == 6 else OTHER))
        chosen = queues.plan(fleet, START, 10)
        assert [one.task.requirements.timeout_s for one in chosen] == [6]


def test_no_worker_is_kept_for_what_it_leaves_too_early_for() -> None:
    """However long that waits: a kept worker stands idle."""
    full = replace(_rooms(3600)[0], free=Capacity(0, 0, 0))
    queues, late = ReadyQueues(), after(START, 60)
    queues.add(_task(1, 3600, OTHER))
    for now in (START, late):
        assert queues.plan(Fleet.of([full]), now, 10) == []
    queues.add(_task(2, 10, KEY, late))
    chosen = queues.plan(Fleet.of(_rooms(3600)), late, 10)
    assert [one.task.seq for one in chosen] == [2]
