"""Objects of attempts that are gone are swept, and nothing else."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from object_stores import Files
from taskyard.core.ids import AttemptId, TaskId, WorkspaceName
from taskyard.ports.objects import BUNDLES, OUTPUT, RESULTS
from taskyard.server.clock import SystemClock
from taskyard.services.tasks import object_sweep
from taskyard.services.tasks.object_sweep import YOUNG_S, ObjectSweep

pytestmark = pytest.mark.anyio


class Attempts:
    """Knows some."""

    def __init__(self, *known: str) -> None:
        self._known = known

    async def totals(self) -> dict[WorkspaceName, int]:
        """See the port."""
        return {}

    async def of_task(self, task_id: TaskId) -> int:
        """See the port."""
        del task_id
        return 0

    async def known(self, attempt_ids: Sequence[AttemptId]) -> set[AttemptId]:
        """See the port."""
        return {one for one in attempt_ids if one in self._known}


async def test_what_belongs_to_no_attempt_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is old enough, page by page; what is kept for others is not looked at."""
    monkeypatch.setattr(object_sweep, "_PAGE", 2)
    place = Files(tmp_path)
    objects = place.client()
    kept = [f"{OUTPUT}b/stdout", f"{OUTPUT}d/order", f"{OUTPUT}d/stdout", f"{RESULTS}b"]
    kept.append(f"{BUNDLES}a")
    gone = [f"{OUTPUT}{name}/stdout" for name in "acefg"] + [f"{RESULTS}a", f"{OUTPUT}a/stderr"]
    for key in (*kept, *gone):
        await objects.put(key, b"x")
    (tmp_path / ".unfinished" / "left").write_bytes(b"x")
    place.age(YOUNG_S + 10)
    await objects.put(f"{OUTPUT}young/stdout", b"x")
    sweep = ObjectSweep(objects, Attempts("b", "d"), SystemClock())
    assert await sweep.once() == len(gone)
    left = [one.key for one in await objects.list_objects("")]
    assert left == sorted([*kept, f"{OUTPUT}young/stdout"])
    assert place.leftovers() == 0
    assert await sweep.once() == 0
