"""Functions on a real server, as a user meets them: over HTTP, through deploys and crashes."""

import base64
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from eventually import eventually
from served import Served

SOURCE = "def handle(request): return {answer}\n"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A running server."""
    server = Served(tmp_path / "data")
    server.start()
    server.await_ready()
    yield server
    server.stop()


def client(served: Served) -> httpx2.Client:
    """A client of it."""
    return httpx2.Client(
        base_url=f"{served.url}/api/v1",
        headers={"authorization": "Bearer dev"},
        timeout=60,
        verify=False,
    )


def deploy(api: httpx2.Client, name: str, source: str, **members: Any) -> httpx2.Response:
    """Deploy Python source and wait for its build."""
    body = {"source": source, "language": "python", **members}
    return api.put(f"/functions/{name}?wait=60s", json=body)


def test_from_nothing_to_an_answer(served: Served) -> None:
    """Deploy, call, and find what was answered again by the task's id."""
    with client(served) as api:
        deployed = deploy(
            api,
            "hello",
            "def handle(request):\n    print('hi')\n"
            "    return (201, {'X-A': 'b'}, request.text.upper())\n",
        )
        assert deployed.status_code == 200, deployed.text
        assert deployed.json()["version"]["state"] == "ready"
        answer = api.post("/functions/hello/calls?wait=30s", content="abc")
        assert (answer.status_code, answer.text, answer.headers["x-a"]) == (201, "ABC", "b")
        task_id = answer.headers["taskyard-task-id"]
        again = api.get(f"/tasks/{task_id}/result")
        assert (again.status_code, again.text, again.headers["x-a"]) == (201, "ABC", "b")
        assert api.get(f"/tasks/{task_id}/logs/stdout").text == "hi\n"
        task = api.get(f"/tasks/{task_id}").json()
        assert (task["state"], task["function"], task["function_version"]) == (
            "succeeded",
            "hello",
            1,
        )


def test_builds_that_a_power_cut_has_damaged_are_built_again(served: Served) -> None:
    """Those that are live at the start, and others when they are called."""
    with client(served) as api:
        for answer in (1, 2):
            assert deploy(api, "f", SOURCE.format(answer=answer)).status_code == 200
        assert api.post("/functions/f/calls?wait=30s").json() == 2
        assert api.post("/functions/f/calls?wait=30s&version=1").json() == 1
        function_id = api.get("/functions/f").json()["id"]
    served.kill()
    builds = served.data / "functions" / "builds" / function_id
    for number in (1, 2):
        (builds / str(number) / "code" / "handler.py").write_bytes(b"")
    served.start()
    served.await_ready()
    with client(served) as api:
        assert api.post("/functions/f/calls?wait=30s").json() == 2
        assert api.post("/functions/f/calls?wait=30s&version=1").json() == 1
        for number in (1, 2):
            log = api.get(f"/functions/f/versions/{number}/log").text
            assert log.startswith("its files were missing or damaged: built again\n")
        assert api.get("/functions/f").json()["live_version"] == 2


def test_calls_without_waiting_are_tasks(served: Served) -> None:
    """Answered once they are stored; results are there when they have ended."""
    with client(served) as api:
        deploy(
            api, "slow", "import time\ndef handle(request):\n    time.sleep(0.3)\n    return 1\n"
        )
        submitted = api.post("/functions/slow/calls")
        assert submitted.status_code == 201
        task_id = submitted.json()["id"]
        assert api.get(f"/tasks/{task_id}/result").status_code == 409
        assert api.get(f"/tasks/{task_id}/wait").json()["state"] == "succeeded"
        assert api.get(f"/tasks/{task_id}/result").json() == 1
        late = api.post("/functions/slow/calls?wait=1ms")
        assert late.status_code == 202
        keyed = [
            api.post("/functions/slow/calls", headers={"idempotency-key": "k"}) for _ in range(2)
        ]
        assert [one.status_code for one in keyed] == [201, 200]
        assert keyed[0].json()["id"] == keyed[1].json()["id"]


