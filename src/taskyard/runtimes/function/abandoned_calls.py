"""The calls of pools whose processes died with their ancestor."""

from collections.abc import Iterable

from taskyard.runtimes.function.instance import Call, Member
from taskyard.runtimes.function.pool import Pool


class Orphans:
    """Calls taken from pools that are no more, before anybody else can settle them.

    Their sockets hang up at the same time as the ancestor's. Whoever hears that first must not
    make the death of a member the function's own fault, so all are taken at once, without waiting.
    """

    def __init__(self, pools: Iterable[Pool]) -> None:
        """Take all calls of these pools, and close them."""
        self.given: list[tuple[Call, Member]] = []
        """Calls that a member had; those being settled already are left to whoever does."""
        self.waiting: list[Call] = []
        """Calls that no member had seen."""
        for pool in pools:
            for member in pool.members.values():
                call = member.call
                if call is not None and not call.settling:
                    call.settling = True
                    self.given.append((call, member))
            self.waiting += pool.waiting
            pool.waiting.clear()
            pool.close()
