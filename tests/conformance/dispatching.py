"""A worker, decisions to have it run tasks, and reports of how they ended."""

from typing import Any

from fakes.specs import NOW
from taskyard.core.attempts import Ended
from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken, TaskId, WorkerId
from taskyard.core.instants import Instant, after
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState
from taskyard.ports.dispatching import Placement, WorkerRecord

W1 = WorkerRecord(
    WorkerId("w1"), IncarnationId("life-1"), "h", "1", Capacity(9, 9, 9), ("command",), NOW, NOW
)
TOKEN = LeaseToken("lease")


def placement(task_id: TaskId, seq: int, name: str = "a", **more: Any) -> Placement:
    """A decision to run a task on the worker."""
    values: dict[str, Any] = {
        "attempt_id": AttemptId(name),
        "lease_token": TOKEN,
        "lease_expires_at": after(NOW, 10),
        "worker_id": W1.id,
        "incarnation": W1.incarnation,
    }
    return Placement(task_id=task_id, seq=seq, **(values | more))


async def end(
    store: Any, state: AttemptState = AttemptState.SUCCEEDED, name: str = "a", **more: Any
) -> tuple[list[str], list[LeaseToken]]:
    """Report an end; answers with the kinds of changes and what was refused."""
    report = Ended(AttemptId(name), more.pop("token", TOKEN), after(NOW, 2), state, **more)
    changes, refused = await store.dispatch.apply([report], after(NOW, 3), [0.5])
    return [change.kind for change in changes], refused


async def renewed(
    store: Any, worker_id: WorkerId, incarnation: IncarnationId, now: Instant = NOW
) -> bool:
    """Have a worker's lease extended; whether it holds."""
    held = await store.dispatch.renew([(worker_id, incarnation)], now)
    assert held <= {worker_id}
    return bool(held)
