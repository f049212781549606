"""An installation moves from SQLite to PostgreSQL and back, and its users notice nothing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from fakes.stores import postgres_url
from served import Served
from taskyard.cli.main import run

LONG: Final = "seq 1 400000; seq 1 9 >&2"
ANSWER: Final = "def handle(request): return request.text * 100_000\n"


@contextmanager
def serving(data: Path, *options: str) -> Iterator[httpx2.Client]:
    """A client of a server on a data directory."""
    served = Served(data, *options)
    served.start()
    try:
        served.await_ready()
        with served.client() as client:
            yield client
        assert served.stop() == 0
    finally:
        served.end()


def get(api: httpx2.Client, path: str) -> Any:
    """What the server answers."""
    answer = api.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def submit(api: httpx2.Client, **members: Any) -> str:
    """The id of a new task."""
    answer = api.post("/tasks", json=members)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def fill(api: httpx2.Client) -> dict[str, str]:
    """Tasks of every kind; their ids."""
    ids = {
        "short": submit(api, command="echo short", labels={"a": "b"}),
        "long": submit(api, command=LONG),
        "dead": submit(api, command="exit 3", retry={"max_attempts": 2, "backoff_min_s": 0}),
        "later": submit(api, command="true", start_in_s=3600, group="night"),
        "cron": submit(api, command="true", cron="0 4 * * *"),
    }
    assert api.put("/secrets/word", json={"value": "open sesame"}).status_code == 204
    assert api.patch("/groups/night", json={"concurrency_limit": 3}).status_code == 200
    deployed = api.put("/functions/echo?wait=60s", json={"source": ANSWER, "language": "python"})
    assert deployed.json()["version"]["state"] == "ready", deployed.text
    called = api.post("/functions/echo/calls?wait=60s", content="large")
    ids["called"] = called.headers["taskyard-task-id"]
    for name in ("short", "long", "dead"):
        assert get(api, f"/tasks/{ids[name]}/wait")["finished_at"]
    return ids


def seen(api: httpx2.Client, ids: dict[str, str]) -> dict[str, Any]:
    """What users see of it all."""
    found: dict[str, Any] = {"groups": get(api, "/groups"), "secrets": get(api, "/secrets")}
    for name, task_id in ids.items():
        found[name] = [
            get(api, f"/tasks/{task_id}"),
            get(api, f"/tasks/{task_id}/attempts"),
            get(api, f"/tasks/{task_id}/events"),
        ]
    for stream in ("stdout", "stderr"):
        found[stream] = api.get(f"/tasks/{ids['long']}/logs/{stream}").text
    found["both"] = api.get(f"/tasks/{ids['long']}/logs/both").text
    found["answer"] = api.get(f"/tasks/{ids['called']}/result").text
    return found


def test_an_installation_moves_there_and_back(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Tasks, output, answers, functions, secrets, groups: all is there, and goes on."""
    first, plane, last = (tmp_path / name for name in ("first", "plane", "last"))
    url = postgres_url(tmp_path)

    def taskyard(*arguments: str) -> Any:
        code = run(arguments)
        out, err = capfdbinary.readouterr()
        assert code == 0, err.decode()
        return json.loads(out)

    with serving(first) as api:
        ids = fill(api)
        before = seen(api, ids)
        assert len(before["stdout"]) > 2_000_000
        assert before["answer"] == "large" * 100_000
        assert taskyard("store", "check", "--data", str(first))["sound"]
    taskyard("store", "copy", "--from", f"sqlite:{first}", "--to", url, "--data", str(plane))
    with serving(plane, "--database", url) as api:
        assert seen(api, ids) == before
        go_on(api)
        ids["new"] = submit(api, command="echo between")
        assert get(api, f"/tasks/{ids['new']}/wait")["state"] == "succeeded"
        between = seen(api, ids)
        checked = taskyard("store", "check", "--database", url, "--data", str(plane))
        assert checked == {"store": checked["store"], "sound": True, "findings": []}
        taskyard("backup", str(tmp_path / "x.tar"), "--database", url, "--data", str(plane))
    taskyard("store", "copy", "--from", url, "--to", f"sqlite:{last}", "--data", str(plane))
    with serving(last) as api:
        assert seen(api, ids) == between
        go_on(api)
    restored = tmp_path / "restored"
    taskyard("restore", str(tmp_path / "x.tar"), "--data", str(restored))
    with serving(restored) as api:
        assert seen(api, ids) == between
    for data in (first, last, restored):
        assert taskyard("store", "check", "--data", str(data))["findings"] == []


def go_on(api: httpx2.Client) -> None:
    """New work runs, with the secret; the function is called, from its source if need be."""
    task = submit(api, command="echo $WORD", env={"WORD": {"secret": "word"}})
    assert get(api, f"/tasks/{task}/wait")["state"] == "succeeded"
    assert api.get(f"/tasks/{task}/logs/stdout").text == "open sesame\n"
    assert api.post("/functions/echo/calls?wait=60s", content="x").text == "x" * 100_000
