"""How tasks of a workspace run: six at once, in order, apart from other workspaces, to the end."""

from pathlib import Path

import anyio
import pytest
from gx_world import ADMIN, GxWorld, Space, all_of, opened

from taskyard.services import task_list

pytestmark = pytest.mark.anyio


async def test_six_run_at_once_in_the_order_of_ids(space: Space) -> None:
    """Never more, as the engine itself counts; starts are in order; each slot is filled again."""
    for _ in range(30):
        await space.create("gx.tiny")
    await space.until(lambda seen: set(seen.values()) == {"completed"})
    spans = []
    for number in range(1, 31):
        detail = await space.detail(number)
        assert (detail["status"], detail["exitCode"], detail["error"]) == ("completed", 0, None)
        assert detail["createdAt"] <= detail["startedAt"] <= detail["finishedAt"]
        spans.append((detail["startedAt"], detail["finishedAt"]))
    starts = [start for start, _ in spans]
    assert starts == sorted(starts)
    for start in starts:
        assert sum(begin <= start < end for begin, end in spans) <= 6


async def test_statuses_move_forward_in_order(space: Space) -> None:
    """At any moment at most six run, behind them all wait; nothing goes back."""
    for _ in range(20):
        await space.create("gx.micro")
    rank = {"queued": 0, "running": 1, "completed": 2}
    before = dict.fromkeys(range(1, 21), 0)
    with anyio.fail_after(20):
        while set(before.values()) != {2}:
            now = {number: rank[one] for number, one in (await space.statuses()).items()}
            assert list(now) == list(range(1, 21))
            assert all(now[number] >= was for number, was in before.items())
            assert list(now.values()).count(1) <= 6
            dispatched = [number for number, one in now.items() if one]
            assert dispatched == list(range(1, len(dispatched) + 1))
            before = now


async def test_a_full_workspace_holds_up_no_other(world: GxWorld, space: Space) -> None:
    """Hundreds wait behind six that do not end; another workspace runs as if alone."""
    await all_of(*[space.create("gx.heavy") for _ in range(200)])
    other = world.space(f"{space.query['workspace_id']}-other")
    for _ in range(8):
        await other.create("gx.tiny")
    await other.until(lambda seen: set(seen.values()) == {"completed"})
    assert list((await space.statuses()).values()) == ["running"] * 6 + ["queued"] * 194
    await space.flush(cancel="true")


async def test_killed_elsewhere(space: Space) -> None:
    """Through the native API a running task becomes failed, a queued one is gone."""
    for number in range(1, 9):
        await space.create("gx.heavy", f"n{number}")
    await space.until(lambda seen: seen[6] == "running")
    await space.kill("n8")
    assert list(await space.until(lambda seen: 8 not in seen)) == [1, 2, 3, 4, 5, 6, 7]
    answer = await space.delete(8)
    assert answer.status_code == 404
    await space.kill("n3")
    seen = await space.until(lambda seen: seen[3] == "failed" and seen[7] == "running")
    assert list(seen.values()).count("running") == 6
    detail = await space.detail(3)
    assert detail["status"] == "failed"
    assert detail["error"]
    assert detail["finishedAt"] is not None


async def test_deleted_elsewhere(world: GxWorld, space: Space) -> None:
    """A finished task whose record is deleted through the native API is not listed any more."""
    await space.create("gx.tiny", "n1")
    await space.create("gx.tiny", "n2")
    await space.until(lambda seen: set(seen.values()) == {"completed"})
    answer = await world.native.delete(f"/tasks/{await space.native_id('n1')}")
    assert answer.is_success
    assert await space.until(lambda seen: len(seen) == 1) == {2: "completed"}
    assert await space.create() == 3


async def test_they_are_ordinary_tasks(world: GxWorld, space: Space) -> None:
    """The native API shows them in a group of their own, with its limit; none needs room."""
    for _ in range(7):
        await space.create("gx.heavy", "shown")
    await space.until(lambda seen: seen[6] == "running")
    tasks = await space.native()
    assert [one["name"] for one in tasks] == ["shown"] * 7
    waiting = next(one for one in tasks if one["state"] == "queued")
    why = await world.native.get(f"/tasks/{waiting['id']}/why")
    assert why.is_success
    assert "6" in why.text
    await space.flush()
    assert len(await space.native()) == 7


async def test_only_so_many_finished_tasks_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest go first, for good; those that wait or run do not count."""
    assert task_list.FINISHED_KEPT == 1000
    monkeypatch.setattr(task_list, "FINISHED_KEPT", 50)
    kept = list(range(21, 72))
    async with opened(tmp_path / "data") as world:
        space = world.space("many")
        await all_of(*[space.create() for _ in range(70)])
        assert await space.create("gx.heavy") == 71
        ended = [*["completed"] * 50, "running"]
        assert list(await space.until(lambda seen: list(seen.values()) == ended)) == kept
        await world.yard.engine.lists.tidy()
        detail = await space.http.get("/tasks/20", params=space.query)
        assert detail.status_code == 404
    async with opened(tmp_path / "data") as world:
        assert list(await world.space("many").statuses()) == kept


async def test_delete_races_dispatch(world: GxWorld, space: Space) -> None:
    """Never both: what was deleted with 204 has no attempt, what was not has run or will."""
    deleted = set()
    for turn in range(40):
        numbers = await all_of(*[space.create("gx.tiny", f"r{turn}-{n}") for n in range(8)])
        answers = await all_of(*[space.delete(number) for number in reversed(numbers)])
        for number, answer in zip(reversed(numbers), answers, strict=True):
            assert answer.status_code in {204, 404}
            if answer.status_code == 204:
                deleted.add(number)
    seen = await space.until(lambda seen: set(seen.values()) <= {"completed"})
    assert sorted(seen) == sorted(set(range(1, 321)) - deleted)
    assert deleted
    assert seen
    attempts = {}
    for task in await space.native():
        found = await world.yard.engine.tasks.attempts(ADMIN, task["id"])
        attempts[task["id"]] = (task["state"], len(found))
    assert len(attempts) == 320
    assert sorted(attempts.values()) == sorted(
        [("cancelled", 0)] * len(deleted) + [("succeeded", 1)] * len(seen)
    )


async def test_retried_elsewhere(world: GxWorld, space: Space) -> None:
    """The new task has the next number; it can be looked at and ended like the others."""
    await space.create("gx.heavy", "n1")
    await space.until(lambda seen: seen[1] == "running")
    await space.kill("n1")
    await space.until(lambda seen: seen[1] == "failed")
    old = await space.native_id("n1")
    answer = await world.native.post(f"/tasks/{old}/retry")
    assert (answer.status_code, answer.json()["retry_of"]) == (201, old)
    await space.until(lambda seen: seen == {1: "failed", 2: "running"})
    assert (await space.detail(2))["status"] == "running"
    again = await world.native.post(f"/tasks/{answer.json()['id']}/retry")
    assert again.status_code == 409
    await space.flush(cancel="true")
