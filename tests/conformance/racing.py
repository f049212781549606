"""Two clients of one database that act at the same moment."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

import anyio

from taskyard.core.errors import TaskyardError

T = TypeVar("T")
DEADLINE_S = 60.0
"""Two clients that wait for each other never end; this is how long a race may take."""
ROUNDS = 12
"""How often a race is run: a multiple of four, so that every order comes up equally often."""


class Clients:
    """Two clients of one database."""

    def __init__(self, first: Any, second: Any) -> None:
        self.first = first
        self.second = second
        self._races = 0

    def in_turns(self, rounds: int = ROUNDS) -> Iterator[tuple[int, Any, Any]]:
        """The number of each round, and both clients, in turns who is first."""
        for number in range(rounds):
            both = (self.second, self.first) if number % 2 else (self.first, self.second)
            yield number, *both

    async def race(self, *calls: Callable[[], Awaitable[Any]]) -> list[Any]:
        """Do all calls at once; answers in their order, with what one raised instead.

        No call begins before every one is ready to; two races begin with the first call, the next
        two with the last one, as who asks first is often served first. Errors that are not ours are
        raised.
        """
        outcomes: dict[int, Any] = {}
        gate = anyio.Event()
        ready = 0

        async def run(number: int) -> None:
            nonlocal ready
            ready += 1
            if ready == len(calls):
                gate.set()
            await gate.wait()
            try:
                outcomes[number] = await calls[number]()
            except TaskyardError as error:
                outcomes[number] = error

        numbers = range(len(calls))
        order = reversed(numbers) if self._races // 2 % 2 else numbers
        self._races += 1
        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as tasks:
                for number in order:
                    tasks.start_soon(run, number)
        return [outcomes[number] for number in numbers]


def answers(outcomes: Sequence[T | TaskyardError]) -> list[T]:
    """What the calls of a race answered; raises what one of them raised."""
    found: list[T] = []
    for one in outcomes:
        if isinstance(one, TaskyardError):
            raise one
        found.append(one)
    return found


def refusals(outcomes: Sequence[object]) -> list[type[TaskyardError]]:
    """Kinds of errors that calls of a race raised."""
    return [type(one) for one in outcomes if isinstance(one, TaskyardError)]
