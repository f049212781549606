"""Draws the state tables, so that what people read is what the code does.

``python -m taskyard.core.diagrams > docs/reference/states.md`` writes the page again.
"""

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from taskyard.core.states import (
    ATTEMPT_TRANSITIONS,
    ENDED_ATTEMPT,
    TASK_TRANSITIONS,
    TERMINAL,
    AttemptState,
    TaskState,
)

State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)

_HEAD: Final = """# States

Generated from the tables in `core/states.py` by `python -m taskyard.core.diagrams`; a test fails
when this page is stale. An event that a state does not list is refused and changes nothing. A
terminal state is final.
"""


def states_page() -> str:
    """The whole page, in Markdown."""
    task = diagram(TASK_TRANSITIONS, (TaskState.SCHEDULED, TaskState.QUEUED), sorted(TERMINAL))
    attempt = diagram(ATTEMPT_TRANSITIONS, (AttemptState.ASSIGNED,), sorted(ENDED_ATTEMPT))
    return f"{_HEAD}\n## Tasks\n\n{task}\n## Attempts\n\n{attempt}".rstrip() + "\n"


def diagram(
    table: Mapping[State, Mapping[Event, State]],
    first: tuple[State, ...],
    last: list[State],
) -> str:
    """A table as a Mermaid diagram, in its own order.

    Args:
        table: what each event makes of each state.
        first: states that something may begin in.
        last: states that are final.
    """
    lines = [f"    [*] --> {state}" for state in first]
    for state, events in table.items():
        targets: dict[State, list[Event]] = {}
        for event, target in events.items():
            targets.setdefault(target, []).append(event)
        lines += [
            f"    {state} --> {target}: {', '.join(events)}" for target, events in targets.items()
        ]
    lines += [f"    {state} --> [*]" for state in last]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```", ""])


if __name__ == "__main__":
    sys.stdout.write(states_page())
