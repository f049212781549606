"""The state tables: every pair of state and event is either listed or refused."""

from pathlib import Path

import pytest

from taskyard.core.diagrams import states_page
from taskyard.core.errors import IllegalTransition
from taskyard.core.states import (
    ATTEMPT_TRANSITIONS,
    ENDED_ATTEMPT,
    TASK_TRANSITIONS,
    TERMINAL,
    WAITING,
    AttemptEvent,
    AttemptState,
    TaskEvent,
    TaskState,
    next_attempt_state,
    next_task_state,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "states.md"


@pytest.mark.parametrize("event", TaskEvent)
@pytest.mark.parametrize("state", TaskState)
def test_a_task_moves_by_the_table_or_not_at_all(state: TaskState, event: TaskEvent) -> None:
    """An event that the table does not list is refused by name."""
    listed = TASK_TRANSITIONS[state].get(event)
    if listed is not None:
        assert next_task_state(state, event) is listed
        return
    with pytest.raises(IllegalTransition) as caught:
        next_task_state(state, event)
    assert (caught.value.kind, caught.value.state, caught.value.event) == ("task", state, event)


@pytest.mark.parametrize("event", AttemptEvent)
@pytest.mark.parametrize("state", AttemptState)
def test_an_attempt_moves_by_the_table_or_not_at_all(
    state: AttemptState, event: AttemptEvent
) -> None:
    """An event that the table does not list is refused by name."""
    listed = ATTEMPT_TRANSITIONS[state].get(event)
    if listed is not None:
        assert next_attempt_state(state, event) is listed
        return
    with pytest.raises(IllegalTransition, match=f"an? attempt that is {state} cannot {event}"):
        next_attempt_state(state, event)


def test_terminal_states_are_final() -> None:
    """Nothing happens to what has ended, and everything else can end."""
    assert all((not TASK_TRANSITIONS[state]) == (state in TERMINAL) for state in TaskState)
    assert all(
        (not ATTEMPT_TRANSITIONS[state]) == (state in ENDED_ATTEMPT) for state in AttemptState
    )
    assert WAITING | TERMINAL | {TaskState.RUNNING} == set(TaskState)


def test_every_state_can_be_reached_and_left_for_an_end() -> None:
    """No state is unreachable, and none is a trap."""
    reached = {TaskState.SCHEDULED, TaskState.QUEUED}
    while True:
        more = reached | {
            target for state in reached for target in TASK_TRANSITIONS[state].values()
        }
        if more == reached:
            break
        reached = more
    assert reached == set(TaskState)
    for state in set(TaskState) - TERMINAL:
        assert TERMINAL & set(TASK_TRANSITIONS[state].values())


def test_the_diagrams_show_the_tables() -> None:
    """The page in the docs is what the tables draw now."""
    assert PAGE.read_text() == states_page()
