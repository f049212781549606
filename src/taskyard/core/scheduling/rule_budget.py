"""How much work placement policies may cause: steps, of which every workspace has a share.

Whatever has to be found out about a policy is paid for first, by the workspace whose task it is.
One that has nothing left waits with its question; nobody waits with it. Counts only: who refills
them knows the time.
"""

from typing import Final, Protocol

from taskyard.core.ids import WorkspaceName


class OutOfSteps(Exception):
    """The share is used up; what was asked stays open until there is more."""


class Budget(Protocol):
    """What questions are paid from."""

    @property
    def owner(self) -> WorkspaceName | None:
        """The workspace that is charged; None for no one."""
        ...

    def spend(self, count: int) -> None:
        """Pay so many steps. Raises :class:`OutOfSteps` if there is nothing left at all."""
        ...


class _Endless:
    owner = None

    def spend(self, count: int) -> None:
        pass


class _Empty:
    owner = None

    def spend(self, count: int) -> None:
        raise OutOfSteps(count)


ENDLESS: Final[Budget] = _Endless()
"""Pays for everything."""
EMPTY: Final[Budget] = _Empty()
"""Pays for nothing: good for what is known already."""


class RuleBudget:
    """What each workspace has left."""

    def __init__(self, most: int) -> None:
        """``most`` is what one workspace may have saved up, and so spend in one plan."""
        self._most = most
        self._left: dict[WorkspaceName, int] = {}
        """Of those who have less than that."""
        self._rest = 0

    def of(self, workspace: WorkspaceName) -> Budget:
        """One workspace's budget."""
        return _Share(self, workspace)

    def left(self, workspace: WorkspaceName) -> int:
        """What a workspace may still spend; the last payment may have gone below nothing."""
        return self._left.get(workspace, self._most)

    def spend(self, workspace: WorkspaceName, count: int) -> None:
        """Take from a workspace's share. Raises :class:`OutOfSteps` if nothing is left of it."""
        left = self._left.get(workspace, self._most)
        if left <= 0:
            raise OutOfSteps
        self._left[workspace] = left - count

    def refill(self, count: int) -> None:
        """Share out so many steps among those who spent some, the same to each."""
        if not self._left:
            self._rest = 0
            return
        share, self._rest = divmod(self._rest + count, len(self._left))
        self._left = {
            name: left + share for name, left in self._left.items() if left + share < self._most
        }


class _Share:
    __slots__ = ("_steps", "owner")

    def __init__(self, steps: RuleBudget, owner: WorkspaceName) -> None:
        self._steps = steps
        self.owner = owner

    def spend(self, count: int) -> None:
        self._steps.spend(self.owner, count)
