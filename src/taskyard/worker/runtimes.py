"""A worker's runtimes: which of them can be used now, and looking after those that come and go."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, runtime_checkable

import anyio
import structlog

from taskyard.core.availability import RuntimeStatus, bounded_reason
from taskyard.core.circuit_breaker import Circuit, CircuitRule, CircuitState
from taskyard.core.instants import Instant, after, seconds_between
from taskyard.ports.clock import Clock
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.runtime import Listener, Runtime

_log = structlog.get_logger(__name__)

CHECK_EVERY_S: Final = 2.0
_START_PATIENCE_S: Final = 5.0
"""No worker waits longer for an engine when it starts."""
_PATIENCE_S: Final = 60.0
"""A slow engine is used on; how long is too long is known better by its runtime."""


@runtime_checkable
class Checkable(Protocol):
    """A runtime on top of an engine that may come and go.

    Its ``open`` may be called again after it raised, and until it succeeds.
    """

    async def check(self) -> str | None:
        """Ask the engine for a sign of life; None if all is well, otherwise what is wrong."""
        ...


class Runtimes:
    """Opens runtimes, and asks those with an engine for signs of life for as long as it runs.

    Args:
        offered: By the ``runtime`` tag of the work they execute.
        clock: Wall time.
        rule: When an engine that fails is left alone, and for how long.
        opened: Called when a runtime has been opened later than at the start.
    """

    def __init__(
        self,
        offered: Mapping[str, Runtime],
        clock: Clock,
        rule: CircuitRule,
        opened: Callable[[str], Awaitable[None]],
    ) -> None:
        self._offered = dict(offered)
        self._clock = clock
        self._rule = rule
        self._opened = opened
        self._open: dict[str, Runtime] = {}
        self._circuits: dict[str, Circuit] = {}
        self._listener: Listener | None = None
        self._told: dict[str, str] = {}
        """What is wrong with those that are not here, as far as the log has it."""
        self.statuses: dict[str, RuntimeStatus] = {}
        """All runtimes as they are now."""

    @property
    def open(self) -> Mapping[str, Runtime]:
        """Those that were opened, whether their engines are here now or not."""
        return self._open

    def is_awaited(self, tag: str) -> bool:
        """Whether a runtime is offered, could not be opened yet, and is tried again."""
        return tag not in self._open and isinstance(self._offered.get(tag), Checkable)

    async def open_all(self, listener: Listener) -> None:
        """Open what can be opened. Raises ``RuntimeUnavailable`` if nothing can ever be."""
        self._listener = listener
        refused: RuntimeUnavailable | None = None
        for tag, runtime in self._offered.items():
            if isinstance(runtime, Checkable):
                self._circuits[tag] = Circuit(self._rule)
                await self.look(tag, _START_PATIENCE_S)
                continue
            try:
                await runtime.open(listener)
            except RuntimeUnavailable as error:
                _log.warning("runtime not available", runtime=tag, error=str(error))
                self.statuses[tag] = RuntimeStatus(False, bounded_reason(str(error)))
                refused = error
            else:
                self._open[tag] = runtime
                self.statuses[tag] = RuntimeStatus()
        if self._open or self._circuits:
            return
        if refused is not None and len(self._offered) == 1:
            raise refused
        raise RuntimeUnavailable("no runtime is available on this machine")

    async def close(self) -> None:
        """Close what is open."""
        for runtime in self._open.values():
            await runtime.close()
        self._open.clear()
        self._circuits.clear()
        self.statuses = {}

    async def run(self) -> None:
        """Look after engines until cancelled."""
        async with anyio.create_task_group() as group:
            for tag in self._circuits:
                group.start_soon(self._watch, tag)

    async def look(self, tag: str, patience_s: float = _PATIENCE_S) -> None:
        """Ask one engine for a sign of life, unless its circuit is open.

        Until it is known to be gone, it is used on. One that is there and takes longer than
        ``patience_s`` is not available, which is no failure if that is short.
        """
        circuit = self._circuits[tag] = self._circuits[tag].at(self._clock.now())
        if circuit.state is CircuitState.OPEN:
            return
        if circuit.state is CircuitState.HALF_OPEN:
            before = self.statuses[tag]
            self.statuses[tag] = RuntimeStatus(False, before.reason, None, circuit.state)
        problem, is_slow = await self._try(tag, patience_s)
        now = self._clock.now()
        if problem is None:
            self._circuits[tag] = circuit.succeeded()
            self._told.pop(tag, None)
            if not self.statuses.get(tag, RuntimeStatus()).available:
                _log.info("runtime available again", runtime=tag)
            self.statuses[tag] = RuntimeStatus()
            return
        if not is_slow or patience_s >= _PATIENCE_S:
            circuit = self._circuits[tag] = circuit.failed(now)
        # Once for each reason: many machines have no engine, and never will.
        if self._told.get(tag) != problem:
            self._told[tag] = problem
            _log.warning("runtime not available", runtime=tag, error=problem)
        retry_at = circuit.open_until or after(now, CHECK_EVERY_S)
        self.statuses[tag] = RuntimeStatus(False, problem, retry_at, circuit.state)

    async def _watch(self, tag: str) -> None:
        while True:
            await self._clock.sleep(self._pause(tag, self._clock.now()))
            await self.look(tag)

    def _pause(self, tag: str, now: Instant) -> float:
        until = self._circuits[tag].open_until
        return CHECK_EVERY_S if until is None else max(0.01, seconds_between(now, until))

    async def _try(self, tag: str, patience_s: float) -> tuple[str | None, bool]:
        """What is wrong with an engine, None if nothing is; and whether it took too long."""
        is_slow = False
        try:
            with anyio.fail_after(patience_s):
                problem = await self._ask(tag)
        except TimeoutError:
            is_slow = True
            problem = f"did not answer within {patience_s:g} s"
        except RuntimeUnavailable as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - whatever an engine does, the worker goes on
            problem = repr(error)
        return None if problem is None else bounded_reason(problem), is_slow

    async def _ask(self, tag: str) -> str | None:
        runtime = self._offered[tag]
        if tag in self._open:
            return await runtime.check() if isinstance(runtime, Checkable) else None
        if self._listener is None:
            return "it is closed"
        await runtime.open(self._listener)
        self._open[tag] = runtime
        with anyio.CancelScope(shield=True):
            await self._opened(tag)
        return None
