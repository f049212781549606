"""Executors by name, and when each was heard of last."""

from taskyard.core.ids import WorkerId
from taskyard.dialects.drove.views import milliseconds
from taskyard.services.engine import Engine


class Hosts:
    """Looks workers up; remembers the names of those that are gone."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._names: dict[WorkerId, str] = {}
        self._beats: dict[WorkerId, int] = {}

    def known_name(self, worker_id: WorkerId) -> str | None:
        """Host name of a worker that is or was here in the life of this process."""
        self.look()
        return self._names.get(worker_id)

    async def name(self, worker_id: WorkerId) -> str | None:
        """Host name of any worker; None for one that was forgotten. Raises as the store does."""
        found = self.known_name(worker_id)
        if found is None:
            for record in await self._engine.workers.known():
                self._names.setdefault(record.id, record.hostname)
            found = self._names.get(worker_id)
        return found

    def beat_ms(self, worker_id: WorkerId) -> int:
        """When it was heard of last; 0 if never. As of the last :meth:`look`."""
        return self._beats.get(worker_id, 0)

    def look(self) -> None:
        """Take note of who is here now."""
        for record, _ in self._engine.dispatch.workers():
            self._names[record.id] = record.hostname
            self._beats[record.id] = milliseconds(record.beat_at)
