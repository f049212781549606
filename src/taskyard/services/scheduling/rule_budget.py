"""The work that placement rules may cause: evaluating them, and reading those of new policies.

Reading a rule takes ten times as long as evaluating it, and whoever submits many large ones would
keep everybody else waiting for so long. A workspace that is faster than its share waits, one policy
after the other; the others do not.
"""

import time
from collections.abc import Callable
from typing import Final

from taskyard.core.errors import Overloaded
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import seconds_between
from taskyard.core.scheduling.policies import Policy, reading_effort
from taskyard.core.scheduling.rule_budget import OutOfSteps, RuleBudget
from taskyard.ports.clock import Clock

STEPS_PER_S: Final = 100_000
"""For all workspaces together. A step takes about 0.4 µs, so this is a twentieth of a core."""
UNLIMITED: Final = 1 << 60
SAVED_S: Final = 0.025
"""Seconds whose steps one workspace may have saved up, and spend in one round."""
_LEAST: Final = 500
PAUSE_S: Final = 0.02
LONGEST_WAIT_S: Final = 30.0


class RuleBudgetSource:
    """The same amount for each second, shared out among those who need some."""

    def __init__(
        self, per_s: int = STEPS_PER_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_s
        self._monotonic = monotonic
        self._steps = RuleBudget(max(_LEAST, round(per_s * SAVED_S)))
        self._read_at = monotonic()

    def now(self) -> RuleBudget:
        """What there is at this moment."""
        now = self._monotonic()
        count = int((now - self._read_at) * self._per_s)
        if count > 0:
            self._read_at += count / self._per_s
            self._steps.refill(count)
        return self._steps


class PolicyPace:
    """Hands out the time to read policies."""

    def __init__(self, steps: RuleBudgetSource, clock: Clock) -> None:
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