def test_failures_have_words(served: Served) -> None:
    """An error of the function, its time limit, and answers too large for the store's rows."""
    with client(served) as api:
        deploy(
            api,
            "bad",
            "def handle(request):\n    if request.text == 'loop':\n        while True: pass\n"
            "    if request.text == 'large': return 'x' * 5_000_000\n    raise KeyError('k')\n",
            limits={"timeout_s": 0.5},
        )
        failed = api.post("/functions/bad/calls?wait=30s")
        assert failed.status_code == 500
        assert failed.json()["detail"] == "KeyError: 'k'"
        late = api.post("/functions/bad/calls?wait=30s", content="loop")
        assert late.status_code == 504
        large = api.post("/functions/bad/calls?wait=30s", content="large")
        assert large.text == "x" * 5_000_000
        again = api.get(f"/tasks/{large.headers['taskyard-task-id']}/result")
        assert again.content == large.content


def test_bad_uploads_are_refused(served: Served) -> None:
    """Each with its status; a bad archive fails its build and nothing else."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../handler.py", "x")
    with client(served) as api:
        put = api.put("/functions/f", json={"archive": "%%%", "language": "python"})
        assert put.status_code == 422
        assert api.put("/functions/f", json={"source": "x"}).status_code == 422
        assert api.put("/functions/f", json={"language": "python"}).status_code == 422
        assert api.put("/functions/f", content=b"{").status_code == 400
        bad = {"source": "x", "language": "cobol"}
        assert api.put("/functions/f", json=bad).status_code == 422
        assert api.put("/functions/bad%20name", json={**bad, "language": "go"}).status_code == 422
        large = api.put(
            "/functions/f?language=python",
            content=bytes(51 << 20),
            headers={"content-type": "application/zip"},
        )
        assert large.status_code == 413
        assert deploy(api, "f", SOURCE.format(answer=1)).json()["version"]["live"]
        outside = api.put(
            "/functions/f?wait=30s",
            json={"archive": base64.b64encode(buffer.getvalue()).decode(), "language": "python"},
        ).json()
        assert outside["version"]["state"] == "failed"
        assert "../handler.py" in outside["version"]["message"]
        assert outside["function"]["live_version"] == 1
        log = api.get("/functions/f/versions/2/log?follow=true").text
        assert log.splitlines()[-1].startswith("failed: ")
        assert api.post("/functions/f/calls?wait=30s").json() == 1
        assert api.post("/functions/none/calls").status_code == 404
        for language in ("csharp", "rust"):
            refused = api.put("/functions/other", json={"source": "x", "language": language})
            assert refused.status_code == 422
            assert f"function init NAME --language {language}" in refused.text
        assert api.get("/functions/other").status_code == 404


def test_forms_and_raw_archives_are_taken(served: Served) -> None:
    """A form with a file and its description, or the archive alone."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("function/handler.py", SOURCE.format(answer="[1]"))
    with client(served) as api:
        form = [
            ("file", ("f.zip", buffer.getvalue())),
            ("meta", ("meta.json", b'{"language":"python"}')),
        ]
        assert api.put("/functions/form?wait=30s", files=form).json()["version"]["live"]
        raw = api.put(
            "/functions/raw?wait=30s&language=python",
            content=buffer.getvalue(),
            headers={"content-type": "application/zip"},
        )
        assert raw.json()["version"]["live"]
        for name in ("form", "raw"):
            assert api.post(f"/functions/{name}/calls?wait=30s").json() == [1]


