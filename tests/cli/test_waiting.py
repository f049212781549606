"""What a task waits for, told while somebody waits for it."""

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any, cast

from eventually import WITHIN_S
from taskyard.cli.waiting import WaitingReasons
from taskyard.sdk.errors import Unreachable
from taskyard.sdk.models import Why


class Answers:
    """A client with one answer after the other; the last one asked for puts a mark."""

    def __init__(self, told: SimpleQueue[str], *answers: Why | Exception) -> None:
        self._told = told
        self._answers: Iterator[Why | Exception] = iter(answers)

    def why(self, _task_id: str) -> Why:
        """The next one."""
        answer = next(self._answers, None)
        if answer is None:
            self._told.put("asked on")
            return Why("t", "running", "runs")
        if isinstance(answer, Exception):
            raise answer
        return answer


def _told(*answers: Why | Exception) -> list[str]:
    told: SimpleQueue[str] = SimpleQueue()
    reasons = WaitingReasons(cast("Any", Answers(told, *answers)), "t", told.put, 0.001)
    reasons.start()
    found = []
    try:
        while (one := told.get(timeout=WITHIN_S)) != "asked on":
            found.append(one)
    finally:
        reasons.stop()
    return found


def test_a_reason_is_told_once_and_again_when_it_changes() -> None:
    """Also across a server that does not answer for a moment."""
    full, behind = Why("t", "queued", "no room"), Why("t", "queued", "behind another one")
    away = Unreachable("http://h/", "away")
    assert _told(full, full, away, full, behind, behind) == ["no room", "behind another one"]


def test_nothing_is_told_of_one_that_is_about_to_start() -> None:
    """Nor of one that runs: it is not asked about any more."""
    told: SimpleQueue[str] = SimpleQueue()
    runs = Why("t", "running", "runs")
    client = Answers(told, runs, Why("t", "queued", "x"))
    reasons = WaitingReasons(cast("Any", client), "t", told.put, 0.001)
    reasons._look()
    assert told.empty()
