"""Commands that run as another user: by the compiled library, and by a full fork without it."""

import os
import signal
from pathlib import Path

import pytest
from runtime_harness import RuntimeHarness

from taskyard.core.access.work_identity import Identity
from taskyard.core.states import AttemptState, Reason
from taskyard.runtimes.command import spawnlib

pytestmark = [pytest.mark.anyio, pytest.mark.root]
OWN = Identity(1_900_000_007, 1_900_000_007)
OTHER = Identity(1_900_000_008, 1_900_000_008)
LOUD = Identity(1_900_000_009, 1_900_000_009)
"""Of the test that signals every process of its user: other tests run meanwhile."""


@pytest.fixture(autouse=True)
def with_library() -> None:
    """A missing library would go unnoticed."""
    if spawnlib.library() is None and os.environ.get("CI") == "true":
        pytest.fail("spawn.c is not compiled; python hatch_build.py does it")


async def test_a_command_has_the_rights_of_its_user_and_nothing_else(field: RuntimeHarness) -> None:
    """User, group, no further groups, no capabilities, no way to more."""
    ended = await field.run(
        script="id -u; id -g; id -G;"
        " grep -E '^(CapPrm|CapEff|CapAmb|NoNewPrivs)' /proc/self/status",
        identity=OWN,
    )
    lines = (await field.output(ended)).decode().split("\n")
    assert lines[:3] == [str(OWN.uid)] * 3
    assert [line.split() for line in lines[3:7]] == [
        ["CapPrm:", "0" * 16],
        ["CapEff:", "0" * 16],
        ["CapAmb:", "0" * 16],
        ["NoNewPrivs:", "1"],
    ]


async def test_its_real_and_saved_user_are_set_too(field: RuntimeHarness) -> None:
    """It cannot go back to whom the supervisor is."""
    ended = await field.run("grep", "-E", "^(Uid|Gid):", "/proc/self/status", identity=OWN)
    lines = (await field.output(ended)).decode().splitlines()
    assert [line.split()[1:] for line in lines] == [[str(OWN.uid)] * 4, [str(OWN.gid)] * 4]


async def test_its_directory_is_its_own(field: RuntimeHarness) -> None:
    """It can write there, and others cannot look into it."""
    assignment = await field.start(script="echo x > file; cat file; stat -c %a:%u .", identity=OWN)
    ended = await field.ended(assignment)
    assert await field.output(ended) == f"x\n700:{OWN.uid}\n".encode()


async def test_output_can_be_opened_again(field: RuntimeHarness) -> None:
    """Programs open /dev/stdout by name."""
    ended = await field.run(script="echo again >> /dev/stdout", identity=OWN)
    assert await field.output(ended) == b"again\n"


async def test_it_cannot_signal_the_supervisor_or_another_user(field: RuntimeHarness) -> None:
    """Neither by pid, nor everything at once."""
    other = await field.start("sleep", "300", identity=OTHER)
    pid = (await field.started(other)).handle["pid"]
    ended = await field.run(
        script=f"kill -9 {pid}; kill -9 {field.supervisor_pid}; kill -9 {os.getpid()};"
        " trap '' TERM;"
        " kill -TERM -1; echo alive",
        identity=LOUD,
    )
    assert (await field.output(ended)).endswith(b"alive\n")
    assert (await field.output(ended, "stderr")).count(b"ermitted") >= 3
    os.kill(pid, 0)
    report = await field.kill(other)
    assert report.killed_count == 1


async def test_it_cannot_leave_its_cgroup(field: RuntimeHarness) -> None:
    """The files that would let it are root's, in every hierarchy."""
    field.need_cgroups()
    script = (
        "for file in $(find /sys/fs/cgroup -maxdepth 3 -name cgroup.procs 2>/dev/null);"
        " do (echo $$ > $file) 2>/dev/null && echo left $file; done; echo tried"
    )
    ended = await field.run(script=script, identity=OWN)
    assert await field.output(ended) == b"tried\n"


async def test_a_closed_working_directory_is_said(field: RuntimeHarness, tmp_path: Path) -> None:
    """A directory that its user may not enter is refused, and the attempt says so."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    ended = await field.run("true", cwd=str(closed), identity=OWN)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED)
    assert ended.message is not None
    assert f"{closed} cannot be entered" in ended.message


async def test_what_cannot_be_executed_is_said(field: RuntimeHarness) -> None:
    """A script without an interpreter fails as it does for the server's own user."""
    for name, content, words in (
        ("none", "#!/no/such/interpreter\n", "interpreter"),
        ("data", "\x7fELF nothing", "no format"),
    ):
        program = Path("/tmp") / f"taskyard-{os.getpid()}-{name}"  # noqa: S108 - within reach of the user
        program.write_text(content)
        program.chmod(0o755)
        try:
            ended = await field.run(str(program), identity=OWN)
        finally:
            program.unlink()
        assert ended.reason is Reason.START_FAILED
        assert ended.message is not None
        assert words in ended.message


async def test_signals_are_as_for_any_command(field: RuntimeHarness) -> None:
    """Nothing is blocked; what the interpreter ignores is not ignored."""
    ended = await field.run("cat", "/proc/self/status", identity=OWN)
    lines = [line.split() for line in (await field.output(ended)).splitlines()]
    masks = {
        line[0]: int(line[1], 16)
        for line in lines
        if line[0].startswith(b"Sig") and b"/" not in line[1]
    }
    assert masks[b"SigBlk:"] == 0
    assert not masks[b"SigIgn:"] >> (signal.SIGPIPE - 1) & 1
    assert masks[b"SigCgt:"] == 0


async def test_a_second_attempt_of_a_user_named_by_the_task(field: RuntimeHarness) -> None:
    """A user that the task names takes the place of the workspace's."""
    ended = await field.run("id", "-u", user="65534", identity=OWN)
    assert await field.output(ended) == b"65534\n"
