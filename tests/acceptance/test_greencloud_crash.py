"""The GreenCloud dialect on a real server that is killed in the middle."""

from pathlib import Path
from typing import Any

from greencloud_client import client, deployed

from eventually import eventually
from served import serving

SLOW = "import time\ndef handle(e, c):\n    time.sleep(0.5)\n    return e.body\n"
QUICK = "def handle(e, c):\n    return e.body\n"


def test_a_kill_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Tasks run again, progress does not go back, and each is followed by one task."""
    with serving(tmp_path / "data") as served:
        with client(served) as api:
            slow, quick = deployed(api, SLOW), deployed(api, QUICK)
            trigger = {"functionId": slow, "nextId": quick, "includeResult": True}
            assert api.post("/trigger", json=trigger).status_code == 201
            tasks = [api.post(f"/task/{slow}", content=str(n)).json()["id"] for n in range(20)]
            eventually(lambda: api.get(f"/task/{tasks[2]}").json()["progress"] == 100)
            before = {one: api.get(f"/task/{one}").json()["progress"] for one in tasks}
        served.kill()
        served.start()
        served.await_ready()
        with client(served) as api:
            for one in tasks:
                assert api.get(f"/task/{one}").json()["progress"] >= before[one]
            for number, one in enumerate(tasks):
                eventually(lambda: api.get(f"/task/{one}").json()["progress"] == 100)  # noqa: B023 - asked at once
                result = api.get(f"/task/{one}/result")
                assert (result.status_code, result.text) == (200, str(number))

            def followers() -> list[Any]:
                found: list[Any] = api.get(f"/task/list?functionId={quick}").json()
                return [one["id"] for one in found if one["progress"] == 100]

            eventually(lambda: len(followers()) >= len(tasks))
            words = sorted(int(api.get(f"/task/{one}/result").text) for one in followers())
            assert words == list(range(20))
