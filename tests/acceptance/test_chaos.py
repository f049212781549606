"""The server or its store process is killed again and again under load; nothing is lost, nothing
happens twice.
"""

import contextlib
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from eventually import eventually
from served import Served

KILLS = int(os.environ.get("CHAOS_KILLS", "60"))
"""How often, at least; the long run that a release gets has 200."""
FIRING_S = 62.0
"""Something that is due each minute becomes due within so many seconds."""
SUBMITTERS = 4
RUN = 'echo "$MARK" >> "$RUNS"; echo "out $MARK"; sleep 0.$((RANDOM_TENTHS)); exit $CODE'


class Load:
    """Submits as long as it is told to; every submit is repeated until it is acknowledged."""

    def __init__(self, served: Served, runs: Path) -> None:
        self._served = served
        self._runs = runs
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._submit, args=(number,)) for number in range(SUBMITTERS)
        ]
        self.acknowledged: dict[str, str] = {}
        """Task id by mark."""
        self.trouble: list[str] = []

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End once what was begun is acknowledged."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _submit(self, number: int) -> None:
        chance = random.Random(number)
        count = 0
        while not self._stop.is_set():
            mark = f"m{number}-{count}"
            count += 1
            self._until_acknowledged(mark, chance)
            time.sleep(0.05)

    def _until_acknowledged(self, mark: str, chance: random.Random) -> None:
        env = {
            "MARK": mark,
            "RUNS": str(self._runs),
            "RANDOM_TENTHS": str(chance.randrange(4)),
            "CODE": str(chance.choice((0, 0, 0, 3))),
        }
        body: dict[str, Any] = {
            "command": RUN,
            "env": env,
            "idempotency_key": mark,
            "group": f"g{chance.randrange(3)}",
            "name": mark,
        }
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx2.TransportError), self._served.client() as client:
                answer = client.post("/tasks", json=body)
                if answer.is_success:
                    self.acknowledged[mark] = answer.json()["id"]
                    return
                if answer.status_code != 503:
                    self.trouble.append(f"{answer.status_code} {answer.text}")
                    return
            time.sleep(0.02)
        self.trouble.append(f"{mark} was never acknowledged")


@pytest.mark.chaos
@pytest.mark.timeout(120 + 5 * KILLS)
@pytest.mark.long
def test_nothing_is_lost_or_doubled_when_the_server_is_killed_again_and_again(
    tmp_path: Path,
    common_path: Path,
) -> None:
    """Each acknowledged task ends once, by its own exit code, having run exactly once."""
    served = Served(tmp_path / "data")
    runs = common_path / "runs"
    runs.touch()
    runs.chmod(0o666)
    chance = random.Random()
    served.start()
    load = Load(served, runs)
    try:
        served.await_ready()
        with served.client() as client:
            recurring = client.post("/tasks", json={"command": "true", "cron": "* * * * *"})
            recurring_id = recurring.raise_for_status().json()["id"]
        load.start()
        began, kill = time.monotonic(), 0
        while kill < KILLS or time.monotonic() < began + FIRING_S:
            kill += 1
            # Mostly while it works, now and then while it is still starting.
            if kill % 8:
                served.await_ready()
                time.sleep(chance.uniform(0, 0.4))
            else:
                time.sleep(chance.uniform(0, 0.8))
            if kill % 5 or not kill % 8:
                # A server that is still starting ends by itself if its store process dies.
                served.kill()
                served.start()
            else:
                served.kill_store()
        served.await_ready()
        load.stop()
        _check(served, load, runs)
        _check_firings(served, recurring_id)
    finally:
        load.stop()
        served.end()


def _check(served: Served, load: Load, runs: Path) -> None:
    assert not load.trouble
    assert len(load.acknowledged) > KILLS / 2
    tasks = _await_all_ended(served)
    by_name = {task["name"]: task for task in tasks if task["name"]}
    assert len(by_name) == sum(1 for task in tasks if task["name"]), "a task was stored twice"
    ran = Counter(runs.read_text().split())
    for mark, task_id in load.acknowledged.items():
        task = by_name[mark]
        assert task["id"] == task_id
        assert ran[mark] == 1, f"{mark} ran {ran[mark]} times: {task}"
        wanted = "succeeded" if task["env"]["CODE"] == "0" else "failed"
        assert task["state"] == wanted, task
    assert set(ran) <= set(by_name), "something ran that is not stored"
    with served.client() as client:
        for task in tasks:
            if task["name"] and task["attempt_count"] > 1:
                _check_attempts(client, task)
        for mark, task_id in list(load.acknowledged.items())[::7]:
            output = client.get(f"/tasks/{task_id}/logs/stdout").text
            assert output == f"out {mark}\n"
            kinds = [e["kind"] for e in client.get(f"/tasks/{task_id}/events").json()["items"]]
            assert kinds.count("assigned") == by_name[mark]["attempt_count"]
            assert kinds[0] == "submitted"
            assert kinds[-1] in {"succeeded", "failed"}


def _check_attempts(client: httpx2.Client, task: dict[str, Any]) -> None:
    """Those before the last never began: nobody knew whether they had been stored."""
    attempts = client.get(f"/tasks/{task['id']}/attempts").raise_for_status().json()["items"]
    for one in attempts[:-1]:
        assert (one["state"], one["reason"]) == ("failed", "runtime_trouble"), one
        assert one["started_at"] is None, one


def _await_all_ended(served: Served) -> list[dict[str, Any]]:
    with served.client() as client:
        eventually(
            lambda: client.get("/tasks/counts").raise_for_status().json()["counts"],
            lambda counts: not any(map(counts.get, ("queued", "running", "retrying"))),
            within_s=60,
        )
        tasks: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            query: dict[str, Any] = {"limit": 500} | ({"cursor": cursor} if cursor else {})
            page = client.get("/tasks", params=query).raise_for_status().json()
            tasks += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return tasks


def _check_firings(served: Served, recurring_id: str) -> None:
    with served.client() as client:
        firings = client.get("/tasks", params={"schedule": recurring_id}).json()["items"]
    due = [firing["due_at"] for firing in firings]
    assert len(due) == len(set(due)), "a due time fired twice"
    assert due, "no due time fired"
