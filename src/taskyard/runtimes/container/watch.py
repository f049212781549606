"""Listening to the engine's events, and noticing when it is away."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio
import structlog

from taskyard.core.backoff import Backoff
from taskyard.core.ids import AttemptId
from taskyard.core.instants import Instant
from taskyard.ports.clock import Clock
from taskyard.runtimes.container.outage import OutageRecord
from taskyard.runtimes.engine.client import EngineClient
from taskyard.runtimes.engine.errors import EngineRefused, EngineUnreachable
from taskyard.runtimes.engine.identity import ATTEMPT_LABEL, INSTALLATION_LABEL

_log = structlog.get_logger(__name__)

T = TypeVar("T")

_ENDS: Final = frozenset({"die", "died", "destroy", "remove"})
_OUT_OF_MEMORY: Final = "oom"
_CALL_MIN_S: Final = 0.1
_CALL_MAX_S: Final = 2.0
_RETRY_MIN_S: Final = 0.05
_RETRY_MAX_S: Final = 2.0
_PING_S: Final = 10.0
_AGAIN_S: Final = 1.0
_BEFORE: Final = 2_000_000
_AFTER: Final = 5_000_000


class Watch:
    """The connection to the event stream of one engine, made again whenever it breaks.

    Args:
        engine: Where to listen.
        installation: Whose containers to listen for.
        clock: Wall time.
        on_end: Told which attempt's container may have ended.
        on_out_of_memory: Told in which attempt's container the kernel killed something for want of
            memory. May come after its end.
        on_connect: Called after every connect: whatever happened before it went unheard.
        outages: What earlier lives of this process know of the engine, and later ones will.
    """

    def __init__(
        self,
        engine: EngineClient,
        installation: str,
        clock: Clock,
        on_end: Callable[[AttemptId], None],
        on_out_of_memory: Callable[[AttemptId], None],
        on_connect: Callable[[], Awaitable[None]],
        outages: OutageRecord,
    ) -> None:
        self._engine = engine
        self._label = f"{INSTALLATION_LABEL}={installation}"
        self._clock = clock
        self._on_end = on_end
        self.on_out_of_memory = on_out_of_memory
        self._on_connect = on_connect
        self._absences = outages
        self._lost_at: Instant | None = None
        self._outages: deque[tuple[Instant, Instant]] = deque(maxlen=64)
        last = outages.last
        if last is not None and last.back_at is None:
            self._lost_at = last.lost_at
        elif last is not None and last.back_at is not None:
            self._outages.append((last.lost_at, last.back_at))
        self.generation = 0
        """How often it was connected; a change means that the engine may have been away."""
        self.connected = anyio.Event()
        """Set while events are heard."""

    def was_away(self, at: Instant | None) -> bool:
        """Whether the engine was away about that time."""
        if at is None:
            return False
        windows = list(self._outages)
        if self._lost_at is not None:
            windows.append((self._lost_at, self._clock.now()))
        return any(lost - _BEFORE <= at <= back + _AFTER for lost, back in windows)

    async def going(self, at: Instant | None = None) -> None:
        """The engine cannot be reached since about then, or now.

        One that is about to stop takes no new connections; the one to its events may outlast the
        containers it takes along, and this process.
        """
        if self._lost_at is None:
            self._lost_at = self._clock.now() if at is None else at
            await self._absences.begin(self._lost_at)

    async def came_back(self) -> None:
        """The engine answers again."""
        if self._lost_at is not None:
            now = self._clock.now()
            self._outages.append((self._lost_at, now))
            self._lost_at = None
            await self._absences.end(now)

    async def until_done(self, call: Callable[[], Awaitable[T]], container: str) -> T:
        """Call until the engine is there and does it; ``container`` is for the log."""
        backoff = Backoff(_CALL_MIN_S, _CALL_MAX_S)
        was_gone = False
        while True:
            try:
                answer = await call()
            except (EngineUnreachable, EngineRefused) as error:
                if isinstance(error, EngineUnreachable):
                    was_gone = True
                    await self.going()
                _log.info("waiting for the container engine", why=str(error), container=container)
            else:
                if was_gone:
                    await self.came_back()
                return answer
            await anyio.sleep(backoff.delay_s())

    async def run(self) -> None:
        """Listen until cancelled."""
        backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S)
        while True:
            before = self.generation
            try:
                async with self._engine.events(self._label) as events:
                    reason = await self._listen(events)
            except (EngineUnreachable, EngineRefused) as error:
                reason = str(error)
            if self.generation != before:
                backoff.reset()
                self.connected = anyio.Event()
                _log.warning(
                    "container engine lost", engine=str(self._engine.address), reason=reason
                )
                await self.going()
            await anyio.sleep(backoff.delay_s())

    async def _listen(self, events: AsyncIterator[dict[str, Any]]) -> str:
        """Hear events until the stream ends; why it did."""
        reason = "the engine ended its event stream"
        self.generation += 1
        if self._lost_at is not None:
            _log.info("container engine found again", engine=str(self._engine.address))
        await self.came_back()
        self.connected.set()
        async with anyio.create_task_group() as group:
            group.start_soon(self._look_around)
            group.start_soon(self._ping, group.cancel_scope)
            try:
                async for event in events:
                    self._hear(event)
            except EngineUnreachable as error:
                reason = str(error)
            group.cancel_scope.cancel()
        return reason

    def _hear(self, event: dict[str, Any]) -> None:
        actions = {event.get("Action"), event.get("status")}
        ended, out_of_memory = bool(actions & _ENDS), _OUT_OF_MEMORY in actions
        if not ended and not out_of_memory:
            return
        attributes = (event.get("Actor") or {}).get("Attributes") or {}
        attempt_id = attributes.get(ATTEMPT_LABEL)
        if not isinstance(attempt_id, str):
            return
        if out_of_memory:
            self.on_out_of_memory(AttemptId(attempt_id))
        else:
            self._on_end(AttemptId(attempt_id))

    async def _look_around(self) -> None:
        # Twice: engines answer a moment before they really listen on our behalf.
        for _ in range(2):
            await self._on_connect()
            await anyio.sleep(_AGAIN_S)

    async def _ping(self, scope: anyio.CancelScope) -> None:
        """Notice an engine that is gone without a word, as over a network."""
        while True:
            await anyio.sleep(_PING_S)
            try:
                await self._engine.ping()
            except EngineUnreachable:
                scope.cancel()
                return
            except EngineRefused as error:
                _log.warning("container engine in trouble", error=str(error))
