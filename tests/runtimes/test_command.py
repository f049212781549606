"""What a command sees, and how its end is told."""

import os
import pwd
import sys
from pathlib import Path

import anyio
import pytest
from runtime_harness import RuntimeHarness

from eventually import eventually_async
from taskyard.core.resources import Resources
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.logs import Stream
from taskyard.worker.output.archive import ArchiveReader
from taskyard.worker.output.attempt_log import AttemptOutput

pytestmark = pytest.mark.anyio


async def test_success_is_reported_with_output_and_usage(harness: RuntimeHarness) -> None:
    """A command that exits with 0 has succeeded; its output is in its files."""
    ended = await harness.run("/bin/sh", "-c", "echo out; echo err >&2")
    assert ended.state is AttemptState.SUCCEEDED
    assert ended.exit_code == 0
    assert ended.reason is None
    assert ended.started_at is not None
    assert ended.started_at <= ended.at
    assert ended.usage is not None
    assert ended.usage.cpu_user_s is not None
    assert ended.stdout.stored_bytes == 4
    assert await harness.output(ended) == b"out\n"
    assert await harness.output(ended, "stderr") == b"err\n"
    assert ended.kill_report is None


async def test_exit_code_and_signal_are_told(harness: RuntimeHarness) -> None:
    """A failure names the code or the signal it died of."""
    coded = await harness.run(script="exit 7")
    assert (coded.state, coded.reason, coded.exit_code) == ("failed", Reason.EXIT_CODE, 7)
    signalled = await harness.run(script="kill -USR1 $$")
    assert (signalled.state, signalled.reason) == ("failed", Reason.SIGNAL)
    assert (signalled.exit_code, signalled.signal) == (None, "SIGUSR1")


async def test_environment_is_minimal(
    field: RuntimeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the server's environment arrives; the documented variables do."""
    monkeypatch.setenv("SERVER_SECRET", "x")
    ended = await field.run("/usr/bin/env", env={"GIVEN": "ü", "TASKYARD_ATTEMPT_ID": "no"})
    lines = (await field.output(ended)).decode().splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    assert set(variables) == {
        "PATH",
        "HOME",
        "LANG",
        "TASKYARD_TASK_ID",
        "TASKYARD_ATTEMPT_ID",
        "TASKYARD_ATTEMPT",
        "TASKYARD_GROUP",
        "TASKYARD_WORKSPACE",
        "GIVEN",
    }
    assert variables["GIVEN"] == "ü"
    assert variables["TASKYARD_ATTEMPT_ID"] == ended.attempt_id
    assert variables["HOME"] == str(field.directory(ended.attempt_id) / "work")


async def test_descriptors_are_not_inherited(field: RuntimeHarness) -> None:
    """A command has its three standard streams and nothing else."""
    ended = await field.run("/bin/ls", "/proc/self/fd")
    assert (await field.output(ended)).split() == [b"0", b"1", b"2", b"3"]


async def test_session_mask_and_limits(field: RuntimeHarness) -> None:
    """A command leads its own session, makes shared files, dumps no core, gains no privileges."""
    script = (
        "import os,resource,signal;"
        "print(os.getsid(0)==os.getpid(), oct(os.umask(0)),"
        "resource.getrlimit(resource.RLIMIT_CORE),"
        "signal.getsignal(signal.SIGINT)!=signal.SIG_IGN,"
        "signal.pthread_sigmask(signal.SIG_BLOCK, []),"
        "os.getpriority(os.PRIO_PROCESS, 0) >= 0,"
        "os.sched_getscheduler(0) == os.SCHED_OTHER,"
        "'NoNewPrivs:\\t1' in open('/proc/self/status').read())"
    )
    ended = await field.run(sys.executable, "-c", script)
    assert await field.output(ended) == b"True 0o22 (0, 0) True set() True True True\n"


async def test_work_directory_is_private_and_ends_with_the_attempt(field: RuntimeHarness) -> None:
    """Without cwd a command works in an empty directory of its own, emptied when released."""
    ended = await field.run(script="pwd; ls -A; mkdir -p a/b; touch a/b/c; chmod 0 a")
    work = field.directory(ended.attempt_id) / "work"
    assert await field.output(ended) == f"{work}\n".encode()
    await field.runtime.release([ended.attempt_id])

    async def look() -> bool:
        return not (await anyio.Path(work).exists())

    await eventually_async(look)


async def test_given_directory_is_used(field: RuntimeHarness, tmp_path: Path) -> None:
    """With cwd a command works there."""
    ended = await field.run("pwd", cwd=str(tmp_path))
    assert await field.output(ended) == f"{tmp_path}\n".encode()


async def test_input_arrives(field: RuntimeHarness) -> None:
    """Standard input has the text given, and is empty otherwise."""
    text = "line ü\n" * 1000
    ended = await field.run("cat", stdin=text)
    assert await field.output(ended) == text.encode()
    assert await field.output(await field.run("cat")) == b""


async def test_program_is_found_in_the_path_of_the_task(
    field: RuntimeHarness, tmp_path: Path
) -> None:
    """PATH of the task's environment decides; a relative program is relative to cwd."""
    program = tmp_path / "hello"
    program.write_text("#!/bin/sh\necho hi\n")
    program.chmod(0o755)
    found = await field.run("hello", env={"PATH": f"/nowhere:{tmp_path}"})
    assert await field.output(found) == b"hi\n"
    relative = await field.run("./hello", cwd=str(tmp_path))
    assert await field.output(relative) == b"hi\n"


@pytest.mark.parametrize(
    ("argv", "changes", "text"),
    [
        (("no-such-program",), {}, "no such program: no-such-program in PATH"),
        (("/no/such/program",), {}, "no such program: /no/such/program"),
        (("/etc/passwd",), {}, "program /etc/passwd is not executable"),
        (("/usr",), {}, "program /usr is a directory"),
        (("true",), {"cwd": "/no/such/place"}, "working directory /no/such/place does not exist"),
        (("true",), {"cwd": "/etc/passwd"}, "working directory /etc/passwd is not a directory"),
        (("true",), {"user": "no-such-user"}, "no such user: no-such-user"),
        (("true", "x" * 200_000), {}, "too long"),
    ],
)
async def test_what_cannot_be_started_says_why(
    field: RuntimeHarness, argv: tuple[str, ...], changes: dict[str, str], text: str
) -> None:
    """The message names the program, directory or user that is wrong."""
    ended = await field.run(*argv, **changes)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED)
    assert ended.message is not None
    assert text in ended.message
    assert ended.exit_code is None


