"""Tasks of the Drove dialect as real containers, driven by a client that knows the contract only.

Everything goes through the main listener, below the prefix ``/drove``.
"""

import base64
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drove_client import ApiFailed, DroveClient

from engines import IMAGE, RealEngine
from eventually import eventually
from receivers import Receiver
from served import Served

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("engines")]
APP = "ACCEPTANCE"
SETTINGS = """
[drove]
pull = "missing"
open_files = 0
forward_env = ["FORWARDED_*"]
config_dirs = ["{volumes}"]
"""


@pytest.fixture(scope="module")
def volumes(engine: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that tasks may see; another one for each engine."""
    del engine
    return tmp_path_factory.mktemp("volumes")


@pytest.fixture(scope="module")
def served(
    engine: RealEngine, volumes: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server whose containers run there."""
    root = tmp_path_factory.mktemp("drove")
    config = root / "settings.toml"
    config.write_text(
        f'container_engine = "{engine.url}"\ncontainer_network = "none"\n'
        # On a busy machine checks of an engine fail.
        "circuit_reset_s = 1.0\n"
        f'container_volumes = ["{volumes}"]\n' + SETTINGS.format(volumes=volumes)
    )
    served = Served(root / "data", "--config", str(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORWARDED_VALUE", "from the worker")
        patch.setenv("KEPT_BACK", "not for tasks")
        served.start()
    try:
        served.await_ready()
        yield served
    finally:
        served.end()
        engine.clear()


@pytest.fixture
def drove(served: Served) -> DroveClient:
    """A client under the prefix."""
    client = DroveClient(f"{served.url}/drove", "admin", "admin")
    eventually(lambda: client.get("/cluster")["numExecutors"])
    return client


def spec(task: str, script: str, **changes: Any) -> dict[str, Any]:
    """A task that runs a script."""
    return {
        "sourceAppName": APP,
        "taskId": task,
        "executable": {"type": "DOCKER", "url": IMAGE, "dockerPullTimeout": "100s"},
        "resources": [{"type": "CPU", "count": 1}, {"type": "MEMORY", "sizeInMB": 64}],
        "args": ["sh", "-c", script],
        **changes,
    }


def test_whole_life_below_the_prefix(drove: DroveClient) -> None:
    """Create, follow, read, search, delete."""
    assert drove.get("/ping") == "pong"
    assert drove.create(spec("LIFE", "echo out; echo err >&2; echo ä€; exit 0")) == f"{APP}-LIFE"
    assert [one["taskId"] for one in drove.active()] in ([], ["LIFE"])
    ended = drove.follow(APP, "LIFE")
    assert ended["state"] == "STOPPED", ended
    assert ended["errorMessage"] == ""
    assert ended["taskResult"] == {"status": "SUCCESSFUL", "exitCode": 0}
    assert drove.files(APP, "LIFE") == ["output.log"]
    assert sorted(drove.output(APP, "LIFE").splitlines()) == ["err", "out", "ä€"]
    assert drove.search(APP, "LIFE").endswith(f"/drove/tasks/{APP}/LIFE")
    with pytest.raises(ApiFailed, match="Task already exists "):
        drove.create(spec("LIFE", "true"))
    assert drove.delete(APP, "LIFE")
    with pytest.raises(ApiFailed) as gone:
        drove.show(APP, "LIFE")
    assert gone.value.status == 200
    assert drove.search(APP, "LIFE").endswith("/drove/")


def test_kill_is_outright(drove: DroveClient, engine: RealEngine) -> None:
    """A container that ignores signals is gone, and its cores are free again."""
    free = drove.get("/cluster")["freeCores"]
    drove.create(spec("KILL", "trap '' TERM INT; while :; do sleep 1; done"))
    running = drove.await_state(APP, "KILL", "RUNNING")
    (cores,) = running["resources"][0]["cores"].values()
    assert len(cores) == 1
    assert drove.get("/cluster")["freeCores"] == free - 1
    (container,) = [one for one in engine.containers() if one["State"] == "running"]
    host = engine.inspect(container["Id"])["HostConfig"]
    assert host["CpusetCpus"] == str(cores[0])
    assert host["Memory"] == 64 << 20
    assert drove.kill(APP, "KILL") == "KILL"
    ended = drove.follow(APP, "KILL")
    assert ended["taskResult"] == {"status": "CANCELLED", "exitCode": -1}
    assert drove.get("/cluster")["freeCores"] == free
    assert not [one for one in engine.containers() if one["State"] == "running"]
    states = [
        one["metadata"]["CURRENT_STATE"]
        for one in reversed(drove.get("/cluster/events"))
        if one["metadata"].get("TASK_ID") == "KILL"
    ]
    assert " ".join(states) == (
        "PENDING PROVISIONING STARTING RUNNING RUN_COMPLETED DEPROVISIONING STOPPED"
    )


def test_a_server_that_stands_still_loses_nothing(drove: DroveClient, served: Served) -> None:
    """For longer than the silence after which an executor counts as lost."""
    drove.create(spec("PAUSE", "sleep 6; echo done"))
    drove.await_state(APP, "PAUSE", "RUNNING")
    os.kill(served.pid, signal.SIGSTOP)
    try:
        time.sleep(3.5)  # the standstill itself, not a wait for something
    finally:
        os.kill(served.pid, signal.SIGCONT)
    ended = drove.follow(APP, "PAUSE")
    assert ended["taskResult"] == {"status": "SUCCESSFUL", "exitCode": 0}
    assert drove.output(APP, "PAUSE") == "done\n"


def test_the_newest_output_is_kept_beside_the_first(drove: DroveClient) -> None:
    """Of more than the files of LOCAL hold, what lies between is told and missing."""
    logging = {"type": "LOCAL", "maxSize": "1k", "maxFiles": 2}
    drove.create(spec("LONG", "seq 10001 30000", logging=logging))
    drove.follow(APP, "LONG")
    text = drove.output(APP, "LONG")
    first, rest = text.split("\n[taskyard: output limit reached, ")
    dropped, last = rest.split(" bytes dropped]\n")
    assert first.splitlines()[:2] == ["10001", "10002"]
    assert len(first) == 2048
    assert last.endswith("\n29999\n30000\n")
    assert 512 <= len(last) <= 1024
    assert 2048 + int(dropped) + len(last) == 6 * 20_000


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_output_arrives_at_a_log_server_and_in_the_file(drove: DroveClient, protocol: str) -> None:
    """Section 14.4: tagged with the instance's id; an end does not wait for the server."""
    task = f"SYSLOG-{protocol}"
    with Receiver(protocol) as receiver:
        logging = {
            "type": "RSYSLOG",
            "server": receiver.server,
            "tagPrefix": "p.",
            "tagSuffix": ".s",
        }
        drove.create(spec(task, "echo one; echo two >&2; echo three", logging=logging))
        ended = drove.follow(APP, task)
        eventually(lambda: len(receiver.messages) >= 3, of=lambda: receiver.messages)
    assert sorted(receiver.texts) == [b"one", b"three", b"two"]
    tag = f" p.{ended['instanceId']}.s: ".encode()
    assert all(tag in one for one in receiver.messages)
    assert ended["loggingSpec"] == logging
    assert sorted(drove.output(APP, task).splitlines()) == ["one", "three", "two"]


@pytest.mark.parametrize(
    ("task", "changes", "code", "said"),
    [
        ("EXIT", {"args": ["sh", "-c", "exit 7"]}, 7, "7"),
        ("SIGNAL", {"args": ["sh", "-c", "sh -c 'kill -SEGV $$'; exit $?"]}, 139, "139"),
        ("PROGRAM", {"args": ["/no/such/program"]}, -1, "no such program"),
        (
            "IMAGE",
            {"executable": {"url": "localhost:1/no/image", "dockerPullTimeout": "10s"}},
            -1,
            "localhost:1/no/image",
        ),
    ],
)
def test_failures_are_told_apart(
    drove: DroveClient, task: str, changes: dict[str, Any], code: int, said: str
) -> None:
    """By code, and in words."""
    drove.create(spec(task, "true") | changes)
    ended = drove.follow(APP, task)
    assert (ended["state"], ended["taskResult"]["status"]) == ("STOPPED", "FAILED")
    assert ended["taskResult"]["exitCode"] == code
    assert said in ended["errorMessage"] or task == "PROGRAM"


def test_containers_get_what_was_asked_for(drove: DroveClient, volumes: Path) -> None:
    """Environment, files, volumes, user, limits."""
    (volumes / "given.txt").write_text("of the host\n")
    volumes.chmod(0o777)
    script = (
        "env | sort; cat /config/a.txt /config/b.txt; id -u; ulimit -n;"
        " echo written > /data/out.txt; touch /ro/x || echo read-only"
    )
    drove.create(
        spec(
            "GIVEN",
            script,
            env={"A": "1", "FORWARDED_VALUE": "", "KEPT_BACK": "", "HOST": "mine"},
            configs=[
                {
                    "type": "INLINE",
                    "localFilename": "/config/a.txt",
                    "data": base64.b64encode(b"inline\n").decode(),
                },
                {
                    "type": "EXECUTOR_LOCAL_FILE",
                    "localFilename": "/config/b.txt",
                    "filePathOnHost": str(volumes / "given.txt"),
                },
            ],
            volumes=[
                {"pathOnHost": str(volumes), "pathInContainer": "/data", "mode": "READ_WRITE"},
                {"pathOnHost": str(volumes), "pathInContainer": "/ro", "mode": "READ_ONLY"},
            ],
            userSpec={"user": "65534", "group": "65534"},
        )
    )
    ended = drove.follow(APP, "GIVEN")
    output = drove.output(APP, "GIVEN")
    assert ended["taskResult"]["status"] == "SUCCESSFUL", output
    for line in (
        "A=1",
        "FORWARDED_VALUE=from the worker",
        "HOST=mine",
        f"DROVE_CONTAINER_ID={IMAGE}",
        "DROVE_TASK_ID=GIVEN",
        f"DROVE_INSTANCE_ID={ended['instanceId']}",
        f"DROVE_SOURCE_APP_NAME={APP}",
        f"DROVE_EXECUTOR_HOST={ended['hostname']}",
        "inline",
        "65534",
        "read-only",
    ):
        assert line in output.splitlines(), output
    assert "of the host" in output
    assert "KEPT_BACK" not in output
    assert (volumes / "out.txt").read_text() == "written\n"


def test_cores_are_refused_when_they_are_gone(drove: DroveClient) -> None:
    """At once; draining and maintenance refuse too, and what runs goes on."""
    (executor,) = drove.get("/cluster/executors")
    name = executor["executorId"]
    with pytest.raises(ApiFailed, match="NUMA"):
        drove.create(
            spec("WIDE", "true")
            | {"resources": [{"type": "CPU", "count": 999}, {"type": "MEMORY", "sizeInMB": 1}]}
        )
    drove.create(spec("STAYS", "sleep 1000"))
    drove.await_state(APP, "STAYS", "RUNNING")
    assert drove.post(f"/cluster/executors/{name}/blacklist")["successful"] == [name]
    with pytest.raises(ApiFailed, match="CPU"):
        drove.create(spec("LATER", "true"))
    assert drove.post(f"/cluster/executors/{name}/unblacklist")["successful"] == [name]
    assert drove.post("/cluster/maintenance/set")["state"] == "MAINTENANCE"
    with pytest.raises(ApiFailed, match="maintenance mode"):
        drove.create(spec("LATER", "true"))
    assert drove.post("/cluster/maintenance/unset")["state"] == "NORMAL"
    assert drove.show(APP, "STAYS")["state"] == "RUNNING"
    drove.kill(APP, "STAYS")
    drove.follow(APP, "STAYS")


def test_tasks_outlive_a_server_that_is_killed(
    drove: DroveClient, served: Served, volumes: Path
) -> None:
    """The same container goes on, its output is complete, and its end is known."""
    script = "i=0; until [ -e /data/go ]; do i=$((i+1)); echo line $i; sleep 0.1; done; echo end"
    volume = {"pathOnHost": str(volumes), "pathInContainer": "/data", "mode": "READ_ONLY"}
    drove.create(spec("SURVIVES", script, volumes=[volume]))
    before = drove.await_state(APP, "SURVIVES", "RUNNING")
    said = len(drove.output(APP, "SURVIVES").splitlines())
    served.kill()
    served.start()
    served.await_ready()
    listed = [one for one in drove.active() if one["taskId"] == "SURVIVES"]
    assert [one["instanceId"] for one in listed] == [before["instanceId"]]
    (volumes / "go").touch()
    ended = drove.follow(APP, "SURVIVES")
    assert ended["taskResult"] == {"status": "SUCCESSFUL", "exitCode": 0}
    *lines, last = drove.output(APP, "SURVIVES").splitlines()
    assert last == "end"
    assert lines == [f"line {number}" for number in range(1, len(lines) + 1)]
    assert len(lines) > said, "it wrote nothing while no server was there"


def test_other_views_show_no_secrets_of_a_task_that_runs(
    served: Served, drove: DroveClient
) -> None:
    """Environment, arguments and configuration, once the container has them; here as given."""
    config = base64.b64encode(b"marker-config").decode()
    given = spec(
        *("SHOWN", "echo begun; sleep 100"),
        env={"A_TOKEN": "marker-env", "PLAIN": "seen"},
        configs=[{"type": "INLINE", "localFilename": "/etc/c.txt", "data": config}],
    )
    given["args"] = [*given["args"], "--token", "marker-argument"]
    drove.create(given)
    eventually(lambda: drove.show(APP, "SHOWN")["state"] == "RUNNING", within_s=60)
    assert drove.show(APP, "SHOWN")["env"] == given["env"]
    with served.client() as api:
        listed = api.get("/tasks", params={"group": APP, "limit": 1})
        task = listed.json()["items"][0]
        assert task["name"] == "SHOWN"
        paths = ("", "/attempts", "/events", "/why")
        shown = [listed, *(api.get(f"/tasks/{task['id']}{path}") for path in paths)]
    drove.kill(APP, "SHOWN")
    for answer in shown:
        assert answer.status_code == 200
        assert "marker" not in answer.text
        assert config not in answer.text
    assert task["env"]["PLAIN"] == "seen"
    assert "marker" not in served.log.read_text(errors="replace")
