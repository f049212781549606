"""The GreenCloud dialect when the operator wants no task to run twice."""

from pathlib import Path

import pytest
from greencloud_client import client, deployed

from eventually import eventually
from served import serving

GATED = (
    "import os, time\n"
    "def handle(e, c):\n"
    "    with open({runs!r}, 'a') as file: file.write(e.body.decode() + '\\n')\n"
    "    while not os.path.exists({gate!r}): time.sleep(0.02)\n"
    "    return e.body\n"
)


def test_a_lost_task_is_not_run_again(
    tmp_path: Path, common_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those under way end with 500 once the server is back; what waited runs, each once."""
    monkeypatch.setenv("TASKYARD_GREENCLOUD_RERUN_IF_LOST", "false")
    monkeypatch.setenv("TASKYARD_WORKER_SLOTS", "4")
    runs, gate = common_path / "runs", common_path / "gate"
    with serving(tmp_path / "data") as served:
        with client(served) as api:
            function = deployed(api, GATED.format(runs=str(runs), gate=str(gate)))
            tasks = [api.post(f"/task/{function}", content=str(n)).json()["id"] for n in range(10)]
            eventually(lambda: runs.exists() and len(runs.read_text().split()) == 4)
        served.kill()
        begun = runs.read_text().split()
        gate.touch()
        served.start()
        served.await_ready()
        with client(served) as api:
            for number, one in enumerate(tasks):
                eventually(lambda: api.get(f"/task/{one}").json()["progress"] == 100)  # noqa: B023 - asked at once
                result = api.get(f"/task/{one}/result")
                if str(number) not in begun:
                    assert (result.status_code, result.text) == (200, str(number))
                    continue
                assert (result.status_code, result.json()["error"]) == (500, "FUNCTION_ERROR")
                assert "worker" in result.json()["message"]
                assert api.get(f"/task/{one}").json()["status"] == 500
    assert sorted(runs.read_text().split()) == sorted(str(n) for n in range(10))
