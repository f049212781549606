"""What an installation did, as work of a simulation: tasks come and take as long as they did."""

from array import array
from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any, Final, NamedTuple

from msgspec import Struct

from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import SECOND, Instant, rfc3339
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.requirements import Requirements
from taskyard.core.tasks import Simulation, TaskSpec
from taskyard.simulation.draws import BACKOFF, key_of, uniform
from taskyard.simulation.errors import WrongScenario
from taskyard.simulation.quantities import Seconds
from taskyard.simulation.workload import Course, Kind, Source

_UNKNOWN_US: Final = SECOND
"""What an attempt takes if nothing of its kind was ever seen to end."""


class PastTask(NamedTuple):
    """A task as a store remembers it."""

    workspace: WorkspaceName
    ready_at: Instant
    expires_at: Instant | None
    priority: int
    requirements: Requirements
    spec: TaskSpec
    courses: tuple[Course, ...]
    """Of its attempts that ended, but for those that lost their worker."""


class History(Struct, frozen=True):
    """What a store remembers."""

    tables: dict[str, Any]
    """Workers and limits, as a scenario has them."""
    sources: tuple[Source, ...]
    duration: Seconds
    """From the first task to the last one."""
    task_count: int


class _PastSource:
    """Tasks that were alike."""

    def __init__(self, kind: Kind, number: int) -> None:
        self.kind = kind
        self._key = key_of(0, "history", str(number))
        self._ready_at = array("q")
        self._courses: list[tuple[Course, ...]] = []
        self._usual = Course(_UNKNOWN_US)

    def add(self, task: PastTask) -> None:
        """Another one, not before those that are here."""
        self._ready_at.append(task.ready_at)
        self._courses.append(task.courses)

    def settle(self, everywhere: int) -> None:
        """All are here: what ended says how long the others take."""
        ended = [course.micros for courses in self._courses for course in courses]
        self._usual = Course(round(median(ended)) if ended else everywhere)

    def arrivals(self) -> Iterator[Instant]:
        """See the protocol."""
        return map(Instant, self._ready_at)

    def course(self, index: int, attempt: int) -> Course:
        """See the protocol. Attempts never made end well, and take as long as the last one."""
        courses = self._courses[index]
        if attempt <= len(courses):
            return courses[attempt - 1]
        return Course(courses[-1].micros) if courses else self._usual

    def jitter(self, index: int, attempt: int) -> float:
        """See the protocol."""
        return uniform(self._key, index, attempt, BACKOFF)


def history_of(tables: dict[str, Any], tasks: Iterable[PastTask]) -> History:
    """A history. Raises :class:`WrongScenario` if there is no task in it."""
    past = sorted(tasks, key=lambda task: task.ready_at)
    if not past:
        raise WrongScenario("the store holds no task that could be replayed")
    sources: dict[object, _PastSource] = {}
    for task in past:
        alike = _what_decides(task)
        source = sources.get(alike)
        if source is None:
            source = sources[alike] = _PastSource(_kind_of(task), len(sources))
        source.add(task)
    ended = [course.micros for task in past for course in task.courses]
    everywhere = round(median(ended)) if ended else _UNKNOWN_US
    for source in sources.values():
        source.settle(everywhere)
    begin = Instant(past[0].ready_at // SECOND * SECOND)
    duration = Seconds((past[-1].ready_at - begin) / SECOND + 1)
    return History(
        {"start": rfc3339(begin), **tables}, tuple(sources.values()), duration, len(past)
    )


def _what_decides(task: PastTask) -> object:
    """What makes tasks alike, whatever their arguments are."""
    spec = task.spec
    queue = task.workspace, spec.group, task.priority
    return queue, task.requirements, spec.retry, spec.rerun_if_lost, _expires_us(task)


def _expires_us(task: PastTask) -> int | None:
    return None if task.expires_at is None else max(0, task.expires_at - task.ready_at)


def _kind_of(task: PastTask) -> Kind:
    spec = task.spec
    alike = TaskSpec(
        Simulation(0.0),
        spec.group,
        priority=task.priority,
        resources=task.requirements.resources,
        placement=task.requirements.policy,
        retry=spec.retry,
        rerun_if_lost=spec.rerun_if_lost,
    )
    key = QueueKey(task.workspace, spec.group)
    return Kind(key, task.requirements, alike, _expires_us(task))
