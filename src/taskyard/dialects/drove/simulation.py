"""Simulates where a number of tasks would be placed now, one after the other."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from taskyard.core.ids import WorkerId, WorkspaceName
from taskyard.core.resources import Resources
from taskyard.core.scheduling.fleet import MetadataOfAll
from taskyard.core.scheduling.policies import Policy
from taskyard.core.scheduling.pools import POOLED_RUNTIME
from taskyard.core.scheduling.requirements import Requirements
from taskyard.core.scheduling.rule_budget import RuleBudget
from taskyard.core.scheduling.rule_results import RuleResults
from taskyard.dialects.drove import schemas as wire
from taskyard.dialects.drove.executors import PORT, Executor

INSTANCES_LIMIT: Final = 1000
STEPS_LIMIT: Final = 250_000
"""What evaluating the policy may cost in all: a tenth of a second."""
_NOBODY: Final = WorkspaceName("")


class SimulationRequest(Struct):
    """What the command-line client sends."""

    spec: wire.WireSpec | None = None
    numInstances: int = 1  # noqa: N815 - on the wire
    placementPolicy: wire.WirePolicy | None = None  # noqa: N815 - on the wire


simulation_decoder: Final = msgspec.json.Decoder(
    SimulationRequest | None, dec_hook=wire.decode_hook
)


def simulated(
    executors: Sequence[Executor],
    running: Counter[WorkerId],
    resources: Resources,
    policy: Policy,
    count: int,
) -> dict[str, Any]:
    """The outcome; ``running`` counts what executors have of the application already.

    Raises :class:`OutOfSteps` for a policy that takes too long to evaluate.
    """
    requirements = Requirements(resources, POOLED_RUNTIME, policy)
    rooms = {one.record.id: one.room for one in executors if one.room is not None and one.is_active}
    rule_results, budget = (
        RuleResults(MetadataOfAll(dict(rooms))),
        RuleBudget(STEPS_LIMIT).of(_NOBODY),
    )
    for name in rooms:
        rule_results.describe(name)
    by_worker = {one.record.id: one for one in executors}
    placements: list[dict[str, Any]] = []
    errors: list[str] = []
    while len(placements) < count:
        able = [
            room
            for name, room in rooms.items()
            if room.fits(requirements)
            and rule_results.refusal(policy, room, running[name], budget) is None
        ]
        if not able:
            errors.append(f"No executor takes instance {len(placements) + 1} of {count}")
            break
        best = min(able, key=lambda room: (room.load, room.worker_id))
        rooms[best.worker_id] = best.minus(best.grant(resources))
        running[best.worker_id] += 1
        chosen = by_worker[best.worker_id]
        placements.append(
            {
                "executorId": chosen.id,
                "hostname": chosen.record.hostname,
                "port": PORT,
                "executorState": chosen.state,
            }
        )
    return {
        "requested": count,
        "placed": len(placements),
        "errors": errors,
        "placements": placements,
    }
