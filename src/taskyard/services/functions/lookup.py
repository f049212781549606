"""Looks in the store for functions that this control plane has not heard of yet.

Another plane may have made them a moment ago. However many unknown names are asked for, there is
one reading at a time: whoever asks meanwhile waits for the next one, which looks for all names at
once. A reading begins after it was asked for, so what was stored before is found. Nothing of it is
kept: names that are not there cost no memory, and what is kept of functions has one source only.
"""

from typing import Final

import anyio

from taskyard.core.errors import TaskyardError
from taskyard.core.ids import WorkspaceName
from taskyard.ports.functions import FoundFunction, FunctionStore

MOST_NAMES: Final = 100
"""Names that one reading looks for."""

_Key = tuple[WorkspaceName, str]


class _Reading:
    """One that has not begun yet, or what came of it."""

    __slots__ = ("failure", "found", "keys")

    def __init__(self) -> None:
        self.keys: dict[_Key, None] = {}
        self.found: dict[_Key, FoundFunction | None] | None = None
        self.failure: TaskyardError | None = None


class FunctionLookup:
    """Reads functions by their names or ids."""

    def __init__(self, store: FunctionStore) -> None:
        self._store = store
        self._next = _Reading()
        self._turn = anyio.Lock()

    async def find(self, workspace: WorkspaceName, key: str) -> FoundFunction | None:
        """A function as it is stored; None if there is none, or it is deleted.

        Raises as the store does.
        """
        if not (key.isascii() and key.isprintable()):
            return None  # No function has such a name, and not every database could look for it.
        reading = self._next
        if len(reading.keys) >= MOST_NAMES:
            reading = self._next = _Reading()
        reading.keys[workspace, key] = None
        async with self._turn:
            # Unless one that waits for the same has done it; if that was cancelled, nobody has.
            if reading.found is None and reading.failure is None:
                await self._read(reading)
        if reading.failure is not None:
            raise reading.failure
        return None if reading.found is None else reading.found[workspace, key]

    async def _read(self, reading: _Reading) -> None:
        if self._next is reading:
            self._next = _Reading()
        try:
            found = await self._store.look_up(list(reading.keys))
        except TaskyardError as error:
            reading.failure = error
        else:
            reading.found = dict(zip(reading.keys, found, strict=True))
