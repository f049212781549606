"""How long this worker has been here and idle, against how long it stays."""

import time
from collections.abc import Callable

from taskyard.core.stay import Stay


class Staying:
    """The times that :class:`Stay` is about, by this machine's monotonic clock."""

    def __init__(
        self,
        stay: Stay = Stay(),  # noqa: B008 - frozen
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """The worker starts now."""
        self._stay = stay
        self._monotonic = monotonic
        self._began = monotonic()
        self._idle_since: float | None = None
        self._taken = 0

    @property
    def left_s(self) -> float | None:
        """Seconds until it leaves; None if that is not known."""
        return self._stay.left_s(self._age_s)

    @property
    def is_last(self) -> bool:
        """Whether it takes nothing after what it has."""
        return self._stay.once and self._taken > 0

    def take(self, timeout_s: float | None) -> str | None:
        """Count an attempt as taken, unless there is a reason not to take it: answers with that."""
        reason = self._stay.why_not_taken(timeout_s, self._age_s, self._taken)
        if reason is None:
            self.resume()
        return reason

    def resume(self) -> None:
        """An attempt is taken that was here before."""
        self._taken += 1
        self._idle_since = None

    def why_leaving(self, *, is_idle: bool) -> str | None:
        """Why it is to leave now; None if it stays. To be asked time and again."""
        now = self._monotonic()
        if not is_idle:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        idle_s = None if self._idle_since is None else now - self._idle_since
        return self._stay.why_leaving(self._age_s, idle_s, self._taken)

    @property
    def _age_s(self) -> float:
        return self._monotonic() - self._began
