"""Quotas of output: what an attempt may keep, and who may submit nothing more."""

from collections.abc import Sequence

import anyio
import pytest

from fakes.clock import VirtualClock
from taskyard.core.errors import Overloaded, Unavailable
from taskyard.core.ids import AttemptId, TaskId, WorkspaceName
from taskyard.services.scheduling.output_quota import EVERY_S, LEAST_BYTES, OutputQuota

pytestmark = pytest.mark.anyio
A, B = WorkspaceName("a"), WorkspaceName("b")
TASK = TaskId("t")
MIB = 1 << 20


class Kept:
    """What is kept, as the test says."""

    def __init__(self) -> None:
        self.by_workspace: dict[WorkspaceName, int] = {}
        self.by_task: dict[TaskId, int] = {}
        self.broken = False

    async def totals(self) -> dict[WorkspaceName, int]:
        """See the port."""
        if self.broken:
            raise Unavailable
        return dict(self.by_workspace)

    async def of_task(self, task_id: TaskId) -> int:
        """See the port."""
        return self.by_task.get(task_id, 0)

    async def known(self, attempt_ids: Sequence[AttemptId]) -> set[AttemptId]:
        """See the port; quotas do not ask."""
        return set(attempt_ids)


class Case:
    """A quota whose surroundings the test decides."""

    def __init__(self, workspace_bytes: int | None, task_bytes: int | None = None) -> None:
        self.kept, self.clock, self.running = Kept(), VirtualClock(), 0
        self.quota = OutputQuota(
            self.kept, self.clock, lambda _: self.running, workspace_bytes, task_bytes
        )

    async def limit(self, number: int = 1, asked: int = 64 * MIB) -> int:
        """Of the next attempt of the first workspace."""
        return await self.quota.limit(A, TASK, number, asked)


async def test_without_quotas_a_task_gets_what_it_asks_for() -> None:
    """Also nothing at all."""
    case = Case(None)
    assert await case.limit() == 64 * MIB
    assert await case.limit(asked=0) == 0
    case.quota.admit(A)


async def test_what_is_left_is_shared_by_what_runs() -> None:
    """Both streams of the attempt and of those that run fit in; a little is left to everybody."""
    case = Case(100 * MIB)
    assert await case.limit() == 50 * MIB
    case.running = 9
    assert await case.limit() == 5 * MIB
    case.kept.by_workspace = {A: 80 * MIB, B: 1000 * MIB}
    await case.quota.load()
    assert await case.limit() == MIB
    case.kept.by_workspace = {A: 200 * MIB}
    await case.quota.load()
    assert await case.limit() == LEAST_BYTES
    assert await case.limit(asked=100) == 100


async def test_attempts_at_one_task_share_its_quota() -> None:
    """Whatever the task asks for itself."""
    case = Case(None, MIB)
    assert await case.limit() == MIB // 2
    case.kept.by_task = {TASK: MIB // 2}
    assert await case.limit(2) == MIB // 4
    case.kept.by_task = {TASK: 2 * MIB}
    assert await case.limit(3) == LEAST_BYTES


async def test_who_keeps_too_much_submits_nothing_more() -> None:
    """The answer says how much, and what to do; another workspace is not concerned."""
    case = Case(MIB)
    case.kept.by_workspace = {A: MIB, B: MIB - 1}
    await case.quota.load()
    with pytest.raises(Overloaded, match=r"keeps 1048576 .* delete tasks") as refused:
        case.quota.admit(A)
    assert refused.value.retry_after_s > 0
    case.quota.admit(B)


async def test_the_numbers_follow_what_is_stored() -> None:
    """Looked at again and again, also after a look that failed."""
    case = Case(MIB)
    async with anyio.create_task_group() as group:
        group.start_soon(case.quota.run)
        for broken, kept, known in ((False, 7, 7), (True, 9, 7), (False, 9, 9)):
            await anyio.wait_all_tasks_blocked()
            case.kept.broken, case.kept.by_workspace = broken, {A: kept}
            case.clock.advance(EVERY_S)
            await anyio.wait_all_tasks_blocked()
            assert case.quota.kept(A) == known
        group.cancel_scope.cancel()
    assert case.quota.by_workspace() == {A: 9}
