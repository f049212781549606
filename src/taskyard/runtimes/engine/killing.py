"""A kill under way: the signal, the grace, the end, and what can be proven of it."""

import time
from typing import Final

import anyio
import structlog

from taskyard.core.attempts import KillReport, Survivor
from taskyard.core.instants import Instant
from taskyard.runtimes.engine.client import EngineClient
from taskyard.runtimes.engine.errors import EngineRefused, EngineUnreachable

_log = structlog.get_logger(__name__)

METHOD: Final = "container"
_AGAIN_S: Final = 1.0
_GIVE_UP_S: Final = 60.0
_TOP_S: Final = 2.0
_TRY_AGAIN_S: Final = 0.5


class Killing:
    """The kill of one container. All processes of a container end with its first."""

    def __init__(self, cause: str, signal: str, grace_s: float, now: Instant) -> None:
        polite = signal != "SIGKILL" and grace_s > 0
        self.cause = cause
        """``killed`` (somebody asked for it) or ``timeout``."""
        self.requested_at = now
        self.signal = signal if polite else None
        self.forced = False
        self.count = 0
        """Processes alive when it was killed outright."""
        self.sent = False
        """Whether the engine was told anything."""
        self.survivor_pid: int | None = None
        """Main process of a container that outlived it all."""
        self._asked = False
        self._force_at = time.monotonic() + (grace_s if polite else 0.0)
        self._next_at = 0.0
        self._first_force_at: float | None = None

    def shorten(self, grace_s: float) -> None:
        """Leave no more grace than this from now."""
        self._force_at = min(self._force_at, time.monotonic() + grace_s)
        self._next_at = 0.0

    def next_at(self, now: float) -> float:
        """When there is something to do again, on the monotonic clock."""
        if self.forced or not (self._asked or self.signal is None):
            return max(now, self._next_at)
        return max(self._force_at, self._next_at)

    def has_failed(self, now: float) -> bool:
        """Whether to give up."""
        return self._first_force_at is not None and now - self._first_force_at > _GIVE_UP_S

    async def advance(self, engine: EngineClient, container: str, now: float) -> bool:
        """Do what is due; True if the container may have ended by it."""
        if now < self._next_at:
            return False
        if now >= self._force_at:
            if not self.forced:
                self.count = await _processes(engine, container)
            done = await self._send(engine, container, "SIGKILL", now)
            if done:
                self.forced = True
                self._first_force_at = self._first_force_at or now
                self._next_at = time.monotonic() + _AGAIN_S
            return done
        if not self._asked and self.signal is not None:
            self._asked = await self._send(engine, container, self.signal, now)
            return self._asked
        return False

    def report(self, container: str, now: Instant) -> KillReport:
        """The proof of it, once the container has ended or was given up."""
        pid = self.survivor_pid
        return KillReport(
            requested_at=self.requested_at,
            done_at=now,
            signal=self.signal,
            forced=self.forced,
            method=METHOD,
            killed_count=self.count,
            survivors=() if pid is None else (Survivor(pid, f"container {container}"),),
        )

    async def _send(self, engine: EngineClient, container: str, signal: str, now: float) -> bool:
        try:
            await engine.call("POST", f"/containers/{container}/kill", params={"signal": signal})
        except EngineRefused as error:
            # Nearly always: it does not run any more. A look at it tells.
            _log.debug("kill refused", container=container, why=str(error))
            self._next_at = now + _TRY_AGAIN_S
            return True
        except EngineUnreachable as error:
            _log.warning("kill waits for the engine", container=container, why=str(error))
            self._next_at = now + _TRY_AGAIN_S
            return False
        self.sent = True
        return True


async def _processes(engine: EngineClient, container: str) -> int:
    """How many run in it; at least the one there always is."""
    with anyio.move_on_after(_TOP_S):
        try:
            found = await engine.call("GET", f"/containers/{container}/top")
        except (EngineRefused, EngineUnreachable) as error:
            _log.debug("processes not counted", container=container, why=str(error))
        else:
            return max(1, len((found or {}).get("Processes") or []))
    return 1
