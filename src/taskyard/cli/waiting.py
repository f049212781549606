"""Says why a task that somebody waits for does not start: once, and again when that changes."""

import threading
from collections.abc import Callable
from typing import Final

from taskyard.sdk import Client

FIRST_S: Final = 3.0
"""Seconds without a start before anything is said."""
LONGEST_S: Final = 30.0
"""Seconds between two looks at most; they double."""
WAITING: Final = frozenset({"scheduled", "queued"})


class WaitingReasons:
    """Looks in a thread of its own, which a server that does not answer may hold up.

    Args:
        client: asks the server.
        task_id: the task.
        tell: called in that thread with each new reason.
        first_s: see :data:`FIRST_S`.
    """

    def __init__(
        self, client: Client, task_id: str, tell: Callable[[str], None], first_s: float = FIRST_S
    ) -> None:
        self._client = client
        self._task_id = task_id
        self._tell = tell
        self._first_s = first_s
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to look, until the task has started or :meth:`stop` is called."""
        # A daemon: nobody waits for its last answer.
        threading.Thread(target=self._look, daemon=True).start()

    def stop(self) -> None:
        """The task has started, or nobody waits any more. May be called often."""
        self._over.set()

    def _look(self) -> None:
        told, pause_s = "", self._first_s
        while not self._over.wait(pause_s):
            pause_s = min(2 * pause_s, LONGEST_S)
            try:
                found = self._client.why(self._task_id)
            except Exception:  # noqa: BLE001, S112 - no hint; who follows the output hears of it
                continue
            if found.state not in WAITING:
                return
            if found.summary != told and not self._over.is_set():
                told = found.summary
                self._tell(told)
