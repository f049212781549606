"""What the end of an attempt means for its task: trouble of the machinery."""

from typing import Any

import pytest

from fakes.specs import NOW, spec
from taskyard.core.attempts import Ended
from taskyard.core.backoff import RetryPolicy
from taskyard.core.ids import AttemptId, LeaseToken
from taskyard.core.instants import after
from taskyard.core.outcome import TROUBLES_GRANTED, Verdict, trouble_delay_s, verdict
from taskyard.core.states import AttemptState, Reason, TaskEvent


def troubled(number: int, failures: int = 0, **members: Any) -> Verdict:
    """What follows from trouble in this attempt."""
    ended = Ended(
        AttemptId("a"),
        LeaseToken("l"),
        NOW,
        AttemptState.FAILED,
        reason=Reason.RUNTIME_TROUBLE,
        message="no room",
    )
    return verdict(
        ended,
        spec(**members),
        attempt_number=number,
        failures_before=failures,
        kill_requested=False,
        now=NOW,
        chance=0.5,
    )


def test_pauses_grow_and_stay_within_reason() -> None:
    """From five seconds to five minutes."""
    assert [trouble_delay_s(count) for count in (1, 2, 3, 6, 7, 1000)] == [5, 10, 20, 160, 300, 300]
    assert troubled(3).start_at == after(NOW, 20)
    assert troubled(5, failures=2).start_at == after(NOW, 20)


@pytest.mark.parametrize("granted", [1, 3])
def test_trouble_takes_nothing_off_the_tasks_own_attempts(granted: int) -> None:
    """However few it has."""
    found = troubled(2, retry=RetryPolicy(max_attempts=granted))
    assert (found.event, found.failed) == (TaskEvent.RETRY, False)


def test_trouble_has_an_end() -> None:
    """The task says how often it was tried, and what the trouble was."""
    assert troubled(TROUBLES_GRANTED).event is TaskEvent.RETRY
    last = troubled(TROUBLES_GRANTED + 1)
    assert (last.event, last.reason) == (TaskEvent.FAIL, Reason.RUNTIME_TROUBLE)
    assert last.message is not None
    assert "21 attempts" in last.message
    assert "no room" in last.message
