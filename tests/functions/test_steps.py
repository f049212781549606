"""Steps of builds: what is left of them when they end, are given up, or lose their server."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from eventually import eventually
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.steps import Steps
from taskyard.runtimes.processes.cgroups import own_hierarchies
from taskyard.runtimes.processes.peers import Peer
from taskyard.server.control_socket import is_task

pytestmark = pytest.mark.timeout(60)
_HIDING = "(trap '' TERM INT HUP; setsid sh -c 'echo $$ > {pid}; exec sleep 3600') & "
"""Leaves the session and has no parent soon."""
_SERVER = """
import sys, anyio
from pathlib import Path
from taskyard.runtimes.function.steps import Steps
from taskyard.runtimes.processes.peers import Peer
from taskyard.server.control_socket import is_task
steps = Steps(Path(sys.argv[1]), 60.0, use_cgroups=sys.argv[2] == "cgroup")
command = ["/bin/sh", "-c", sys.argv[3]]
anyio.run(lambda: steps.run(command, Path(sys.argv[1]), print, "failed"))
"""


def steps_of(directory: Path, method: str, timeout_s: float = 30.0) -> Steps:
    """Steps held together in one way; skips where that does not work."""
    steps = Steps(directory, timeout_s, use_cgroups=method == "cgroup")
    tree, _ = steps._begin()
    steps._remove(tree)
    if tree.method != method:
        if os.environ.get("CI") == "true":
            pytest.fail("no writable cgroups here")
        pytest.skip("no writable cgroups here")
    return steps


def cgroups_of(steps: Steps) -> list[str]:
    """What there is of cgroups for them, in every hierarchy."""
    own = own_hierarchies(
        Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()
    )
    places = {str(own.unified), *own.v1.values()}
    return [str(one) for place in places for one in Path(place).glob(f"{steps._cgroup}*")]


def run(steps: Steps, directory: Path, script: str, failure: str = "failed") -> list[str]:
    """Run a script as a step; the lines of its log."""
    lines: list[str] = []
    anyio.run(steps.run, ["/bin/sh", "-c", script], directory, lines.append, failure)
    return lines


def written(path: Path) -> int:
    """The pid in a file, once it is there."""
    eventually(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def is_gone(pid: int) -> bool:
    """Whether a process is no more, or dead and only waiting to be buried."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state.rpartition(")")[2].split()[0] in "ZX"


def test_what_a_step_leaves_running_is_killed(tmp_path: Path, method: str) -> None:
    """Its output is complete, and its cgroups are gone."""
    steps = steps_of(tmp_path, method)
    pid = tmp_path / "pid"
    script = _HIDING.format(pid=pid) + f"until [ -s {pid} ]; do :; done; echo out; echo err >&2"
    assert sorted(run(steps, tmp_path, script)) == ["err", "out"]
    eventually(lambda: is_gone(written(pid)))
    assert cgroups_of(steps) == []


@pytest.mark.parametrize("script", ["exit 3", "kill -9 $$", "exec /no/such/program"])
def test_a_step_that_fails_fails(tmp_path: Path, method: str, script: str) -> None:
    """By its exit code, a signal, or because it cannot be started."""
    with pytest.raises(BuildFailed, match="it went wrong"):
        run(steps_of(tmp_path, method), tmp_path, script, "it went wrong")


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    """In the log."""
    lines: list[str] = []
    steps = Steps(tmp_path, 30.0)
    with pytest.raises(BuildFailed):
        anyio.run(steps.run, ["/no/such/program"], tmp_path, lines.append, "failed")
    assert "cannot be started: " in lines[0]


def test_a_step_that_is_given_up_is_killed(tmp_path: Path, method: str) -> None:
    """After its time, with all it started, whatever they ignore."""
    steps = steps_of(tmp_path, method, timeout_s=1.0)
    pid = tmp_path / "pid"
    script = f"trap '' TERM; {_HIDING.format(pid=pid)} wait"
    with pytest.raises(BuildFailed, match="took longer than 1 s"):
        run(steps, tmp_path, script)
    eventually(lambda: is_gone(written(pid)))
    assert cgroups_of(steps) == []


def test_nothing_of_a_step_outlives_its_server(tmp_path: Path, method: str) -> None:
    """Killed outright in the middle of it: no process, and no cgroup."""
    steps = steps_of(tmp_path, method)
    pid = tmp_path / "pid"
    script = f"trap '' TERM; {_HIDING.format(pid=pid)} wait"
    server = subprocess.Popen([sys.executable, "-c", _SERVER, str(tmp_path), method, script])
    try:
        stray = written(pid)
    finally:
        server.kill()
        server.wait()
    eventually(lambda: is_gone(stray))
    eventually(lambda: cgroups_of(steps) == [])


def test_what_lost_its_server_and_its_supervisor_is_swept(tmp_path: Path) -> None:
    """When the next server begins."""
    steps = steps_of(tmp_path, "cgroup")
    pid = tmp_path / "pid"
    script = f"trap '' TERM; {_HIDING.format(pid=pid)} wait"
    server = subprocess.Popen([sys.executable, "-c", _SERVER, str(tmp_path), "cgroup", script])
    try:
        stray = written(pid)
        (supervisor,) = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        os.kill(server.pid, signal.SIGSTOP)
        os.kill(int(supervisor), signal.SIGKILL)
    finally:
        server.kill()
        server.wait()
    assert any(map(_leaves, cgroups_of(steps)))
    steps.sweep()
    eventually(lambda: is_gone(stray))
    assert cgroups_of(steps) == []


def test_the_control_socket_knows_a_build(tmp_path: Path) -> None:
    """Also without cgroups, and with another session and environment."""
    pid = tmp_path / "pid"
    script = f"env -i setsid sh -c 'echo $$ > {pid}; exec sleep 3600' & wait"
    server = subprocess.Popen([sys.executable, "-c", _SERVER, str(tmp_path), "session", script])
    try:
        assert is_task(Peer(written(pid), os.geteuid(), os.getegid()))
        assert not is_task(Peer(server.pid, os.geteuid(), os.getegid()))
    finally:
        server.kill()
        server.wait()
    eventually(lambda: is_gone(written(pid)))


def _leaves(cgroup: str) -> list[str]:
    return [one.name for one in Path(cgroup).iterdir() if one.is_dir()]


@pytest.mark.parametrize("method", ["cgroup", "session"])
def test_steps_let_others_have_the_processors_first(tmp_path: Path, method: str) -> None:
    """Also for what they start; and with however many processes, they are one among others."""
    steps = steps_of(tmp_path, method)
    first, *cgroups = run(steps, tmp_path, "sh -c nice; cat /proc/self/cgroup")
    assert first == "10"
    places = [line.split(":", 2)[1:] for line in cgroups]
    # With version 2 there is one place for everything.
    of_cpu = [path for controllers, path in places if "cpu" in controllers.split(",")]
    of_all = [path for controllers, path in places if not controllers]
    assert (steps._cgroup in (of_cpu or of_all)[0]) is (method == "cgroup")
