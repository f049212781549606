"""What came of a simulation, as numbers."""

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Final

from msgspec import Struct

from taskyard.core.ids import GroupName, WorkspaceName
from taskyard.core.instants import SECOND
from taskyard.core.states import TaskState
from taskyard.simulation.measures import QueueMeasures, RoomMeasures, WorkspaceMeasures
from taskyard.simulation.scenario import Scenario
from taskyard.simulation.simulator import Simulator

_DIGITS: Final = 6


class Waits(Struct, frozen=True):
    """How long attempts waited, from ready to start, in seconds. Percentiles are nearest rank."""

    count: int
    mean_s: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    max_s: float | None


class Utilisation(Struct, frozen=True):
    """Share of what workers offered that attempts held; None where nothing was offered."""

    slots: float | None
    cpu: float | None
    memory: float | None


class Tasks(Struct, frozen=True):
    """Tasks by what became of them."""

    arrived: int
    succeeded: int
    failed: int
    dead: int
    cancelled: int
    expired: int
    running: int
    queued: int
    retrying: int


class GroupResult(Struct, frozen=True):
    """One group of one workspace."""

    workspace: WorkspaceName
    group: GroupName
    arrived: int
    ended: int
    attempts: int
    lost: int
    """Attempts whose worker was lost."""
    most_waiting: int
    waits: Waits


class WorkspaceResult(Struct, frozen=True):
    """One workspace."""

    workspace: WorkspaceName
    share: float
    """Of all that ran, over time."""
    contended_s: float
    """How long it had something waiting."""
    mean_running_contended: float | None
    """Attempts it had in the mean meanwhile; None if nothing ever waited."""
    waits: Waits


class StillWaiting(Struct, frozen=True):
    """Tasks that were queued at the end, and why the first of them was."""

    workspace: WorkspaceName
    group: GroupName
    count: int
    code: str
    why: str


class Timing(Struct, frozen=True):
    """What the simulation cost; differs from one run to the next, as nothing else does."""

    seconds: float
    """Of processor time."""
    decisions_per_s: float | None
    """Of the scheduler, with all else that the simulation does."""
    peak_memory_bytes: int
    """Of the process so far."""


class Result(Struct, frozen=True):
    """All of one run."""

    name: str
    changes: dict[str, object]
    """What was changed of the scenario; nothing in the first run."""
    seed: int
    simulated_s: float
    complete: bool
    """Whether every task came to its end."""
    workers: int
    worker_deaths: int
    tasks: Tasks
    attempts: int
    attempts_lost: int
    decisions: int
    decided_at_once: int
    """Of the decisions those made as the task came, since there was room."""
    rounds: int
    utilisation: Utilisation
    """While tasks came."""
    utilisation_overall: Utilisation
    """To the end, when there is less and less to do."""
    waits: Waits
    fairness: float | None
    """Jain's index over the attempts that workspaces had while they had something waiting: 1 if all
    had as many; None if fewer than two ever waited."""
    workspaces: tuple[WorkspaceResult, ...]
    groups: tuple[GroupResult, ...]
    still_waiting: tuple[StillWaiting, ...]
    timing: Timing


def result_of(
    simulator: Simulator,
    name: str,
    changes: dict[str, object],
    scenario: Scenario,
    seconds: float,
    peak_memory_bytes: int,
) -> Result:
    """Sum up a run that is over."""
    measures = simulator.measures
    queues = sorted(measures.queues.items())
    workspaces = sorted(measures.workspaces.items())
    states = _states(simulator.tasks.states)
    total = sum(one.run_us for _, one in workspaces)
    everyone = [one for _, one in queues]
    return Result(
        name=name,
        changes=changes,
        seed=scenario.seed,
        simulated_s=_rounded(simulator.passed_us / SECOND),
        complete=simulator.ended == len(simulator.tasks),
        workers=scenario.worker_count,
        worker_deaths=measures.deaths,
        tasks=states,
        attempts=sum(one.attempts for one in everyone),
        attempts_lost=sum(one.lost for one in everyone),
        decisions=measures.decisions,
        decided_at_once=measures.at_once,
        rounds=measures.rounds,
        utilisation=_utilisation(measures.room),
        utilisation_overall=_utilisation(measures.room_overall),
        waits=_waits(everyone),
        fairness=_jain(one for _, one in workspaces),
        workspaces=tuple(
            WorkspaceResult(
                workspace,
                _ratio(one.run_us, total) or 0.0,
                _rounded(one.contended_us / SECOND),
                _ratio(one.run_us_contended, one.contended_us),
                _waits([queue for key, queue in queues if key.workspace == workspace]),
            )
            for workspace, one in workspaces
        ),
        groups=tuple(
            GroupResult(
                key.workspace,
                key.group,
                one.arrived,
                sum(one.ended.values()),
                one.attempts,
                one.lost,
                one.most_waiting,
                _waits([one]),
            )
            for key, one in queues
        ),
        still_waiting=tuple(
            StillWaiting(key.workspace, key.group, count, wait.code, wait.summary)
            for key, (count, wait) in simulator.waiting.items()
        ),
        timing=Timing(
            round(seconds, 3),
            round(measures.decisions / seconds, 1) if seconds else None,
            peak_memory_bytes,
        ),
    )


def _utilisation(room: RoomMeasures) -> Utilisation:
    return Utilisation(*map(_ratio, room.held, room.offered))


def _states(states: Sequence[TaskState]) -> Tasks:
    counts = dict.fromkeys(TaskState, 0)
    for state in states:
        counts[state] += 1
    return Tasks(
        len(states),
        counts[TaskState.SUCCEEDED],
        counts[TaskState.FAILED],
        counts[TaskState.DEAD],
        counts[TaskState.CANCELLED],
        counts[TaskState.EXPIRED],
        counts[TaskState.RUNNING],
        counts[TaskState.QUEUED],
        counts[TaskState.RETRYING],
    )


def _waits(queues: Sequence[QueueMeasures]) -> Waits:
    values = sorted(micros for one in queues for micros in one.waits)
    if not values:
        return Waits(0, None, None, None, None, None)
    mean = sum(values) / len(values) / SECOND
    ranks = (_rank(values, share) / SECOND for share in (0.5, 0.95, 0.99, 1.0))
    return Waits(len(values), _rounded(mean), *map(_rounded, ranks))


def _rank(values: Sequence[int], share: float) -> int:
    return values[max(0, ceil(share * len(values)) - 1)]


def _jain(workspaces: Iterable[WorkspaceMeasures]) -> float | None:
    had = [one.run_us_contended / one.contended_us for one in workspaces if one.contended_us]
    squares = sum(one * one for one in had)
    if len(had) < 2 or not squares:
        return None
    return _rounded(sum(had) ** 2 / (len(had) * squares))


def _ratio(part: int, whole: int) -> float | None:
    return _rounded(part / whole) if whole else None


def _rounded(value: float) -> float:
    return round(value, _DIGITS)
