"""A store that fails on demand, before it did what was asked or after; and one that stalls."""

import itertools
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

import anyio

from taskyard.core.errors import Unavailable


class When(StrEnum):
    """The two moments at which a call to a store can fail."""

    BEFORE = "before"
    """Nothing was stored."""
    AFTER = "after"
    """It was stored, but the caller does not hear of it."""


class Faults:
    """Counts the calls to everything it wraps, and fails one of them."""

    def __init__(self, number: int | None = None, when: When = When.BEFORE) -> None:
        """Fail the ``number``-th call (from 0), and no other; none if None."""
        self._number = number
        self._when = when
        self._calls = itertools.count()
        self.called: list[str] = []
        self.armed = True

    def wrap(self, part: Any) -> Any:
        """The same object with calls that can fail."""
        return _Failing(part, self)

    async def call(self, name: str, method: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Do it, and perhaps fail."""
        if not self.armed:
            return await method(*args)
        self.called.append(name)
        fails = next(self._calls) == self._number
        if fails and self._when is When.BEFORE:
            raise Unavailable(f"{name} failed before")
        result = await method(*args)
        if fails:
            raise Unavailable(f"{name} failed after")
        return result


class _Failing:
    def __init__(self, part: Any, faults: Faults) -> None:
        self._part = part
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)
        kind = type(self._part).__name__

        async def call(*args: Any, **options: Any) -> Any:
            async def run(*given: Any) -> Any:
                return await method(*given, **options)

            return await self._faults.call(f"{kind}.{name}", run, *args)

        return call


class Stall:
    """A store that stands still on demand: calls to what it wraps wait until it goes on."""

    def __init__(self) -> None:
        self._goes_on = anyio.Event()
        self._goes_on.set()
        self.waiting = 0
        """Calls that wait."""

    def wrap(self, part: Any) -> Any:
        """The same object with calls that can be held up."""
        return _Stalling(part, self)

    def begin(self) -> None:
        """Stand still."""
        self._goes_on = anyio.Event()

    def end(self) -> None:
        """Go on: whatever waited is done now, in order."""
        self._goes_on.set()

    async def passed(self) -> None:
        """Return once it does not stand still."""
        self.waiting += 1
        try:
            await self._goes_on.wait()
        finally:
            self.waiting -= 1


class _Stalling:
    def __init__(self, part: Any, stall: Stall) -> None:
        self._part = part
        self._stall = stall

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)

        async def call(*args: Any, **options: Any) -> Any:
            await self._stall.passed()
            return await method(*args, **options)

        return call