def test_old_calls_finish_on_the_old_version(served: Served) -> None:
    """A deploy in between changes nothing for them."""
    source = "import time\ndef handle(request):\n    time.sleep(1.0)\n    return {answer}\n"
    with client(served) as api:
        deploy(api, "f", source.format(answer=1))
        old = [api.post("/functions/f/calls").json()["id"] for _ in range(3)]
        deploy(api, "f", source.format(answer=2))
        new = api.post("/functions/f/calls").json()["id"]
        for task_id, answer in [*((one, 1) for one in old), (new, 2)]:
            api.get(f"/tasks/{task_id}/wait")
            assert api.get(f"/tasks/{task_id}/result").json() == answer
        back = api.post("/functions/f/rollback").json()
        assert back["live_version"] == 1
        assert api.post("/functions/f/calls?wait=30s").json() == 1
        assert api.post("/functions/f/rollback", json={"version": 9}).status_code == 404


def test_two_deploys_at_once_are_two_versions(served: Served) -> None:
    """Built one after the other; the one stored last is live in the end."""
    with client(served) as api:
        deploy(api, "f", SOURCE.format(answer=0))
        answers: list[dict[str, Any]] = []

        def run(number: int) -> None:
            answers.append(deploy(api, "f", SOURCE.format(answer=number)).json())

        threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(one["version"]["number"] for one in answers) == [2, 3, 4, 5, 6]
        assert {one["version"]["state"] for one in answers} == {"ready"}
        assert api.get("/functions/f").json()["live_version"] == 6


def test_pause_delete_restore(served: Served) -> None:
    """What is paused takes no calls; what is deleted is unknown, and can come back."""
    with client(served) as api:
        function_id = deploy(api, "f", SOURCE.format(answer=1), tags=["a"]).json()["function"]["id"]
        assert api.post("/functions/f/pause").json()["paused"]
        assert api.post("/functions/f/calls").status_code == 409
        assert not api.post("/functions/f/resume").json()["paused"]
        assert [one["name"] for one in api.get("/functions?tag=a").json()["items"]] == ["f"]
        assert api.get("/functions?tag=b").json()["items"] == []
        assert api.delete("/functions/f").status_code == 204
        assert api.delete("/functions/f").status_code == 404
        assert api.post("/functions/f/calls").status_code == 404
        assert api.get("/functions?deleted=true").json()["items"][0]["id"] == function_id
        assert api.post(f"/functions/{function_id}/restore").json()["name"] == "f"
        assert api.post("/functions/f/calls?wait=30s").json() == 1


def test_a_kill_of_the_server_loses_and_doubles_nothing(tmp_path: Path, common_path: Path) -> None:
    """Calls under way run again, unless they are stored; no process of the old life is left."""
    runs = common_path / "runs"
    served = Served(tmp_path / "data")
    served.start()
    served.await_ready()
    source = (
        "import os, time\n"
        "def handle(request):\n"
        f"    with open({str(runs)!r}, 'a') as file:\n"
        "        file.write(request.text + ' ' + str(os.getpid()) + '\\n')\n"
        "    time.sleep(0.3)\n"
        "    return request.text\n"
    )
    try:
        with client(served) as api:
            deploy(api, "f", source)
            ids = {
                str(number): api.post("/functions/f/calls", content=str(number)).json()["id"]
                for number in range(30)
            }
            eventually(lambda: runs.exists() and len(runs.read_text().splitlines()) >= 3)
            before = {
                number
                for number, task_id in ids.items()
                if api.get(f"/tasks/{task_id}").json()["state"] == "succeeded"
            }
        served.kill()
        old_pids = {int(line.split()[1]) for line in runs.read_text().splitlines()}
        served.start()
        served.await_ready()
        assert not [pid for pid in old_pids if Path(f"/proc/{pid}").exists()]
        with client(served) as api:
            for number, task_id in ids.items():
                task = api.get(f"/tasks/{task_id}/wait").json()
                assert task["state"] == "succeeded", task
                assert api.get(f"/tasks/{task_id}/result").text == number
        marks = [line.split()[0] for line in runs.read_text().splitlines()]
        assert set(marks) == set(ids)
        for number in before:
            assert marks.count(number) == 1
    finally:
        served.stop()
