"""Whether this control plane can hear the workers on other machines, and so may judge them.

While NATS is away nobody hears anybody: what runs goes on, and its lease is not the measure. After
it has come back, workers need a while until all of them are heard again.
"""

from collections.abc import Callable
from typing import Final

JUDGES_AFTER_S: Final = 12.0
"""For how long a control plane has to be connected before it judges; longer than a lease holds."""


class Hearing:
    """Looks at the connection whenever somebody asks, which has to be often.

    Args:
        is_connected: whether there is a connection now.
        connects: how often there was a new one.
        monotonic: seconds.
    """

    def __init__(
        self,
        is_connected: Callable[[], bool],
        connects: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._is_connected = is_connected
        self._connects = connects
        self._monotonic = monotonic
        self._seen = connects()
        self._judges_from = monotonic() + JUDGES_AFTER_S

    @property
    def is_connected(self) -> bool:
        """Whether workers can be heard, and reached, now."""
        self.look()
        return self._is_connected()

    def look(self) -> bool:
        """Whether workers on other machines may be judged by their silence."""
        connects = self._connects()
        if not self._is_connected() or connects != self._seen:
            self._seen = connects
            self._judges_from = self._monotonic() + JUDGES_AFTER_S
        return self._monotonic() >= self._judges_from


def hears_nobody() -> Hearing:
    """Of a control plane without NATS: there are no workers that it could hear."""
    return Hearing(lambda: False, lambda: 0, lambda: 0.0)
