"""Engine hosts of pools as workers: one worker for each, in this process."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

from taskyard import __version__
from taskyard.core.circuit_breaker import CircuitRule
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.pools import POOLED_RUNTIME
from taskyard.ports.clock import Clock, Ids
from taskyard.ports.runtime import Runtime
from taskyard.ports.transport import Transport
from taskyard.server.pools import PoolSettings, foreign_hosts, worker_of_host
from taskyard.worker.machine import Machine, capacity
from taskyard.worker.output.directories import AttemptDirectories
from taskyard.worker.reporting import OutputKeeper
from taskyard.worker.worker import Worker

EngineRuntime = Callable[[str], Runtime]
"""Makes the runtime that executes containers on the engine with this URL; opens nothing yet."""


@runtime_checkable
class Measurable(Protocol):
    """A runtime that knows what its engine's machine has."""

    async def capacity(self) -> Capacity | None:
        """The engine's capacity; None if it does not answer now."""
        ...


def host_workers(
    pools: Sequence[PoolSettings],
    engine_runtime: EngineRuntime,
    *,
    circuit: CircuitRule,
    transport: Transport,
    clock: Clock,
    ids: Ids,
    directories: AttemptDirectories,
    keeper: OutputKeeper,
) -> list[Worker]:
    """Workers for all hosts that are not ``local``; none of them started."""
    workers = []
    for url, pool in foreign_hosts(pools).items():
        runtime = engine_runtime(url)
        worker = Worker(
            worker_of_host(url),
            hostname=url,
            version=__version__,
            capacity=pool.capacity(capacity()),
            runtimes={POOLED_RUNTIME: runtime},
            transport=transport,
            clock=clock,
            ids=ids,
            directories=directories,
            keeper=keeper,
            circuit=circuit,
            measure=_measure(pool, runtime),
            place=Machine(tags=pool.tags, counts_cores=True),
        )
        workers.append(worker)
    return workers


def _measure(
    pool: PoolSettings, runtime: Runtime
) -> Callable[[], Awaitable[Capacity | None]] | None:
    if not isinstance(runtime, Measurable):
        return None

    async def measure() -> Capacity | None:
        found = await runtime.capacity()
        return None if found is None else pool.capacity(found)

    return measure
