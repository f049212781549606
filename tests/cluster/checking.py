"""Compares what clients were told with what the store holds and what really ran."""

import random
from collections import Counter
from statistics import median
from typing import Any

from container_clients import Containers, Drove, Fastlane
from dialect_clients import AT_ONCE, GreenCloud, Gx
from evidence import OVERTAKING_S, of_deposed_leaders, overtaken
from faults import Faults
from histories import LIMIT, LIMITED, Calls, Client, Tasks
from planes import Planes
from runs import Runs

from eventually import eventually

WORKSPACE_LIMIT = 14
"""Tasks of the workspace that may run at once; the planes have room for more."""
HOOK_S = 75.0
RESULTS = 100
"""How many results of a client's calls are read."""
LEADERLESS_S = 4.0
"""For so long nobody leads after a leader's death, at most, on a machine that lets them run."""
STOPPED_S = 5.0
"""And for so long nothing is placed."""
Rows = dict[str, dict[str, Any]]


def await_all_ended(planes: Planes, within_s: float) -> Rows:
    """All tasks but recurring ones, by their ids, once none of them is open."""

    def open_tasks() -> list[Any]:
        return planes.rows(
            "SELECT id, name, state, group_name FROM tasks WHERE recurring = 0 AND state IN"
            " ('scheduled', 'queued', 'running', 'retrying') ORDER BY seq LIMIT 20"
        )

    eventually(open_tasks, lambda found: found == [], within_s=within_s)
    tasks: Rows = {}
    query: dict[str, Any] = {"limit": 500}
    while True:
        page = planes.ask("GET", "/tasks", params=query).raise_for_status().json()
        tasks |= {task["id"]: task for task in page["items"] if task["cron"] is None}
        if page["next_cursor"] is None:
            return tasks
        query["cursor"] = page["next_cursor"]


def await_told(hooks: Counter[str], wanted: set[str]) -> None:
    """A control plane that died holds up its messages, but for less than a minute."""
    eventually(lambda: wanted - hooks.keys(), lambda missing: not missing, within_s=HOOK_S)


