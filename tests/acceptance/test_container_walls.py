"""A hostile tenant's containers, on each engine, through the whole server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from drove_client import ApiFailed, DroveClient

from engines import RealEngine
from served import Served, serving

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("engines")]

BOMB = "bomb() { bomb | bomb & }; bomb; sleep 1; ls -d /proc/[0-9]* | wc -l"
COUNT = "i=0; while [ $i -lt 200 ]; do sleep 30 & i=$((i+1)); done; echo all"
PIDS = 40


class Walls:
    """A server whose operator allows nearly the whole machine, and little else."""

    def __init__(self, served: Served, engine: RealEngine, allowed: Path) -> None:
        self.served = served
        self.engine = engine
        self.allowed = allowed
        self.http = served.client()

    def submit(self, script: str = "true", **container: Any) -> httpx2.Response:
        """The answer to a container that runs a script."""
        body: dict[str, Any] = {"image": "busybox", "command": ["sh", "-c", script]}
        return self.http.post("/tasks", json={**body, "container": container})

    def run(self, script: str, **container: Any) -> dict[str, Any]:
        """A task once it has ended."""
        answer = self.submit(script, **container)
        assert answer.status_code == 201, answer.text
        return self.ended(answer.json()["id"])

    def ended(self, task_id: str) -> dict[str, Any]:
        """A task once it has ended."""
        answer = self.http.get(f"/tasks/{task_id}/wait", params={"timeout_s": 60}, timeout=70)
        task: dict[str, Any] = answer.json()
        assert task["state"] in {"succeeded", "failed"}, (task["message"], task)
        return task

    def newest(self, group: str) -> dict[str, Any]:
        """The newest task of a group once it has ended."""
        found = self.http.get("/tasks", params={"group": group}).json()["items"]
        return self.ended(found[0]["id"])

    def output(self, task: dict[str, Any]) -> str:
        """What it has printed."""
        return self.http.get(f"/tasks/{task['id']}/logs/stdout").text


@pytest.fixture(scope="module")
def walls(engine: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walls]:
    """Its data directory lies in a directory that containers may mount."""
    allowed = tmp_path_factory.mktemp("allowed")
    (allowed / "fine").mkdir()
    (allowed / "fine" / "file").write_text("fine\n")
    settings = allowed.parent / f"{allowed.name}.toml"
    settings.write_text(
        f'container_engine = "{engine.url}"\ncontainer_network = "none"\n'
        # On a busy machine checks of an engine fail.
        "circuit_reset_s = 1.0\n"
        f'container_volumes = ["/"]\ncontainer_pids_limit = {PIDS}\nworker_slots = 20\n'
        '[drove]\nopen_files = 0\npull = "missing"\ndevices = true\nplacement_wait_s = 20.0\n'
        '[fastlane]\npull = "missing"\n'
    )
    with serving(allowed / "data", "--config", str(settings)) as served:
        walls = Walls(served, engine, allowed)
        with walls.http:
            yield walls
    engine.clear()


@pytest.mark.parametrize(
    ("container", "setting"),
    [
        ({"network": "host"}, "container_networks"),
        ({"network": "bridge"}, "container_networks"),
        ({"network": "container:x"}, "container_networks"),
        ({"capabilities": ["SYS_ADMIN"]}, "container_capabilities"),
        ({"capabilities": ["ALL"]}, "container_capabilities"),
        ({"capabilities": ["CAP_SYS_PTRACE"]}, "container_capabilities"),
    ],
)
def test_more_than_the_operator_allows_is_refused(
    walls: Walls, container: dict[str, Any], setting: str
) -> None:
    """With the setting's name, before anything runs."""
    answer = walls.submit(**container)
    assert answer.status_code == 422
    assert setting in answer.text


def test_a_task_cannot_have_more_processes(walls: Walls) -> None:
    """Neither by asking for them nor by taking them."""
    body = {"image": "busybox", "command": ["true"], "resources": {"pids": 100_000}}
    answer = walls.http.post("/tasks", json=body)
    assert answer.status_code == 422
    assert "container_pids_limit" in answer.text
    many = walls.run(COUNT)
    assert many["state"] == "failed" or "all" not in walls.output(many), many
    found = walls.run(BOMB)
    if found["state"] == "succeeded":
        assert int(walls.output(found)) <= PIDS + 2
    assert walls.http.get("/tasks", params={"limit": 1}).status_code == 200


