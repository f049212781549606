"""All tasks of a simulation, in columns: a million of them take a few dozen megabytes."""

from array import array

from taskyard.core.instants import Instant
from taskyard.core.states import TaskEvent, TaskState, next_task_state
from taskyard.simulation.errors import TooLarge


class TaskTable:
    """Tasks by their ``seq``, from 0."""

    def __init__(self, most: int) -> None:
        """Raises :class:`TooLarge` later, for more than ``most`` tasks."""
        self._most = most
        self.source = array("I")
        """Number of the source that it comes from."""
        self.index = array("I")
        """Which of that source's tasks it is."""
        self.states: list[TaskState] = []
        self.ready_at = array("q")
        """When it last became ready."""
        self.arrived_at = array("q")
        self.placed_at = array("q")
        """When its last attempt was given its room."""
        self.attempts = array("H")
        """Begun so far."""
        self.failures = array("H")
        """Of them those that count against its retries."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self.states)

    def add(self, source: int, index: int, at: Instant) -> int:
        """Another one, queued; answers with its ``seq``. Raises :class:`TooLarge`."""
        seq = len(self.states)
        if seq >= self._most:
            raise TooLarge(
                f"there are more than {self._most:,} tasks; lower a rate or the duration, "
                "or allow more with --max-tasks"
            )
        self.source.append(source)
        self.index.append(index)
        self.states.append(TaskState.QUEUED)
        self.ready_at.append(at)
        self.arrived_at.append(at)
        self.placed_at.append(at)
        self.attempts.append(0)
        self.failures.append(0)
        return seq

    def move(self, seq: int, event: TaskEvent) -> TaskState:
        """Apply an event by the table of states; raises ``IllegalTransition`` as a store would."""
        state = self.states[seq] = next_task_state(self.states[seq], event)
        return state
