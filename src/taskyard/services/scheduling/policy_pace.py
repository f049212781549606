"""Lets each workspace have placement policies read at a pace of its own.

To parse a rule takes ten times as long as to evaluate it, and whoever submits many large ones would
keep everybody else waiting for so long. Who is faster than its share waits here, one policy after
the other; nobody waits with it.
"""

from typing import Final

from taskyard.core.errors import Overloaded
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import seconds_between
from taskyard.core.scheduling.policies import Policy, reading_effort
from taskyard.core.scheduling.rule_budget import OutOfSteps
from taskyard.ports.clock import Clock
from taskyard.services.scheduling.rule_budget import StepSource

PAUSE_S: Final = 0.02
LONGEST_WAIT_S: Final = 30.0


class PolicyPace:
    """Hands out the time to read policies."""

    def __init__(self, steps: StepSource, clock: Clock) -> None:
        self._steps = steps
        self._clock = clock

    async def read(self, workspace: WorkspaceName, policy: Policy | None) -> None:
        """Wait until a policy may be checked; at once for one whose rules are known."""
        if policy is not None and (effort := reading_effort(policy)):
            await self.spend(workspace, effort)

    async def spend(self, workspace: WorkspaceName, steps: int) -> None:
        """Wait until a workspace may cause so much work.

        Raises ``Overloaded`` if that takes too long.
        """
        began = self._clock.now()
        while True:
            try:
                self._steps.now().spend(workspace, steps)
            except OutOfSteps:
                if seconds_between(began, self._clock.now()) >= LONGEST_WAIT_S:
                    raise Overloaded(
                        "this workspace has more rules of placement read than its share allows; "
                        "send fewer tasks with different rules at once",
                        LONGEST_WAIT_S,
                    ) from None
                await self._clock.sleep(PAUSE_S)
            else:
                return
