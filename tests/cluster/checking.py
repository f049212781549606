"""Compares what clients were told with what the store holds and what really ran."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from histories import LIMIT, LIMITED, History
from planes import Planes

from eventually import eventually

OPEN = ("scheduled", "queued", "running", "retrying")


def await_all_ended(planes: Planes, within_s: float) -> list[dict[str, Any]]:
    """All tasks but recurring ones, once none of them is open."""

    def open_tasks() -> int:
        (row,) = planes.rows(
            "SELECT count(*) FROM tasks WHERE recurring = 0 AND state IN"
            " ('scheduled', 'queued', 'running', 'retrying')"
        )
        return int(row[0])

    eventually(open_tasks, lambda count: count == 0, within_s=within_s)
    tasks: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 500}
    while True:
        page = planes.ask("GET", "/tasks", params=query).raise_for_status().json()
        tasks += page["items"]
        if page["next_cursor"] is None:
            return [task for task in tasks if task["cron"] is None]
        query["cursor"] = page["next_cursor"]


def runs_of(path: Path) -> tuple[Counter[str], dict[str, list[tuple[int, int]]]]:
    """How often each mark began, and the spans that have both ends."""
    begun: Counter[str] = Counter()
    open_since: defaultdict[str, list[int]] = defaultdict(list)
    spans: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for line in path.read_text().splitlines():
        mark, what, at = line.split()
        if what == "begin":
            begun[mark] += 1
            open_since[mark].append(int(at))
        elif open_since[mark]:
            spans[mark].append((open_since[mark].pop(0), int(at)))
    return begun, spans


def check(
    planes: Planes, histories: list[History], runs: Path, hooks: Counter[str], within_s: float = 120
) -> dict[str, int]:
    """Fail if anything that was promised did not come true; answers with figures."""
    trouble = [line for one in histories for line in one.trouble]
    assert not trouble, "\n".join(trouble[:5])
    tasks = await_all_ended(planes, within_s)
    named = [task for task in tasks if (task["name"] or "").startswith("m")]
    by_name = {task["name"]: task for task in named}
    assert len(by_name) == len(named), "a task was stored twice"
    acknowledged = {mark: one for each in histories for mark, one in each.acknowledged.items()}
    killed = {mark for each in histories for mark in each.killed}
    lost = [mark for mark, one in acknowledged.items() if by_name.get(mark, {}).get("id") != one]
    assert not lost, f"acknowledged, and not there: {lost[:10]}"
    begun, spans = runs_of(runs)
    assert set(begun) <= set(by_name), "something ran that is not stored"
    for mark, task in by_name.items():
        _check_task(mark, task, begun[mark], killed)
    limited = [span for mark in spans if by_name[mark]["group"] == LIMITED for span in spans[mark]]
    assert most_at_once(limited) <= LIMIT
    _check_hooks(by_name, hooks)
    _check_store(planes)
    return {
        "tasks": len(tasks),
        "acknowledged": len(acknowledged),
        "killed": len(killed),
        "ran more than once": sum(count > 1 for count in begun.values()),
        "webhooks": sum(hooks.values()),
    }


def _check_task(mark: str, task: dict[str, Any], begun: int, killed: set[str]) -> None:
    attempts = task["attempt_count"]
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


def most_at_once(spans: list[tuple[int, int]]) -> int:
    """How many of these overlap at one moment, at most."""
    moments = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    most = now = 0
    for _, step in moments:
        now += step
        most = max(most, now)
    return most


def _check_hooks(by_name: dict[str, dict[str, Any]], hooks: Counter[str]) -> None:
    missing = [mark for mark, task in by_name.items() if task["webhooks"] and not hooks[task["id"]]]
    assert not missing, f"nobody was told of the end of {missing[:10]}"


def _check_store(planes: Planes) -> None:
    """No firing twice, no two current attempts, counters equal counts."""
    twice = planes.rows(
        "SELECT schedule_id, due_at FROM tasks WHERE schedule_id IS NOT NULL"
        " GROUP BY schedule_id, due_at HAVING count(*) > 1"
    )
    assert twice == [], "a due time fired twice"
    unended = planes.rows(
        "SELECT a.id FROM attempts AS a JOIN tasks AS t ON t.seq = a.task_seq"
        " WHERE a.finished_at IS NULL AND t.state <> 'running'"
    )
    assert unended == [], "an attempt goes on of a task that has ended"
    counted = planes.rows(
        "SELECT workspace, group_name, state, sum(total) FROM all_task_counts"
        " GROUP BY workspace, group_name, state HAVING sum(total) <> 0"
    )
    there = planes.rows("SELECT workspace, group_name, state, count(*) FROM tasks GROUP BY 1, 2, 3")
    assert set(counted) == set(there), "counters and counts differ"
