"""A runtime's listener that remembers what it hears, and can be waited on."""

from collections.abc import Callable

import anyio

from eventually import WITHIN_S
from taskyard.core.attempts import Ended, Progress, Started
from taskyard.core.ids import AttemptId


class RecordingListener:
    """Remembers starts, progress and ends by attempt, in the order in which they came."""

    def __init__(self) -> None:
        self.starts: dict[AttemptId, list[Started]] = {}
        self.ends: dict[AttemptId, list[Ended]] = {}
        self.progressed: dict[AttemptId, list[Progress]] = {}
        self._news = anyio.Event()

    def started(self, event: Started) -> None:
        """Remember it."""
        self.starts.setdefault(event.attempt_id, []).append(event)
        self._wake()

    def progress(self, event: Progress) -> None:
        """Remember it."""
        self.progressed.setdefault(event.attempt_id, []).append(event)
        self._wake()

    def ended(self, event: Ended) -> None:
        """Remember it."""
        self.ends.setdefault(event.attempt_id, []).append(event)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def until(self, condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
        """Return when a condition on what was heard holds. Raises ``TimeoutError``."""
        with anyio.fail_after(within_s):
            while not condition():
                await self._news.wait()
