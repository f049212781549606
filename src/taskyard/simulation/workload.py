"""What the work of a simulation is made of: sources of tasks, invented or from a history."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import SECOND, Instant
from taskyard.core.resources import Resources
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.requirements import Requirements
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import Simulation, TaskSpec
from taskyard.simulation.arrivals import arrivals
from taskyard.simulation.draws import BACKOFF, DURATION, FAILURE, key_of, uniform
from taskyard.simulation.scenario import Load, Scenario, group_of


class Course(NamedTuple):
    """What becomes of an attempt if it is left alone."""

    micros: int
    """Until it ends by itself."""
    state: AttemptState = AttemptState.SUCCEEDED
    reason: Reason | None = None


class Kind(Struct, frozen=True):
    """What tasks of one source have in common."""

    key: QueueKey
    requirements: Requirements
    spec: TaskSpec
    """What the end of an attempt is judged by."""
    expires_us: int | None = None
    """How long after it came a task may still begin."""


class Source(Protocol):
    """Where tasks come from."""

    @property
    def kind(self) -> Kind:
        """What they are."""
        ...

    def arrivals(self) -> Iterator[Instant]:
        """When each comes, in order."""
        ...

    def course(self, index: int, attempt: int) -> Course:
        """What becomes of an attempt (from 1) of a task (from 0); always the same."""
        ...

    def jitter(self, index: int, attempt: int) -> float:
        """Where in its jitter the back-off after this attempt is, from 0 to 1."""
        ...


class LoadSource:
    """A load of a scenario."""

    def __init__(self, name: str, load: Load, scenario: Scenario) -> None:
        self._load = load
        self._scenario = scenario
        self._key = key_of(scenario.seed, "load", name)
        self.kind = _kind_of(load)

    def arrivals(self) -> Iterator[Instant]:
        """See the protocol."""
        return arrivals(self._load, self._key, self._scenario.start, self._scenario.duration)

    def course(self, index: int, attempt: int) -> Course:
        """See the protocol."""
        load = self._load
        took_s = load.duration.at(uniform(self._key, index, attempt, DURATION))
        if load.timeout is not None and took_s >= load.timeout:
            return Course(load.timeout.micros, AttemptState.FAILED, Reason.TIMEOUT)
        micros = round(min(took_s, 1e9) * SECOND)
        if load.failures and uniform(self._key, index, attempt, FAILURE) < load.failures:
            return Course(micros, AttemptState.FAILED, Reason.EXIT_CODE)
        return Course(micros)

    def jitter(self, index: int, attempt: int) -> float:
        """See the protocol."""
        return uniform(self._key, index, attempt, BACKOFF)


def load_sources(scenario: Scenario) -> Sequence[Source]:
    """All loads of a scenario."""
    return [LoadSource(name, load, scenario) for name, load in scenario.loads.items()]


def _kind_of(load: Load) -> Kind:
    millis = None if load.cpu is None else round(load.cpu * 1000)
    resources = Resources(millis, load.memory, None, load.slots, load.cores)
    spec = TaskSpec(
        Simulation(0.0),
        group_of(load),
        priority=load.priority,
        resources=resources,
        placement=load.placement,
        retry=load.retry.policy,
        rerun_if_lost=load.rerun_if_lost,
    )
    return Kind(
        QueueKey(WorkspaceName(load.workspace), group_of(load)),
        Requirements(resources, load.runtime, load.placement),
        spec,
        None if load.expires is None else load.expires.micros,
    )
