"""Hands out the steps for evaluating placement policies, by the time that has passed."""

import time
from collections.abc import Callable
from typing import Final

from taskyard.core.scheduling.rule_budget import Steps

STEPS_PER_S: Final = 100_000
"""For all workspaces together. A step takes about 0.4 µs, so this is a twentieth of a core."""
UNLIMITED: Final = 1 << 60
SAVED_S: Final = 0.025
"""Seconds whose steps one workspace may have saved up, and spend in one round."""
_LEAST: Final = 500


class StepSource:
    """The same amount for each second, shared out among those who need some."""

    def __init__(
        self, per_s: int = STEPS_PER_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_s
        self._monotonic = monotonic
        self._steps = Steps(max(_LEAST, round(per_s * SAVED_S)))
        self._read_at = monotonic()

    def now(self) -> Steps:
        """What there is at this moment."""
        now = self._monotonic()
        count = int((now - self._read_at) * self._per_s)
        if count > 0:
            self._read_at += count / self._per_s
            self._steps.refill(count)
        return self._steps
