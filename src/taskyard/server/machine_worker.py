"""The worker that runs attempts on this machine: beside a control plane, or in its own process.

What it is made of is the same in both: the runtimes that the settings say, what the machine has to
give, and a place for attempts. What differs is how it reaches the engine and where its bytes go.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from taskyard import __version__
from taskyard.core.circuit_breaker import CircuitRule
from taskyard.core.ids import WorkerId, node_id
from taskyard.core.tasks import IMAGE_FUNCTIONS
from taskyard.ports.clock import Clock, Ids
from taskyard.ports.functions import ResultFiles
from taskyard.ports.runtime import Assignment, Runtime
from taskyard.ports.transport import Transport
from taskyard.runtimes.command.protocol import DIRECTORY
from taskyard.runtimes.command.runtime import CommandRuntime
from taskyard.runtimes.container.runtime import ContainerRuntime
from taskyard.runtimes.engine.address import OFF
from taskyard.runtimes.function.images.runtime import ImageRuntime
from taskyard.runtimes.function.limits import PoolLimits
from taskyard.runtimes.function.router import Rebuild
from taskyard.runtimes.function.runtime import FunctionRuntime
from taskyard.runtimes.simulation.runtime import SimulationRuntime
from taskyard.server.containers import container_settings
from taskyard.server.settings import Settings
from taskyard.worker.held_attempts import unchanged
from taskyard.worker.machine import Machine, capacity
from taskyard.worker.output.directories import AttemptDirectories
from taskyard.worker.reporting import OutputKeeper
from taskyard.worker.staying import Staying
from taskyard.worker.topology import topology, within_holdings
from taskyard.worker.worker import Worker


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker is made of that is not its own: it may be shared with others in its process."""

    data: Path
    """The data directory."""
    clock: Clock
    ids: Ids
    transport: Transport
    directories: AttemptDirectories
    keeper: OutputKeeper
    circuit: CircuitRule
    adapt: Callable[[Assignment], Assignment] = unchanged
    """Makes an assignment fit this machine."""


@dataclass(frozen=True, slots=True)
class FunctionAccess:
    """What functions need from elsewhere."""

    node: WorkerId
    """The worker that calls are told they run on."""
    results: ResultFiles
    """Where answers go that are too large for a report."""
    rebuild: Rebuild
    """Has a version built that is not there."""
    serves: Callable[[FunctionRuntime], None] | None = None
    """Hears for whose calls they are; nobody needs to when None."""
    images: bool = True
    """Whether functions that are images are run, too."""


@dataclass(frozen=True, slots=True)
class OtherUsers:
    """Whether work may run as other users of the machine, and where those work then."""

    are_used: bool
    root: Path | None = None
    """In place of the data directory; None if that will do."""


def machine_worker(
    settings: Settings,
    worker_id: WorkerId,
    parts: WorkerParts,
    functions: FunctionAccess | None,
    users: OtherUsers,
    staying: Staying | None = None,
) -> Worker:
    """A worker for all that this machine can run; nothing is opened yet.

    Args:
        settings: what it offers, and how each kind of work is run.
        worker_id: its name.
        parts: what it is made of.
        functions: what functions need; None: it runs none.
        users: whether it changes users.
        staying: how long it stays; without limit if None.

    Raises:
        InvalidInput: cores were promised that the machine does not have.
    """
    holdings = settings.holdings()
    offered = capacity(
        settings.worker_slots,
        None if settings.worker_cpu is None else round(settings.worker_cpu * 1000),
        settings.worker_memory_bytes,
    )
    return Worker(
        worker_id,
        hostname=socket.gethostname(),
        version=__version__,
        capacity=within_holdings(offered, holdings),
        runtimes=_runtimes(settings, parts.data, parts.clock, functions, users),
        transport=parts.transport,
        clock=parts.clock,
        ids=parts.ids,
        directories=parts.directories,
        keeper=parts.keeper,
        circuit=parts.circuit,
        place=Machine(
            topology(holdings, offered.memory_bytes),
            settings.worker_tags,
            settings.worker_metadata,
        ),
        adapt=parts.adapt,
        staying=staying,
    )


def circuit_rule(settings: Settings) -> CircuitRule:
    """When a container engine that fails is left alone."""
    return CircuitRule(settings.circuit_max_failures, settings.circuit_reset_s)


def function_limits(settings: Settings) -> PoolLimits:
    """What the settings say of the processes of functions."""
    return PoolLimits(
        processes=settings.function_processes,
        calls=settings.function_calls,
        idle_s=settings.function_idle_s,
        warmup_s=settings.function_warmup_s,
        memory_bytes=settings.function_memory_bytes,
        result_bytes=settings.function_result_bytes,
    )


def _runtimes(
    settings: Settings, data: Path, clock: Clock, access: FunctionAccess | None, users: OtherUsers
) -> dict[str, Runtime]:
    runtimes: dict[str, Runtime] = {
        "command": CommandRuntime(data / DIRECTORY, work_root=users.root),
        "simulation": SimulationRuntime(clock),
    }
    if settings.container_engine != OFF:
        containers = container_settings(settings)
        runtimes["container"] = ContainerRuntime(data / "containers", containers, clock)
    if access is not None:
        runtimes |= _of_functions(settings, data, clock, access, users)
    return runtimes


def _of_functions(
    settings: Settings, data: Path, clock: Clock, access: FunctionAccess, users: OtherUsers
) -> dict[str, Runtime]:
    node, limits = node_id(access.node), function_limits(settings)
    functions = FunctionRuntime(
        data / "functions", clock, access.results, limits, node=node, other_users=users.are_used
    )
    functions.rebuild = access.rebuild
    if access.serves is not None:
        access.serves(functions)
    runtimes: dict[str, Runtime] = {"function": functions}
    if access.images and settings.container_engine != OFF:
        containers = container_settings(settings)
        images = runtimes[IMAGE_FUNCTIONS] = ImageRuntime(
            data / "functions", containers, clock, access.results, limits, node=node
        )
        images.rebuild = access.rebuild
    return runtimes
