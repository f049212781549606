"""What containers can be given besides an image: files, devices, one output. Needs no engine."""

import base64
import io
import os
import tarfile
from pathlib import Path

import anyio
import pytest

from taskyard.core.access.container_rule import ENGINE_DEFAULTS, ContainerRule
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkspaceName
from taskyard.core.image_name import parse_image
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.scheduling.cpu_allocation import CpuAllocation
from taskyard.core.tasks import Container, ContainerFile, Device, DeviceRequest
from taskyard.ports.runtime import Assignment
from taskyard.runtimes.container.copy_files import FILE_BYTES, copy_files
from taskyard.runtimes.container.output import Output
from taskyard.runtimes.container.request import Surroundings, creation
from taskyard.runtimes.engine.errors import CannotRun, EngineRefused


def created(
    work: Container, resources: Resources | None = None, rule: ContainerRule | None = None
) -> dict[str, object]:
    """What an engine would be asked for."""
    assignment = Assignment(
        attempt_id=AttemptId("a"),
        task_id=TaskId("t"),
        workspace=WorkspaceName("w"),
        group="g",
        number=1,
        lease_token=LeaseToken("l"),
        assigned_at=Instant(0),
        work=work,
        resources=resources or Resources(),
        timeout_s=None,
        kill_signal="SIGKILL",
        kill_grace_s=0.0,
        log_limit_bytes=100,
    )
    around = Surroundings(
        installation="i",
        boot="b",
        is_podman=True,
        network=None,
        binds=(),
        stderr_prefix_bytes=0,
        rule=rule or ContainerRule(),
    )
    return creation(assignment, work, parse_image("busybox"), around)


def test_merged_output_is_one_file(tmp_path: Path) -> None:
    """Remarks first, then both streams as they came, up to one limit; sizes say so."""
    output = Output(tmp_path, 20, merge=True)
    output.begin()
    output.remark("note")
    output.follow_on()
    for stream, data in ((1, b"out"), (2, b"err"), (1, b"OUT"), (2, b"0123456789")):
        output.take(stream, data)
    assert (tmp_path / "stdout").read_bytes() == b"note\nouterrOUT012345"
    assert (tmp_path / "stderr").read_bytes() == b""
    sizes = output.sizes()
    assert (sizes["stdout"].stored_bytes, sizes["stdout"].dropped_bytes) == (20, 4)
    assert sizes["stderr"].stored_bytes == 0
    output.close()


def test_merged_output_is_read_again_after_a_restart(tmp_path: Path) -> None:
    """From the log, behind the remarks; nothing is there twice."""
    first = Output(tmp_path, 100, merge=True)
    first.begin()
    first.remark("note")
    first.follow_on()
    first.take(1, b"one")
    first.take(2, b"two")
    first.close()
    again = Output(tmp_path, 100, merge=True)
    again.resume(5)
    for _ in range(2):
        again.rewind()
        for stream, data in ((1, b"one"), (2, b"two"), (1, b"three")):
            again.take(stream, data)
    assert (tmp_path / "stdout").read_bytes() == b"note\nonetwothree"
    again.close()


def test_environment_of_the_worker_is_taken_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the task gives wins; the server's own settings are never handed on."""
    monkeypatch.setenv("GIVEN", "here")
    monkeypatch.setenv("TASKYARD_SECRET_KEY", "secret")
    work = Container(
        "busybox",
        env={"HOST": "mine"},
        inherited_env=("GIVEN", "TASKYARD_SECRET_KEY", "NOT_THERE"),
        hostname_env=("HOST", "WHERE"),
    )
    variables = created(work)["Env"]
    assert isinstance(variables, list)
    assert "GIVEN=here" in variables
    assert "HOST=mine" in variables
    assert f"WHERE={os.uname().nodename}" in variables
    assert not any("secret" in one or "NOT_THERE" in one for one in variables)


def test_devices_limits_and_cores_are_asked_for() -> None:
    """In the engine's words."""
    work = Container(
        "busybox",
        devices=(Device("/dev/a", "/dev/b", "rw"),),
        device_requests=(DeviceRequest("d", -1, ("1",), (("gpu",),), {"o": "1"}),),
        open_files=5000,
    )
    held = Resources(cores=2, memory_bytes=1 << 20, allotted=CpuAllocation(1, (2, 3), 1 << 20))
    host = created(work, held)["HostConfig"]
    assert isinstance(host, dict)
    assert host["Devices"] == [
        {"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "rw"}
    ]
    assert host["DeviceRequests"] == [
        {
            "Driver": "d",
            "Count": -1,
            "DeviceIDs": ["1"],
            "Capabilities": [["gpu"]],
            "Options": {"o": "1"},
        }
    ]
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 5000, "Hard": 5000}]
    assert (host["CpusetCpus"], host["CpusetMems"]) == ("2,3", "1")


