"""Adjusts waiting tasks after the clock was set, on SQLite."""

import sqlite3
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from taskyard.core.cron import next_firing, next_start
from taskyard.core.functions.resources import FunctionResource, Schedule
from taskyard.core.instants import SECOND, Instant
from taskyard.core.jobs import JobDefinition
from taskyard.store.sqlite.database import queries
from taskyard.store.sqlite.rows import spec_of
from taskyard.store.sqlite.transactions import Repository, writes

_SQL: Final = queries("timing")
_definition: Final = msgspec.json.Decoder(JobDefinition).decode
_entry: Final = msgspec.json.Decoder(FunctionResource).decode

log = structlog.get_logger(__name__)

Next = Callable[[str, Instant], Instant | None]
"""When something fires next, by the text that it is stored as, after a moment."""


class SqliteTiming(Repository):
    """Implements ``ports.dispatching.TimingStore``."""

    @writes
    async def went_back(self, by_s: float, now: Instant) -> None:
        """See the port."""
        values = {"by": round(by_s * SECOND), "now": now}

        def write(connection: sqlite3.Connection) -> None:
            for sql in (_SQL.shift_tasks, _SQL.shift_jobs, _SQL.shift_deliveries):
                connection.execute(sql.sql, values)
            _advance(connection, _SQL.recurring_tasks.sql, _SQL.set_start.sql, _of_task, now)
            _advance(connection, _SQL.recurring_jobs.sql, _SQL.set_job.sql, _of_job, now)
            _advance(connection, _SQL.schedules.sql, _SQL.set_schedule.sql, _of_schedule, now)

        await self._session.write_urgently(write)


def _advance(
    connection: sqlite3.Connection, look: str, change: str, of: Next, now: Instant
) -> None:
    """Let recurring tasks fire earlier if their rule says so; never later."""
    for key, due_at, text in connection.execute(look, {"now": now}).fetchall():
        try:
            to = of(text, now)
        except Exception:
            # It is put aside, with the reason, when its time has come.
            log.exception("next_firing_unknown", key=key)
            continue
        if to is not None and to < due_at:
            connection.execute(change, {"seq": key, "to": to})


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
