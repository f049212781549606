"""Admission: refusals tell when it is worth coming back."""

import pytest

from taskyard.core.errors import Overloaded
from taskyard.core.ids import WorkspaceName
from taskyard.services.scheduling.admission import LONGEST_WAIT_S, Admission

A = WorkspaceName("a")


class Scene:
    """A load whose queue and clock a test sets."""

    def __init__(self, limit: int = 100) -> None:
        self.waiting = 0
        self.seconds = 1000.0
        self.load = Admission(limit, lambda _workspace: self.waiting, lambda: self.seconds)

    def retry_after(self, count: int = 1) -> float:
        """What a refusal says."""
        with pytest.raises(Overloaded) as caught:
            self.load.admit(A, count)
        return caught.value.retry_after_s


def test_up_to_the_limit_everybody_is_admitted() -> None:
    """The last free place is given away, and no more."""
    scene = Scene()
    scene.waiting = 99
    scene.load.admit(A, 1)
    with pytest.raises(Overloaded):
        scene.load.admit(A, 2)


def test_the_wait_follows_from_how_fast_the_queue_drains() -> None:
    """Ten a second leave, five hundred are too many: about fifty seconds."""
    scene = Scene()
    for _ in range(50):
        scene.seconds += 0.1
        scene.load.drained(1)
    scene.waiting = 600
    assert scene.retry_after(0) == pytest.approx(50, rel=0.1)


def test_batches_count_by_their_size() -> None:
    """A hundred leaving at once every second is a rate of a hundred."""
    scene = Scene()
    for _ in range(20):
        scene.seconds += 1
        scene.load.drained(100)
    scene.waiting = 1100
    assert scene.retry_after(0) == pytest.approx(10, rel=0.1)


def test_a_queue_that_stands_still_asks_for_patience() -> None:
    """Without a measured rate a minute; with a bad one an hour at most; never less than one."""
    scene = Scene()
    scene.waiting = 100
    assert scene.retry_after() == 60
    scene.load.drained(1)
    scene.seconds += 1
    scene.load.drained(1)
    scene.seconds += 100_000
    assert scene.retry_after(10) == LONGEST_WAIT_S
    for _ in range(64):
        scene.load.drained(1000)
    assert scene.retry_after() == 1


def test_an_old_burst_is_forgotten() -> None:
    """The rate falls while nothing leaves."""
    scene = Scene()
    for _ in range(10):
        scene.seconds += 0.01
        scene.load.drained(10)
    rates = []
    for _ in range(5):
        rates.append(scene.load.drain_rate)
        scene.seconds += 10
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 5