async def test_scripts_that_cannot_be_executed_say_why(
    field: RuntimeHarness, tmp_path: Path
) -> None:
    """A missing interpreter and an unknown format are told apart."""
    orphan = tmp_path / "orphan"
    orphan.write_text("#!/no/such/interpreter\n")
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\0\1\2\3")
    for path in (orphan, garbage):
        path.chmod(0o755)
    first = await field.run(str(orphan))
    assert first.message == f"the interpreter that {orphan} asks for does not exist"
    second = await field.run(str(garbage))
    assert second.message == f"program {garbage} has no format this system can execute"


@pytest.mark.root
async def test_user_is_switched(field: RuntimeHarness) -> None:
    """A command can run as another user, without any group of the server's."""
    if os.geteuid() != 0:
        if os.environ.get("CI") != "true":
            pytest.skip("needs root rights")
        pytest.fail("needs root rights")
    nobody = pwd.getpwnam("nobody")
    ended = await field.run(
        script="id -u; id -G; pwd >/dev/null && echo x > file && ls", user="nobody"
    )
    expected = f"{nobody.pw_uid}\n{nobody.pw_gid}\nfile\n".encode()
    assert await field.output(ended) == expected
    numeric = await field.run(script="echo again >> /dev/stdout; id -u", user="12345")
    assert await field.output(numeric) == b"again\n12345\n"


@pytest.mark.parametrize("size", [0, 1, 20_000_000])
async def test_output_of_any_size_is_complete(field: RuntimeHarness, size: int) -> None:
    """Every byte below the limit is kept."""
    ended = await field.run(script=f"head -c {size} /dev/zero", log_limit_bytes=64 << 20)
    assert ended.stdout.stored_bytes == size
    assert ended.stdout.dropped_bytes == 0
    assert len(await field.output(ended)) == size


async def test_output_may_be_any_bytes(field: RuntimeHarness) -> None:
    """Output is not text to the runtime."""
    ended = await field.run(script="printf '\\377\\000\\200'")
    assert await field.output(ended) == b"\xff\x00\x80"


@pytest.mark.parametrize("_turn", range(4))
async def test_output_beyond_the_limit_is_counted(field: RuntimeHarness, _turn: int) -> None:
    """It never gets into the file; readers learn how much it is while the command runs.

    Also when what crosses the limit fills the pipe, so that whoever writes waits for it.
    """
    limit = 10_000
    assignment = await field.start(
        script="head -c 5000000 /dev/zero; while [ ! -e go ]; do sleep 0.02; done",
        log_limit_bytes=limit,
    )
    await field.started(assignment)
    directory = field.directory(assignment.attempt_id)
    reader = AttemptOutput(directory, ArchiveReader())
    await eventually_async(lambda: reader.size(Stream.STDOUT).dropped_bytes == 5_000_000 - limit)
    assert reader.size(Stream.STDOUT).stored_bytes == limit
    assert (directory / "stdout").stat().st_size == limit
    (directory / "work" / "go").touch()
    ended = await field.ended(assignment)
    assert ended.stdout.stored_bytes == limit
    assert ended.stdout.dropped_bytes == 5_000_000 - limit
    assert (directory / "stdout").stat().st_size == limit


@pytest.mark.cgroups
async def test_memory_limit_is_enforced_and_named(field: RuntimeHarness) -> None:
    """A command over its memory limit ends as out of memory."""
    field.need_cgroups()
    hog = "x = bytearray(200_000_000); x[::4096] = b'1' * len(x[::4096]); print(len(x))"
    ended = await field.run(sys.executable, "-c", hog, resources=Resources(memory_bytes=50_000_000))
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.OUT_OF_MEMORY)
    assert ended.usage is not None
    assert ended.usage.memory_peak_bytes is not None
    assert 40_000_000 < ended.usage.memory_peak_bytes <= 51_000_000
    assert await field.output(ended) == b""


