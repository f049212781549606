"""Sweeping objects that belong to nothing: output and answers of attempts that were deleted.

They are deleted with their tasks. What a crash in between has left, or what was stored late by a
machine that had been given up, is found here; and what puts that were cut off have left.
"""

from typing import Final

import structlog

from taskyard.core.errors import Overloaded, Unavailable
from taskyard.core.ids import AttemptId
from taskyard.ports.clock import Clock
from taskyard.ports.logs import OutputTotals
from taskyard.ports.objects import OUTPUT, RESULTS, ObjectStore, StoredObject

EVERY_S: Final = 3600.0
YOUNG_S: Final = 3600.0
"""Objects are left alone for so long."""
_PAGE: Final = 1000
_BREATH_S: Final = 0.05

log = structlog.get_logger(__name__)


class ObjectSweep:
    """Removes, now and then, what no task needs."""

    def __init__(self, objects: ObjectStore, attempts: OutputTotals, clock: Clock) -> None:
        self._objects = objects
        self._attempts = attempts
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.once()
            except (Unavailable, Overloaded) as error:
                log.warning("objects_not_swept", reason=str(error))
            await self._clock.sleep(EVERY_S)

    async def once(self) -> int:
        """Remove objects of attempts that are not known any more; how many."""
        await self._objects.sweep()
        count = 0
        for prefix in (OUTPUT, RESULTS):
            last = ""
            while page := await self._objects.list_objects(prefix, after=last, limit=_PAGE):
                last = page[-1].key
                count += await self._remove([one for one in page if one.age_s >= YOUNG_S])
                await self._clock.sleep(_BREATH_S)
        return count

    async def _remove(self, old: list[StoredObject]) -> int:
        owners = {one.key: AttemptId(one.key.split("/")[1]) for one in old}
        known = await self._attempts.known(sorted(set(owners.values())))
        orphans = [key for key, owner in owners.items() if owner not in known]
        if orphans:
            log.info("objects_removed", count=len(orphans))
            await self._objects.delete(orphans)
        return len(orphans)
