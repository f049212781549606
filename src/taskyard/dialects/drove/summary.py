"""Numbers of the cluster, for its summary and dashboard."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from taskyard.dialects.drove.executors import Executor
from taskyard.dialects.drove.states import State
from taskyard.dialects.drove.task_rows import ExecutorNames, TaskRow

_TOP: Final = 5
_OTHER_KINDS: Final = {
    "numApplications": 0,
    "numActiveApplications": 0,
    "numLocalServices": 0,
    "numActiveLocalServices": 0,
}


def summary(
    executors: Sequence[Executor], active: int, leader: str, *, in_maintenance: bool
) -> dict[str, Any]:
    """Sums over the active executors; ``active`` tasks."""
    able = [one for one in executors if one.is_active]
    free_cores, total_cores = sum(o.free_cores for o in able), sum(o.total_cores for o in able)
    free_mb, total_mb = sum(o.free_mb for o in able), sum(o.total_mb for o in able)
    return {
        "leader": leader,
        "state": "MAINTENANCE" if in_maintenance else "NORMAL",
        "numExecutors": len(able),
        **_OTHER_KINDS,
        "numActiveTasks": active,
        "freeCores": free_cores,
        "usedCores": total_cores - free_cores,
        "totalCores": total_cores,
        "freeMemory": free_mb,
        "usedMemory": total_mb - free_mb,
        "totalMemory": total_mb,
    }


def dashboard(
    numbers: dict[str, Any],
    executors: Sequence[Executor],
    rows: Sequence[TaskRow],
    hosts: ExecutorNames,
    now: int,
) -> dict[str, Any]:
    """The same with more, for a page; ``now`` in milliseconds."""
    states = Counter(row.state for row in rows)
    longest = sorted(rows, key=lambda row: row.created)[:_TOP]
    used = [_utilization(one) for one in executors if one.is_active]
    average = sum(used) / len(used) if used else 0.0
    highest, lowest = max(used, default=0.0), min(used, default=0.0)
    return {
        "clusterSummary": numbers,
        "taskStats": {
            "taskCountByState": {state.value: states[state] for state in State},
            "topTasks": [msgspec.Raw(row.encoded(hosts)) for row in longest],
        },
        "appStats": {},
        "serviceStats": {},
        "executorStats": {
            "executorCountByState": dict(Counter(one.state for one in executors)),
            "utilization": {
                "averageUtilization": average,
                "highestUtilization": highest,
                "lowestUtilization": lowest,
                "balanceScore": 1.0 - (highest - lowest),
            },
        },
        "generatedAt": now,
    }


def _utilization(executor: Executor) -> float:
    total = executor.total_cores
    return (total - executor.free_cores) / total if total else 0.0
