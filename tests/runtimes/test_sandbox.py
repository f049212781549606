"""The sandbox that an operator decides on: what it shows, and what it refuses."""

import os
from pathlib import Path

import pytest
from runtime_harness import RuntimeHarness

from taskyard.core.access.work_identity import Sandbox
from taskyard.core.attempts import Ended
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.runtime import Assignment
from taskyard.runtimes.processes.bubblewrap import obstacle_to_sandbox, sandboxed

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]


@pytest.fixture(autouse=True)
def can_sandbox() -> None:
    """Only where it works, and always under CI."""
    obstacle = obstacle_to_sandbox()
    if obstacle is not None and os.environ.get("CI") != "true":
        pytest.skip(obstacle)
    assert obstacle is None


async def run(field: RuntimeHarness, script: str, *allowed: Path, cwd: Path | None = None) -> Ended:
    """A sandboxed shell command that did not ask for isolation."""
    directories = tuple(str(path) for path in allowed)
    where = None if cwd is None else str(cwd)
    return await field.run(script=script, cwd=where, sandbox=Sandbox(directories))


async def test_it_is_isolated_without_asking(field: RuntimeHarness) -> None:
    """Its own processes, its own directory, nothing of the server's."""
    ended = await run(
        field,
        f"ls {field.root / 'supervisor'} && echo GOT; ls /proc | grep -c '^[0-9]'; echo mine > own;"
        " cat own; id -u",
    )
    lines = (await field.output(ended)).decode().split()
    assert int(lines[0]) < 8
    assert lines[1:] == ["mine", str(os.geteuid())]
    assert ended.kill_report is None


async def test_the_end_of_a_sandbox_is_no_kill(field: RuntimeHarness) -> None:
    """What is around the command may end a moment later."""
    for code in (0, 3, 0, 3):
        ended = await run(field, f"exit {code}")
        assert (ended.exit_code, ended.kill_report) == (code, None)


async def test_what_is_used_inside_is_counted(field: RuntimeHarness) -> None:
    """Although bubblewrap itself uses next to nothing."""
    busy = "x=0; while [ $x -lt 300000 ]; do x=$((x+1)); done"
    ended = await run(field, f"({busy}); head -c 80000000 /dev/zero | tail -c 80000000 | wc -c")
    assert await field.output(ended) == b"80000000\n"
    assert ended.usage is not None
    assert (ended.usage.cpu_user_s or 0) > 0.05
    assert (ended.usage.memory_peak_bytes or 0) > 70_000_000
    assert ended.kill_report is None


async def test_it_works_where_it_is_allowed(field: RuntimeHarness, tmp_path: Path) -> None:
    """It sees and writes all of the directory, and none beside it."""
    allowed, beside = tmp_path / "allowed" / "deep", tmp_path / "beside"
    allowed.mkdir(parents=True)
    beside.mkdir()
    ended = await run(field, f"echo x > file; ls; ls {beside}", allowed.parent, cwd=allowed)
    assert await field.output(ended) == b"file\n"
    assert (allowed / "file").read_text() == "x\n"
    assert b"No such file" in await field.output(ended, "stderr")


async def test_it_does_not_work_elsewhere(field: RuntimeHarness, tmp_path: Path) -> None:
    """Nor where a link leads; the message names the setting."""
    allowed, beside = tmp_path / "allowed", tmp_path / "beside"
    allowed.mkdir()
    beside.mkdir()
    (allowed / "link").symlink_to(beside)
    for place in (beside, tmp_path, allowed / "link"):
        ended = await run(field, "ls", allowed, cwd=place)
        assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED)
        assert ended.message is not None
        assert "work_directories" in ended.message


async def test_system_directories_can_be_worked_in(field: RuntimeHarness) -> None:
    """They are read-only."""
    ended = await run(field, "touch x || pwd", cwd=Path("/usr"))
    assert await field.output(ended) == b"/usr\n"


async def test_a_program_that_is_not_shown_is_named(field: RuntimeHarness, tmp_path: Path) -> None:
    """Before bubblewrap fails on it; a link to one that is shown does not help."""
    hidden = tmp_path / "hidden"
    hidden.symlink_to("/bin/ls")
    ended = await field.run(str(hidden), sandbox=Sandbox(()))
    assert ended.reason is Reason.START_FAILED
    assert ended.message is not None
    assert str(hidden) in ended.message


async def test_a_task_can_ask_for_more_and_not_for_less(
    field: RuntimeHarness, tmp_path: Path
) -> None:
    """Its own ``isolate`` opens no directory that the operator did not allow."""
    assignment: Assignment = await field.start(
        script="ls", cwd=str(tmp_path), isolate=True, sandbox=Sandbox(())
    )
    ended = await field.ended(assignment)
    assert ended.reason is Reason.START_FAILED


def test_a_data_directory_among_system_directories_is_hidden() -> None:
    """It would be shown with the directory it is in."""
    data = "/usr/local/taskyard"
    work = f"{data}/attempts/a/work"
    wrapped = sandboxed(["/bin/ls"], work, work, data, [])
    at = wrapped.index(data)
    assert wrapped[at - 1] == "--tmpfs"
    assert wrapped.index("/usr") < at < wrapped.index(work)
