"""Adjusts waiting tasks after the clock was set, on SQLite."""

from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from taskyard.core.cron import next_firing, next_start
from taskyard.core.functions.resources import FunctionResource, Schedule
from taskyard.core.instants import SECOND, Instant
from taskyard.core.jobs import JobDefinition
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.rows import spec_of
from taskyard.store.sql.transactions import Repository, writes

_definition: Final = msgspec.json.Decoder(JobDefinition).decode
_entry: Final = msgspec.json.Decoder(FunctionResource).decode

log = structlog.get_logger(__name__)

Next = Callable[[str, Instant], Instant | None]
"""When something fires next, by the text that it is stored as, after a moment."""


class SqlTiming(Repository):
    """Implements ``ports.dispatching.TimingStore``."""

    @writes
    async def went_back(self, by_s: float, now: Instant) -> None:
        """See the port."""
        values = {"by": round(by_s * SECOND), "now": now}

        def write(connection: Connection) -> None:
            for sql in ("timing.shift_tasks", "timing.shift_jobs", "timing.shift_deliveries"):
                connection.execute(sql, values)
            _advance(connection, "timing.recurring_tasks", "timing.set_start", _of_task, now)
            _advance(connection, "timing.recurring_jobs", "timing.set_job", _of_job, now)
            _advance(connection, "timing.schedules", "timing.set_schedule", _of_schedule, now)

        await self._session.write_urgently(write)


def _advance(connection: Connection, look: str, change: str, of: Next, now: Instant) -> None:
    """Let recurring tasks fire earlier if their rule says so; never later."""
    for key, due_at, text in connection.execute(look, {"now": now}).fetchall():
        try:
            to = of(text, now)
        except Exception:
            # It is put aside, with the reason, when its time has come.
            log.exception("next_firing_unknown", key=key)
            continue
        if to is not None and to < due_at:
            # Not one that somebody else has moved or fired since.
            connection.execute(change, {"seq": key, "was": due_at, "to": to})


def _of_task(text: str, now: Instant) -> Instant | None:
    spec = spec_of(text)
    return None if spec.cron is None else next_firing(spec.cron, spec.timezone, now)


def _of_job(text: str, now: Instant) -> Instant | None:
    cron = _definition(text).cron
    return None if cron is None else next_start(cron, now)


def _of_schedule(text: str, now: Instant) -> Instant | None:
    entry = _entry(text)
    if not isinstance(entry, Schedule):
        return None
    return next_firing(entry.cron, entry.timezone, now)
