"""What joining means for every worker, wherever it runs."""

from collections.abc import Sequence

from taskyard.core.attempts import Attempt
from taskyard.core.ids import PlaneId
from taskyard.core.instants import Instant, after
from taskyard.ports.dispatching import WorkerRecord
from taskyard.ports.store import TaskStore
from taskyard.ports.transport import Hello
from taskyard.services.scheduling.kill import KillOrders


def record_of(
    hello: Hello, plane_id: PlaneId, now: Instant, granted: Sequence[str] = ()
) -> WorkerRecord:
    """What is stored of a worker that joins now.

    Args:
        hello: what it says of itself.
        plane_id: the control plane beside which it lives, or ``JOINED``.
        now: by our clock, from which on it stays for as long as it says.
        granted: tags that it has by its credential, before its own.
    """
    return WorkerRecord(
        id=hello.worker_id,
        incarnation=hello.incarnation,
        hostname=hello.hostname,
        version=hello.version,
        capacity=hello.capacity,
        runtimes=hello.runtimes,
        joined_at=now,
        beat_at=now,
        statuses=hello.statuses,
        topology=hello.topology,
        tags=tuple(dict.fromkeys((*granted, *hello.tags))),
        metadata=hello.metadata,
        plane_id=plane_id,
        leaves_at=None if hello.stays_s is None else after(now, hello.stays_s),
    )


async def resume_kills(attempts: Sequence[Attempt], tasks: TaskStore, kill: KillOrders) -> None:
    """Continue the kills that were requested of attempts which a worker holds."""
    for attempt in attempts:
        task = await tasks.task(attempt.workspace, attempt.task_id)
        if task.kill_requested_at is not None:
            await kill.resume(attempt, task.spec.kill_signal, task.spec.kill_grace_s)