class Checker:
    """Fails if anything that was promised did not come true.

    Args:
        planes: all of them are there again.
        clients: have finished.
        runs: what ran.
        hooks: how many webhook messages came for each task.
        tasks: as :func:`await_all_ended` answered.
    """

    def __init__(
        self, planes: Planes, clients: list[Client], runs: Runs, hooks: Counter[str], tasks: Rows
    ) -> None:
        self._planes = planes
        self._clients = clients
        self._runs = runs
        self._hooks = hooks
        self._tasks = tasks

    def check(self) -> dict[str, object]:
        """Everything; answers with figures."""
        trouble = [line for one in self._clients for line in one.history.trouble]
        assert not trouble, "\n".join(trouble[:5])
        tried = {mark for one in self._clients for mark in one.history.tried}
        assert set(self._runs.begun) <= tried, "something ran that nobody asked for"
        for client in self._clients:
            match client:
                case Tasks():
                    self._check_tasks(client)
                case Calls():
                    self._check_calls(client)
                case GreenCloud():
                    self._check_greencloud(client)
                case Gx():
                    self._check_gx(client)
                case Containers() | Fastlane() | Drove():
                    client.check(self._planes)
        assert self._runs.most_at_once(tried) <= WORKSPACE_LIMIT, "the workspace's limit"
        self._check_store()
        return {
            "tasks": len(self._tasks),
            **{one.name: len(one.history.acknowledged) for one in self._clients},
            "killed": sum(len(one.history.killed) for one in self._clients),
            "ran more than once": sum(count > 1 for count in self._runs.begun.values()),
            "most at once": self._runs.most_at_once(tried),
            "webhooks": sum(self._hooks.values()),
            "told twice": sum(count > 1 for count in self._hooks.values()),
        }

    def _check_tasks(self, client: Tasks) -> None:
        own = [one for one in self._tasks.values() if one["name"] in client.history.tried]
        by_name = {task["name"]: task for task in own}
        assert len(by_name) == len(own), "a task was stored twice"
        for mark, task_id in client.history.acknowledged.items():
            assert by_name.get(mark, {}).get("id") == task_id, f"{mark} is not there"
        for mark, task in by_name.items():
            self._check_task(mark, task, client.history.killed)
        await_told(self._hooks, {task["id"] for task in own if task["webhooks"]})
        limited = {mark for mark, task in by_name.items() if task["group"] == LIMITED}
        assert self._runs.most_at_once(limited) <= LIMIT, "the group's limit"

    def _check_task(self, mark: str, task: dict[str, Any], killed: set[str]) -> None:
        begun, attempts = self._runs.begun[mark], task["attempt_count"]
        assert begun <= attempts, f"{mark} ran {begun} times in {attempts} attempts"
        retries = (task["retry"] or {}).get("max_attempts", 1)
        if not task["rerun_if_lost"]:
            assert begun <= retries, f"{mark} asked not to be run again, and ran {begun} times"
        code = task["labels"]["code"]
        match task["state"]:
            case "succeeded":
                assert begun >= 1, f"{mark} is said to have succeeded, and never ran"
                assert code == "0", task
            case "failed" | "dead":
                is_own = code == "3" and begun >= 1
                assert is_own or not task["rerun_if_lost"], task
            case "cancelled":
                assert mark in killed, task
            case other:
                raise AssertionError(f"{mark} ended as {other}: {task}")

    def _check_calls(self, client: Calls) -> None:
        """Each answered, and none called twice for the asking."""
        acknowledged = client.history.acknowledged
        for mark, task_id in acknowledged.items():
            task = self._tasks[task_id]
            assert task["state"] == "succeeded", task
            assert 1 <= self._runs.begun[mark] <= task["attempt_count"], task
        some = random.Random(self._planes.seed).sample(
            sorted(acknowledged), min(RESULTS, len(acknowledged))
        )
        for mark in some:
            result = self._planes.ask("GET", f"/tasks/{acknowledged[mark]}/result")
            assert (result.status_code, result.text) == (200, mark)
        keys = self._planes.rows(
            "SELECT idempotency_key FROM tasks WHERE idempotency_key IS NOT NULL"
        )
        assert len(keys) == len(set(keys)), "a task was stored twice"

    def _check_greencloud(self, client: GreenCloud) -> None:
        """Each answered as its function did, and each triggered one of the next."""
        for mark, task_id in client.history.acknowledged.items():
            result = client.insist("GET", f"/task/{task_id}/result")
            assert (result.status_code, result.text) == (200, mark), f"{task_id}: {result.text}"
            assert self._runs.begun[f"chained-{mark}"] >= 1, f"{mark} triggered nothing"
        issued = {
            name: int(self._planes.rows(f"{query} function_id = '{function}'")[0][0])
            for query in ["SELECT count(*) FROM issued_calls WHERE"]
            for name, function in (("first", client.function), ("second", client.next))
        }
        assert issued["first"] == issued["second"] >= len(client.history.acknowledged), issued

    def _check_gx(self, client: Gx) -> None:
        """At most six at once; what was taken off never ran."""
        path, query = "/tasks", client.query
        listed = client.insist("GET", path, params=query).raise_for_status().json()["tasks"]
        by_name = {task["name"]: task for task in listed}
        assert len(by_name) == len(listed), "a task was created twice"
        for mark, number in client.history.acknowledged.items():
            if mark in client.deleted:
                assert mark not in by_name, f"{mark} is listed again"
                assert not self._runs.begun[mark], f"{mark} was taken off, and ran"
            elif mark in by_name or mark not in client.doubtful:
                found = by_name[mark]
                assert (found["id"], found["status"]) == (int(number), "completed"), found
                assert self._runs.begun[mark] >= 1, f"{mark} never ran"
        assert self._runs.most_at_once(client.history.tried) <= AT_ONCE

    def _check_store(self) -> None:
        """No firing twice, no two attempts of a task at once, counters equal counts."""
        rows = self._planes.rows
        twice = rows(
            "SELECT schedule_id, due_at FROM tasks WHERE schedule_id IS NOT NULL"
            " GROUP BY schedule_id, due_at HAVING count(*) > 1"
        )
        assert twice == [], "a due time fired twice"
        both = rows(
            "SELECT a.task_id, a.number, b.number FROM attempts AS a JOIN attempts AS b"
            " ON b.task_seq = a.task_seq AND b.number > a.number"
            " WHERE a.finished_at IS NULL OR b.assigned_at < a.assigned_at"
        )
        assert both == [], "an attempt was placed before the one before had ended"
        assert self._planes.findings() == []


def check_leaders(planes: Planes, faults: Faults) -> dict[str, object]:
    """A leader's death stops placement for a moment only, and what one decided who was deposed
    meanwhile is not in force; answers with figures.
    """
    for death in faults.deaths:
        assert death.leaderless_s < LEADERLESS_S + death.stalled_s, death
        assert death.stopped_s < STOPPED_S + death.stalled_s, death
    assert of_deposed_leaders(planes.rows) == []
    passed = overtaken(planes.rows)
    assert [one for one in passed if one[2] > OVERTAKING_S] == []
    return {
        "leaderless": _summary([one.leaderless_s for one in faults.deaths]),
        "placement stopped": _summary([one.stopped_s for one in faults.deaths]),
        "machine stalled": _summary([one.stalled_s for one in faults.deaths]),
        "terms": planes.rows("SELECT count(*) FROM public.terms")[0][0],
        "overtaken": [(first, later, round(waited_s, 1)) for first, later, waited_s in passed],
    }


def _summary(seconds: list[float]) -> str:
    return f"{median(seconds):.1f}, at most {max(seconds):.1f} s"