class WordEngine:
    """Takes archives."""

    def __init__(self, error: Exception | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self._error = error

    async def put(self, container: str, archive: bytes) -> None:
        """See ``EngineClient``."""
        assert container == "c"
        if self._error is not None:
            raise self._error
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            for entry in packed:
                content = packed.extractfile(entry)
                assert content is not None
                self.files[entry.name] = content.read()


def put(engine: WordEngine, *files: ContainerFile, allowed: Path | None = None) -> None:
    """Put files into a container, from one directory of the host."""
    dirs = () if allowed is None else (str(allowed),)
    anyio.run(copy_files, engine, "c", files, dirs, ())  # type: ignore[arg-type]  # it needs one method only


def test_files_come_along_or_from_the_host(tmp_path: Path) -> None:
    """With their whole content."""
    (tmp_path / "f").write_bytes(b"host")
    engine = WordEngine()
    data = base64.b64encode(b"given").decode()
    host = ContainerFile("/c", host=str(tmp_path / "f"))
    put(engine, ContainerFile("/a/b", data), host, allowed=tmp_path)
    assert engine.files == {"a/b": b"given", "c": b"host"}


def test_files_that_cannot_be_had_fail_the_attempt(tmp_path: Path) -> None:
    """Missing, no file, too large, or refused by the engine."""
    (tmp_path / "large").write_bytes(b"x" * (FILE_BYTES + 1))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("missing", "large", "pipe", "folder"):
        with pytest.raises(CannotRun, match=name):
            put(WordEngine(), ContainerFile("/a", host=str(tmp_path / name)), allowed=tmp_path)
    with pytest.raises(CannotRun, match="read-only"):
        put(WordEngine(EngineRefused(500, "read-only")), ContainerFile("/a", "YQ=="))


def test_files_of_the_host_come_from_allowed_directories_only(tmp_path: Path) -> None:
    """Wherever links lead, and never from the machine's own."""
    secret, allowed = tmp_path / "secret", tmp_path / "allowed"
    secret.write_bytes(b"key")
    allowed.mkdir()
    (allowed / "link").symlink_to(secret)
    (allowed / "proc").symlink_to("/proc/self/environ")
    (allowed / "fine").write_bytes(b"ok")
    (allowed / "alias").symlink_to("fine")
    engine = WordEngine()
    put(engine, ContainerFile("/a", host=str(allowed / "alias")), allowed=allowed)
    assert engine.files == {"a": b"ok"}
    for path in (secret, allowed / "link", allowed / "proc", allowed / ".." / "secret"):
        with pytest.raises(CannotRun, match=r"drove\.config_dirs"):
            put(WordEngine(), ContainerFile("/a", host=str(path)), allowed=allowed)
    for link in ("/proc/self/environ", str(allowed / "proc")):
        with pytest.raises(CannotRun, match="never get it"):
            put(WordEngine(), ContainerFile("/a", host=link), allowed=Path("/"))


def test_containers_have_no_dangerous_rights_whichever_way_they_come() -> None:
    """Without privileges of their own: some of the engine's capabilities, and no setuid."""
    host = created(Container("busybox", privileged_defaults=True))["HostConfig"]
    assert isinstance(host, dict)
    assert host["CapDrop"] == ["AUDIT_WRITE", "MKNOD", "NET_RAW"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["PidsLimit"], host["IpcMode"]) == (4096, "private")
    assert not {"Privileged", "PidMode", "UsernsMode", "UTSMode"} & host.keys()
    rule = ContainerRule(
        capabilities=(*ENGINE_DEFAULTS, "SYS_ADMIN"), new_privileges=True, pids=None
    )
    host = created(Container("busybox", privileged_defaults=True), rule=rule)["HostConfig"]
    assert isinstance(host, dict)
    assert not {"CapDrop", "CapAdd", "SecurityOpt", "PidsLimit"} & host.keys()
    host = created(Container("busybox"), Resources(pids=7), rule)["HostConfig"]
    assert isinstance(host, dict)
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
    assert host["PidsLimit"] == 7
