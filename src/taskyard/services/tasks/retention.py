"""Retention: forgets ended tasks by age and by count, a little at a time."""

import structlog

from taskyard.core.errors import Overloaded, Unavailable
from taskyard.core.instants import after
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import DispatchStore
from taskyard.ports.logs import LogStore

EVERY_S = 30.0
AT_ONCE = 200
"""Tasks removed in one transaction, so that submits never wait for long."""
BREATH_S = 0.05

log = structlog.get_logger(__name__)


class Retention:
    """A loop that removes what retention does not keep."""

    def __init__(
        self,
        store: DispatchStore,
        logs: LogStore,
        clock: Clock,
        keep_s: float | None,
        keep_count: int | None,
    ) -> None:
        """Prepare.

        Args:
            store: where tasks are.
            logs: where their output is.
            clock: tells their age.
            keep_s: seconds after its end that a task is kept; None forever.
            keep_count: ended tasks kept for each workspace, newest first; None for all.
        """
        self._store = store
        self._logs = logs
        self._clock = clock
        self._keep_s = keep_s
        self._keep_count = keep_count

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                while await self.once():
                    await self._clock.sleep(BREATH_S)
            except (Unavailable, Overloaded, OSError) as error:
                log.warning("prune_paused", reason=str(error))
            await self._clock.sleep(EVERY_S)

    async def once(self) -> bool:
        """Remove one batch; False once nothing was left to remove."""
        now = self._clock.now()
        older_than = after(now, -self._keep_s) if self._keep_s is not None else None
        removed, attempts = await self._store.prune(now, older_than, self._keep_count, AT_ONCE)
        await self._logs.delete(attempts)
        return removed > 0
