"""The calls of pools whose processes died with their ancestor."""

from collections.abc import Iterable

from taskyard.runtimes.function.instance import Call, Instance
from taskyard.runtimes.function.pool import Pool


class AbandonedCalls:
    """Calls taken from pools that are no more, before anybody else can settle them.

    Their sockets hang up at the same time as the ancestor's. Whoever hears that first must not
    make the death of an instance the function's own fault, so all are taken at once.
    """

    def __init__(self, pools: Iterable[Pool]) -> None:
        """Take all calls of these pools, and close them."""
        self.given: list[tuple[Call, Instance]] = []
        """Calls that an instance had; those being settled already are left to whoever does."""
        self.waiting: list[Call] = []
        """Calls that no instance had seen."""
        for pool in pools:
            for instance in pool.instances.values():
                call = instance.call
                if call is not None and not call.completing:
                    call.completing = True
                    self.given.append((call, instance))
            self.waiting += pool.waiting
            pool.waiting.clear()
            pool.close()
