"""Two clients of one database that do the same, or the opposite, at the same moment."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from racing import Clients

from fakes.specs import new_task
from taskyard.core.errors import TaskyardError
from taskyard.core.ids import WorkspaceName
from taskyard.core.states import TaskState

Call = Callable[[Any], Awaitable[Any]]
"""What a client is to do."""

BYSTANDER: Final = WorkspaceName("bystander")


class Rivals:
    """Two clients in a race.

    Args:
        clients: both.
        is_turned: the second one begins.
    """

    def __init__(self, clients: Clients, *, is_turned: bool) -> None:
        self._clients = clients
        self._is_turned = is_turned

    async def race(self, first: Call, second: Call | None = None) -> list[Any]:
        """Have one client do something, and the other the same, or ``second``, at once.

        A third write goes along, which no lost race may fail.

        Returns:
            What each answered, or the error of ours that it raised; the first one's first.
        """
        one, two = self._clients.first, self._clients.second
        bystander = new_task(workspace=BYSTANDER)
        calls = [
            partial(first, one),
            partial(one.tasks.submit, [bystander], None),
            partial(second or first, two),
        ]
        if self._is_turned:
            calls.reverse()
        outcomes = await self._clients.race(*calls)
        if self._is_turned:
            outcomes.reverse()
        assert (await two.tasks.task(BYSTANDER, bystander.id)).state is TaskState.QUEUED
        return [outcomes[0], outcomes[2]]


def winner(outcomes: list[Any], lost: type[TaskyardError]) -> Any:
    """What the one answered that won; the other one has to have met exactly this error."""
    won = [one for one in outcomes if not isinstance(one, TaskyardError)]
    failed = [type(one) for one in outcomes if isinstance(one, TaskyardError)]
    assert failed == [lost], outcomes
    return won[0]