@pytest.mark.cgroups
async def test_pids_limit_is_enforced(field: RuntimeHarness) -> None:
    """A command cannot have more processes than its limit."""
    field.need_cgroups()
    script = (
        "import subprocess\n"
        "kids = []\n"
        "try:\n"
        "    for _ in range(20): kids.append(subprocess.Popen(['sleep', '60']))\n"
        "except OSError: print(len(kids))\n"
    )
    ended = await field.run(sys.executable, "-c", script, resources=Resources(pids=5))
    assert await field.output(ended) == b"4\n"
    assert ended.kill_report is not None
    assert ended.kill_report.killed_count == 4


@pytest.mark.cgroups
async def test_cpu_limit_is_enforced(field: RuntimeHarness) -> None:
    """A command cannot use more processor time than its share."""
    field.need_cgroups()
    script = (
        "import time\n"
        "begin = time.monotonic()\n"
        "while time.process_time() < 0.3: pass\n"
        "print(time.monotonic() - begin)\n"
    )
    ended = await field.run(sys.executable, "-c", script, resources=Resources(cpu_millis=200))
    assert float(await field.output(ended)) > 0.9


@pytest.mark.bubblewrap
async def test_isolated_command_cannot_write_to_the_system(field: RuntimeHarness) -> None:
    """Inside the sandbox system directories are read-only, and other processes out of sight."""
    assignment = await field.start(
        script="touch /usr/x 2>/dev/null || echo read-only; echo $$; touch here && ls; ls /tmp",
        isolate=True,
    )
    await field.started_in_sandbox(assignment)
    ended = await field.ended(assignment)
    lines = (await field.output(ended)).decode().split()
    assert lines[0] == "read-only"
    assert int(lines[1]) < 10
    assert lines[2] == "here"


@pytest.mark.bubblewrap
async def test_without_a_network_there_is_none(field: RuntimeHarness) -> None:
    """Only a loopback of its own, also if nothing else was asked for; with one, the machine's."""
    look = "wc -l < /proc/net/dev; cat /proc/self/cgroup > /dev/null; ls /usr | grep -c bin"
    without = (await field.output(await field.run(script=look, network=False))).split()
    assert int(without[0]) == 3  # two lines of headings, and loopback
    there = (await field.output(await field.run(script=look, isolate=True))).split()
    ours = await anyio.Path("/proc/net/dev").read_text()
    assert int(there[0]) == len(ours.splitlines())


@pytest.mark.bubblewrap
async def test_isolated_command_keeps_its_grace(field: RuntimeHarness) -> None:
    """A polite signal reaches the command and not the sandbox around it."""
    assignment = await field.start(
        script="trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done", isolate=True
    )
    await field.started_in_sandbox(assignment)
    await field.has_written(assignment, b"up")
    report = await field.kill(assignment, "SIGTERM", 10.0)
    assert report.survivors == ()
    ended = await field.ended(assignment)
    assert await field.output(ended) == b"up\nbye\n"
    assert ended.exit_code == 3


async def test_merged_output_keeps_the_order(harness: RuntimeHarness) -> None:
    """Standard error goes where standard output goes, as it is written; its own file is empty."""
    script = "for i in 1 2 3; do echo o$i; echo e$i >&2; done; exit 4"
    ended = await harness.run(script=script, merge_output=True)
    assert (ended.state, ended.exit_code) == (AttemptState.FAILED, 4)
    assert await harness.output(ended) == b"o1\ne1\no2\ne2\no3\ne3\n"
    assert await harness.output(ended, "stderr") == b""
    assert (ended.stdout.stored_bytes, ended.stderr.stored_bytes) == (18, 0)


@pytest.mark.bubblewrap
async def test_an_isolated_command_has_no_capabilities_and_gets_none(field: RuntimeHarness) -> None:
    """Also in name spaces that it tries to make; nothing can be mounted."""
    script = (
        "grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status; mkdir /tmp/m;"
        " for t in tmpfs proc cgroup2 devtmpfs; do mount -t $t none /tmp/m && echo MOUNTED; done;"
        " unshare -Ur true && echo UNSHARED; ls /proc | grep -c '^[0-9]'"
    )
    assignment = await field.start(script=script, isolate=True)
    await field.started_in_sandbox(assignment)
    lines = (await field.output(await field.ended(assignment))).decode().splitlines()
    assert [line.split()[1] for line in lines[:3]] == ["0" * 16] * 3
    assert len(lines) == 4
    assert int(lines[3]) < 8


@pytest.mark.bubblewrap
@pytest.mark.parametrize("above", [0, 1, 2])
async def test_an_isolated_command_is_not_shown_the_data_directory(
    field: RuntimeHarness, above: int
) -> None:
    """Neither as its working directory, nor below it."""
    place = [field.root, *field.root.parents][above]
    ended = await field.run("ls", cwd=str(place), isolate=True)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED)
    assert ended.message is not None
    assert "data directory" in ended.message or "bubblewrap" in ended.message
