"""Calls and builds that are to end: the whole tree is asked, and has the grace to itself."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from function_world import FunctionWorld

from eventually import eventually_async
from taskyard.core.access.work_identity import Sandbox
from taskyard.core.attempts import Ended
from taskyard.core.functions.functions import Language
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.building import LocalBuilder
from taskyard.runtimes.function.sandbox import sandboxed
from taskyard.runtimes.processes.bubblewrap import obstacle_to_sandbox

pytestmark = pytest.mark.anyio

CLEANS = """#!/bin/sh
# Takes a moment to clean up, which is done by another program.
trap 'sleep 0.3; echo cleaned >> "$PLACE/$1"; exit 0' TERM
echo ready >> "$PLACE/$1"
while :; do sleep 0.05; done
"""
SOURCE = """
    import os, signal, subprocess, time

    os.environ["PLACE"] = {place!r}
    PROGRAM = {program!r}
    LINES = {{
        "child": "exec $PROGRAM x",
        "shell": "$PROGRAM x; true",
        "pipe": "$PROGRAM x | cat",
        "timeout": "timeout 50 $PROGRAM x; true",
        "setsid": "setsid -w $PROGRAM x; true",
        "several": "$PROGRAM x & $PROGRAM y & $PROGRAM z; wait",
        "stopped": "$PROGRAM x",
        "stubborn": "trap '' TERM; echo ready >> $PLACE/x; while :; do sleep 0.05; done",
    }}

    def handle(request):
        if request.text == "own":
            def end(*_):
                time.sleep(0.3)
                with open(os.environ["PLACE"] + "/x", "a") as file:
                    file.write("cleaned\\n")
                os._exit(0)
            signal.signal(signal.SIGTERM, end)
            with open(os.environ["PLACE"] + "/x", "a") as file:
                file.write("ready\\n")
            time.sleep(60)
        subprocess.run(LINES[request.text].replace("$PROGRAM", PROGRAM), shell=True)
