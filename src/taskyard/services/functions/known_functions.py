"""The functions of this installation in memory, as every call needs them.

What this process changes is known at once. Of what other control planes change it hears a moment
later; so where something seems to be missing, the store is asked (``lookup.py``).
"""

from typing import NamedTuple

from taskyard.core.errors import NotFound
from taskyard.core.functions.functions import Function, FunctionId, Version
from taskyard.core.ids import WorkspaceName
from taskyard.ports.functions import FunctionStore
from taskyard.services.functions.lookup import FunctionLookup


class CallTarget(NamedTuple):
    """What a call runs."""

    function: Function
    version: int | None
    """None if no build has succeeded yet."""
    is_image: bool


class KnownFunctions:
    """All functions that are not deleted.

    Args:
        store: where they are.
        is_shared: whether other control planes change them.
    """

    def __init__(self, store: FunctionStore, *, is_shared: bool) -> None:
        self._store = store
        self._lookup = FunctionLookup(store) if is_shared else None
        self._known: dict[tuple[WorkspaceName, str], Function] = {}
        """By name and by id."""
        self._revision = 0
        """Counts what this process has changed: what was read before may be older."""
        self._images: set[tuple[FunctionId, int]] = set()
        """Versions that are images."""

    async def load(self) -> None:
        """Read all of them: before anything else, and when others changed some.

        Raises as the store does.
        """
        while True:
            revision = self._revision
            functions = await self._store.everything()
            images = await self._store.image_versions()
            if revision == self._revision:
                break
        self._known.clear()
        for function in functions:
            self.know(function)
        self._images |= images

    async def find(self, workspace: WorkspaceName, key: str) -> Function:
        """By name or id. Raises ``NotFound``, also for a deleted one."""
        function = await self.get(workspace, key)
        if function is None:
            raise NotFound("function", key)
        return function

    async def get(self, workspace: WorkspaceName, key: str) -> Function | None:
        """As :meth:`find`; None for one that is not there."""
        known = self._known.get((workspace, key))
        if self._lookup is None or not _is_outdated(known, None):
            return known
        found = await self._lookup.find(workspace, key)
        return known if found is None else found.function

    async def target(
        self, workspace: WorkspaceName, key: str, version: int | None = None
    ) -> CallTarget:
        """What a call of a function runs: this version, or the one that is live now.

        Raises ``NotFound``.
        """
        function = self._known.get((workspace, key))
        if self._lookup is not None and _is_outdated(function, version):
            found = await self._lookup.find(workspace, key)
            if found is not None:
                number = found.function.live_version if version is None else version
                return CallTarget(found.function, number, number in found.images)
        if function is None:
            raise NotFound("function", key)
        number = function.live_version if version is None else version
        is_image = number is not None and (function.id, number) in self._images
        return CallTarget(function, number, is_image)

    def know(self, function: Function) -> Function:
        """Know a function as it was just stored."""
        self._revision += 1
        if function.deleted_at is None:
            self._known[function.workspace, function.name] = function
            self._known[function.workspace, function.id] = function
        return function

    def know_version(self, version: Version) -> None:
        """Know a version that was just stored."""
        if version.image:
            self._images.add((version.function_id, version.number))

    def refresh(self, function: Function) -> None:
        """Know what was read a moment ago, unless it was changed or deleted since."""
        known = self._known.get((function.workspace, function.id))
        if known is not None and known.updated_at <= function.updated_at:
            self.know(function)

    def forget(self, function: Function) -> None:
        """It is about to be changed, or to be deleted."""
        self._revision += 1
        self._known.pop((function.workspace, function.name), None)
        self._known.pop((function.workspace, function.id), None)


def _is_outdated(function: Function | None, version: int | None) -> bool:
    """Whether what is wanted, the live version if None, may have been stored since it was read."""
    if function is None:
        return True
    return function.live_version is None if version is None else version > function.last_version
