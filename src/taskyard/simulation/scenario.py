"""What a scenario describes: workers, workspaces with their limits, loads, and changes to compare.

The members are those of the file; ``docs/reference/simulation.md`` tells them to people.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, NamedTuple

from msgspec import Meta, Struct

from taskyard.core.backoff import RetryPolicy
from taskyard.core.ids import GroupName, WorkspaceName
from taskyard.core.scheduling.policies import Policy
from taskyard.simulation.draws import Distribution
from taskyard.simulation.quantities import Bytes, Seconds

MAX_TASKS: Final = 2_000_000
MAX_WORKERS: Final = 50_000
UNTIL_FACTOR: Final = 10
UNTIL_MORE_S: Final = 86_400.0
"""Unless ``until`` is given it is so many times the ``duration``, and a day."""
GIB: Final = 1 << 30
Count = Annotated[int, Meta(ge=1, le=100_000_000)]
Name = Annotated[str, Meta(min_length=1, max_length=255)]
WORKSPACE: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class Limits(NamedTuple):
    """How large a scenario may be."""

    tasks: int = MAX_TASKS
    workers: int = MAX_WORKERS


USUAL: Final = Limits()


class Workers(Struct, frozen=True, forbid_unknown_fields=True):
    """Workers that are alike."""

    count: Annotated[int, Meta(ge=0, le=10_000_000)] = 1
    cpu: Annotated[float, Meta(ge=0.01, le=100_000)] = 4.0
    """Cores."""
    memory: Bytes = Bytes(16 * GIB)
    slots: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    """Attempts at once; as a worker chooses it when None: 16 for each core, at least 8."""
    nodes: Annotated[int, Meta(ge=1, le=64)] = 1
    """NUMA nodes, which share cores and memory equally."""
    runtimes: Annotated[tuple[Name, ...], Meta(max_length=16)] = (
        "command",
        "container",
        "function",
    )
    tags: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    metadata: dict[str, str] = {}
    joins: Seconds = Seconds(0)
    """When the first one joins."""
    over: Seconds = Seconds(0)
    """For how long they go on joining, one after the other."""
    lifetime: Distribution | None = None
    """How long one stays; without an end when None."""
    drain: Seconds = Seconds(0)
    """How long before its end it takes nothing new."""
    fails: Seconds | None = None
    """How long one lives in the mean until it dies without a word; never when None."""
    back_after: Seconds | None = None
    """How long after its end or its death it joins again; never when None."""

    @property
    def slot_count(self) -> int:
        """Attempts at once."""
        return (
            self.slots
            if self.slots is not None
            else max(8, 16 * -(-round(self.cpu * 1000) // 1000))
        )


class Group(Struct, frozen=True, forbid_unknown_fields=True):
    """A group's settings."""

    limit: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    paused: bool = False


class Workspace(Struct, frozen=True, forbid_unknown_fields=True):
    """A workspace's settings."""

    limit: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    groups: dict[GroupName, Group] = {}


class Arrivals(Struct, frozen=True, forbid_unknown_fields=True):
    """When tasks come: ``every`` so often, at a ``rate``, or by ``cron``."""

    every: Seconds | None = None
    rate: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    """In the mean for each second, at random (Poisson)."""
    cron: Annotated[str, Meta(max_length=500)] | None = None
    timezone: Annotated[str, Meta(max_length=255)] = "UTC"
    burst: Count = 1
    """Tasks at each of these times."""
    over: Seconds = Seconds(0)
    """How long a burst takes; its tasks are spread evenly."""


class Retry(Struct, frozen=True, forbid_unknown_fields=True):
    """A load's retry policy, see :class:`taskyard.core.backoff.RetryPolicy`."""

    max_attempts: Annotated[int, Meta(ge=1, le=1000)] = 1
    backoff_min: Seconds = Seconds(1)
    backoff_max: Seconds = Seconds(3600)
    factor: Annotated[float, Meta(ge=1, le=100)] = 2.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.1

    @property
    def policy(self) -> RetryPolicy:
        """The same as tasks have it."""
        return RetryPolicy(
            self.max_attempts, self.backoff_min, self.backoff_max, self.factor, self.jitter
        )


class Load(Struct, frozen=True, forbid_unknown_fields=True):
    """Tasks that are alike."""

    arrivals: Arrivals
    duration: Distribution
    """How long one attempt takes."""
    workspace: Annotated[str, Meta(pattern=WORKSPACE)] = "default"
    group: Name = "default"
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    runtime: Name = "command"
    cpu: Annotated[float, Meta(ge=0.01, le=1024)] | None = None
    cores: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    memory: Bytes | None = None
    slots: Annotated[int, Meta(ge=0, le=1000)] = 1
    placement: Policy | None = None
    begin: Seconds = Seconds(0)
    """When the load begins."""
    end: Seconds | None = None
    """When it ends; with the ``duration`` of the scenario when None."""
    count: Count | None = None
    """Tasks at most."""
    failures: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Share of attempts that fail at their end."""
    timeout: Seconds | None = None
    expires: Seconds | None = None
    """How long after it came a task may still begin."""
    retry: Retry = Retry()
    rerun_if_lost: bool = True


class Scheduling(Struct, frozen=True, forbid_unknown_fields=True):
    """How long the scheduler takes, in the time of the simulation."""

    commit: Seconds = Seconds(0.005)
    """For a commit, the store's work."""
    decision: Seconds = Seconds(0.0001)
    """For each task in it, the scheduler's."""
    placement_steps: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None
    """See the setting of this name."""


class Scenario(Struct, frozen=True):
    """All of it."""

    duration: Seconds
    """For how long tasks come."""
    until: Seconds
    """When the simulation ends, though work be left."""
    seed: int = 1
    start: datetime = datetime(2026, 1, 5, tzinfo=UTC)
    """What the clock shows at the beginning; a Monday."""
    scheduling: Scheduling = Scheduling()
    workers: dict[str, Workers] = {}
    workspaces: dict[WorkspaceName, Workspace] = {}
    loads: dict[str, Load] = {}

    @property
    def worker_count(self) -> int:
        """All workers, of all kinds."""
        return sum(one.count for one in self.workers.values())


def group_of(load: Load) -> GroupName:
    """Its group, as the scheduler knows it."""
    return GroupName(load.group)