"""
JAVASCRIPT = """
const { spawn } = require('node:child_process');
process.env.PLACE = PLACE_TEXT;
module.exports = (request) => new Promise(() => {
  spawn('/bin/sh', ['-c', 'PROGRAM_TEXT x; true']);
});
"""


@pytest.fixture
def program(common_path: Path) -> Path:
    """A program that writes down that it has cleaned up."""
    path = common_path / "cleans"
    path.write_text(CLEANS)
    path.chmod(0o755)
    return path


async def begun(place: Path, *names: str) -> None:
    """Return when the programs run."""
    await eventually_async(lambda: all((place / one).exists() for one in names))


def running(program: Path) -> Iterator[int]:
    """Processes that run the program."""
    for one in Path("/proc").iterdir():
        if one.name.isdigit():
            try:
                words = (one / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(program).encode() in words:
                yield int(one.name)


async def ended_by(world: FunctionWorld, what: str, place: Path, *, timeout_s: float) -> Ended:
    """The end of a call that is killed, or runs over its time."""
    assignment = world.assignment(what, timeout_s=timeout_s, kill_grace_s=5.0)
    await world.start(assignment)
    await begun(place, "x")
    if timeout_s > 2:
        await world.kill(assignment, "SIGTERM", 5.0)
    return await world.ended(assignment)


@pytest.mark.parametrize("how", ["child", "shell", "pipe", "timeout", "setsid", "own"])
@pytest.mark.parametrize("timeout_s", [1.0, 60.0])
async def test_a_call_gets_its_grace(
    functions: FunctionWorld, common_path: Path, program: Path, how: str, timeout_s: float
) -> None:
    """However deep the program that needs it is, when killed and when out of time."""
    await functions.build(SOURCE.format(place=str(common_path), program=str(program)))
    ended = await ended_by(functions, how, common_path, timeout_s=timeout_s)
    assert (common_path / "x").read_text() == "ready\ncleaned\n"
    assert ended.kill_report is not None
    assert ended.kill_report.signal == "SIGTERM"
    assert not ended.kill_report.forced
    assert ended.kill_report.survivors == ()
    if timeout_s > 2:
        assert ended.state is AttemptState.KILLED
    else:
        assert ended.reason is Reason.TIMEOUT


@pytest.mark.parametrize("method", ["cgroup", "session"], indirect=True)
async def test_everybody_in_the_tree_gets_it(
    functions: FunctionWorld, common_path: Path, program: Path
) -> None:
    """Also those that are stopped, which are continued for it."""
    await functions.build(SOURCE.format(place=str(common_path), program=str(program)))
    assignment = functions.assignment("several", timeout_s=60.0)
    await functions.start(assignment)
    await begun(common_path, "x", "y", "z")
    for pid in running(program):
        os.kill(pid, signal.SIGSTOP)
    await functions.kill(assignment, "SIGTERM", 5.0)
    ended = await functions.ended(assignment)
    assert ended.state is AttemptState.KILLED, ended
    for name in "xyz":
        assert (common_path / name).read_text() == "ready\ncleaned\n", name


async def test_the_grace_ends(functions: FunctionWorld, common_path: Path, program: Path) -> None:
    """Who does not end in it is killed, and the report says so."""
    await functions.build(SOURCE.format(place=str(common_path), program=str(program)))
    assignment = functions.assignment("stubborn", timeout_s=60.0)
    await functions.start(assignment)
    await begun(common_path, "x")
    with anyio.fail_after(30):
        await functions.kill(assignment, "SIGTERM", 0.3)
        ended = await functions.ended(assignment)
    assert ended.kill_report is not None
    assert ended.kill_report.forced
    assert ended.kill_report.survivors == ()


@pytest.mark.node
async def test_a_program_gets_its_grace(
    functions: FunctionWorld, common_path: Path, program: Path
) -> None:
    """The same for languages whose processes are no forks."""
    source = JAVASCRIPT.replace("PLACE_TEXT", f"'{common_path}'")
    await functions.build(
        source.replace("PROGRAM_TEXT", str(program)), language=Language.JAVASCRIPT
    )
    await ended_by(functions, "x", common_path, timeout_s=60.0)
    assert (common_path / "x").read_text() == "ready\ncleaned\n"


@pytest.mark.parametrize("how", ["shell", "pipe", "setsid", "stopped"])
@pytest.mark.parametrize("use_cgroups", [True, False])
async def test_a_build_that_takes_too_long_gets_its_grace(
    fast: FunctionWorld, common_path: Path, program: Path, how: str, *, use_cgroups: bool
) -> None:
    """Every process of the step that is given up."""
    line = {
        "shell": f"{program} x; true",
        "pipe": f"{program} x | cat",
        "setsid": f"setsid -w {program} x; true",
        "stopped": f"{program} x & until [ -e {common_path}/x ]; do :; done; kill -STOP $!; wait",
    }[how]
    steps = LocalBuilder(fast.root / "functions", 1.5, use_cgroups=use_cgroups)._steps
    lines: list[str] = []
    with pytest.raises(BuildFailed, match="it took longer than"):
        await steps.run(
            ["/bin/sh", "-c", line],
            common_path,
            lines.append,
            "a step",
            {"PLACE": str(common_path)},
        )
    assert (common_path / "x").read_text() == "ready\ncleaned\n", lines
    assert list(running(program)) == []


INSIDE = """
    import subprocess

    def handle(request):
        subprocess.run(request.text, shell=True)
"""
TALKS = "trap 'sleep 0.3; echo cleaned; exit 0' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def _sandbox() -> None:
    if (obstacle := obstacle_to_sandbox()) is not None:
        pytest.skip(obstacle)


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("_sandbox")
async def test_a_call_in_a_sandbox_gets_its_grace(tmp_path: Path, method: str) -> None:
    """Its processes have other numbers in there."""
    world = FunctionWorld(tmp_path, use_cgroups=method == "cgroup", sandbox=Sandbox())
    await world.open()
    try:
        await world.build(INSIDE)
        await world.call("true", timeout_s=20.0)
        line = f"({TALKS}); true"
        assignment = world.assignment(line, timeout_s=1.0, kill_grace_s=5.0)
        await world.start(assignment)
        ended = await world.ended(assignment)
        assert ended.reason is Reason.TIMEOUT, ended
        assert await world.output(ended, "stdout") == b"ready\ncleaned\n"
    finally:
        await world.close()


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("_sandbox")
@pytest.mark.parametrize("use_cgroups", [True, False])
async def test_a_build_in_a_sandbox_gets_its_grace(
    fast: FunctionWorld, common_path: Path, *, use_cgroups: bool
) -> None:
    """Its walls stay until it has ended."""
    steps = LocalBuilder(fast.root / "functions", 1.5, use_cgroups=use_cgroups)._steps
    lines: list[str] = []
    walls = sandboxed(fast.root, [], [common_path], common_path)
    with pytest.raises(BuildFailed, match="it took longer than"):
        await steps.run(
            [*walls, "/bin/sh", "-c", f"({TALKS}); true"], common_path, lines.append, "a step"
        )
    assert (lines[0], lines[-1]) == ("ready", "cleaned"), lines