def test_the_servers_own_directories_are_not_mounted(walls: Walls) -> None:
    """The data directory, the engine's socket and files, the kernel's: also by links."""
    served, engine, allowed = walls.served, walls.engine, walls.allowed
    for name, target in (
        ("to-data", served.data),
        ("to-socket", engine.root),
        ("to-proc", Path("/proc")),
    ):
        (allowed / name).symlink_to(target)
    for path in (
        *("/", "/proc", "/sys", "/dev", "/proc/1/root"),
        *(served.data, served.data / "attempts", allowed, allowed / "fine" / ".." / "data"),
        *(engine.root, engine.socket, engine.root / "d"),
        *(allowed / "to-data", allowed / "to-socket", allowed / "to-proc"),
    ):
        task = walls.run("ls /v", volumes=[{"host": str(path), "container": "/v"}])
        assert (task["state"], task["reason"]) == ("failed", "start_failed"), (path, task)
        assert "never see" in task["message"] or "cannot be used" in task["message"], task
    fine = {"host": str(allowed / "fine"), "container": "/v", "read_only": False}
    assert walls.output(walls.run("cat /v/file", volumes=[fine])) == "fine\n"


def test_a_container_cannot_make_a_way_for_the_next_one(walls: Walls) -> None:
    """A link that it leaves in a volume leads to nothing of the server's."""
    fine = walls.allowed / "fine"
    volume = {"host": str(fine), "container": "/v", "read_only": False}
    walls.run(f"ln -s {walls.served.data} /v/trap", volumes=[volume])
    assert (fine / "trap").is_symlink()
    task = walls.run("ls /v", volumes=[{"host": str(fine / "trap"), "container": "/v"}])
    assert (task["state"], task["reason"]) == ("failed", "start_failed"), task


STATUS = "grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status"


def test_containers_of_fastlane_have_no_dangerous_rights(walls: Walls) -> None:
    """A writable root and ordinary capabilities, as images expect; nothing that reaches further."""
    with httpx2.Client(timeout=60, verify=False, trust_env=False) as client:
        body = {"image": "busybox", "command": f'sh -c "touch /x && {STATUS}"'}
        answer = client.post(f"{walls.served.url}/fastlane/tasks/walls", json=body)
        assert answer.status_code == 200, answer.text
    check_status(walls.output(walls.newest("walls")))


def test_containers_of_drove_have_no_dangerous_rights(walls: Walls) -> None:
    """Likewise; devices need the server's operator even where the dialect allows them."""
    drove = DroveClient(f"{walls.served.url}/drove", "admin", "admin")
    spec = {
        "sourceAppName": "WALLS",
        "taskId": "RIGHTS",
        "executable": {"type": "DOCKER", "url": "busybox", "dockerPullTimeout": "100s"},
        "resources": [{"type": "CPU", "count": 1}, {"type": "MEMORY", "sizeInMB": 64}],
        "args": ["sh", "-c", f"touch /x && {STATUS}"],
    }
    with pytest.raises(ApiFailed, match="container_devices"):
        drove.create({**spec, "devices": [{"type": "DIRECT", "pathOnHost": "/dev/mem"}]})
    drove.create(spec)
    check_status(walls.output(walls.newest("WALLS")))


def check_status(text: str) -> None:
    """Whether a process's status shows the rights that all containers may have."""
    status = dict(line.replace("\t", " ").split(": ") for line in text.splitlines())
    forbidden = {13: "NET_RAW", 27: "MKNOD", 29: "AUDIT_WRITE", 21: "SYS_ADMIN", 19: "SYS_PTRACE"}
    bounding = int(status["CapBnd"], 16)
    assert [name for bit, name in forbidden.items() if bounding >> bit & 1] == []
    assert bounding & 1, "images that set themselves up as root need CHOWN"
    assert status["NoNewPrivs"] == "1"
