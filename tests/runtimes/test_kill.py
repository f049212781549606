"""Kill means dead: also for those who try to get away."""

import contextlib
import os
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest
from runtime_harness import RuntimeHarness, alive

from taskyard.core.attempts import KillReport
from taskyard.core.states import AttemptState, Reason

pytestmark = pytest.mark.anyio

_DOUBLE_FORK = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("child", os.getpid(), flush=True)
        time.sleep(300)
    os._exit(0)
time.sleep(300 if sys.argv[1] == "stay" else 0)
"""
_HIDDEN = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        print("child", os.getpid(), flush=True)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2): os.dup2(null, fd)
        os.execve("/bin/sleep", ["sleep", "300"], {})
    os._exit(0)
os.wait()
time.sleep(300)
"""
_DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("child", __import__("os").getpid(), flush=True)
while True: time.sleep(300)
"""
_TIDY = """
import os, signal, time
def stop(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(0.3)
    os.write(1, b"tidied\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
os.write(1, b"up\\n")
while True: time.sleep(300)
"""
_BOMB = """
import os, time
if os.fork(): time.sleep(300)
end = time.monotonic() + 8
for _ in range(3): os.fork()
print("up", flush=True)
while time.monotonic() < end:
    if os.fork(): os._exit(0)
    os.setsid()
"""


def pids_in(output: bytes) -> list[int]:
    """Process ids that a script has told."""
    words = output.split()
    return [int(words[at + 1]) for at, word in enumerate(words[:-1]) if word == b"child"]


def proven(report: KillReport, method: str) -> None:
    """A report that says everything is dead."""
    assert report.survivors == ()
    assert report.method == method
    assert report.requested_at <= report.done_at


async def test_kill_at_once(harness: RuntimeHarness, method: str) -> None:
    """SIGKILL ends a command within moments, with a report."""
    assignment = await harness.start("sleep", "300")
    await harness.started(assignment)
    report = await harness.kill(assignment)
    proven(report, method)
    assert report.forced
    assert report.killed_count == 1
    assert report.signal is None
    ended = await harness.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.KILLED, Reason.KILLED)
    assert ended.signal == "SIGKILL"


async def test_polite_kill_lets_the_command_clean_up(harness: RuntimeHarness, method: str) -> None:
    """A command that obeys the signal is not forced, and its last words are kept."""
    assignment = await harness.start(
        script="trap 'echo bye; exit 3' TERM; echo up; read x <&-; while :; do sleep 0.05; done"
    )
    await harness.has_written(assignment, b"up")
    report = await harness.kill(assignment, "SIGTERM", 10.0)
    proven(report, method)
    assert report.signal == "SIGTERM"
    ended = await harness.ended(assignment)
    assert ended.state is AttemptState.KILLED
    assert ended.exit_code == 3
    assert (await harness.output(ended)).endswith(b"bye\n")


async def test_deaf_command_is_killed_after_the_grace(harness: RuntimeHarness, method: str) -> None:
    """A command that ignores the signal is killed when its grace is over."""
    assignment = await harness.start(sys.executable, "-c", _DEAF)
    pids = pids_in(await harness.has_written(assignment, b"\n"))
    began = time.monotonic()
    report = await harness.kill(assignment, "SIGTERM", 0.3)
    assert time.monotonic() - began >= 0.3
    proven(report, method)
    assert (report.signal, report.forced) == ("SIGTERM", True)
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize(
    "line",
    [
        "{program}",
        "{program} && echo done",
        "{program} | cat",
        "{program} | cat | cat",
        "timeout 100 {program}; true",
        "setsid {program}; true",
        "setsid -f {program}; sleep 300",
        "(exec {program}) & exit_later() {{ wait; }}; exit_later",
    ],
)
async def test_the_grace_is_that_of_the_whole_tree(
    harness: RuntimeHarness, method: str, line: str
) -> None:
    """A program behind a shell, a pipe or another session is asked to end, and given the time."""
    program = shlex.join([sys.executable, "-c", _TIDY])
    assignment = await harness.start(script=line.format(program=program))
    await harness.has_written(assignment, b"up")
    report = await harness.kill(assignment, "SIGTERM", 15.0)
    proven(report, method)
    assert not report.forced
    assert (await harness.output(assignment)).endswith(b"tidied\n")


async def test_a_stopped_process_gets_its_grace(harness: RuntimeHarness, method: str) -> None:
    """It is woken, as it could not handle the signal otherwise."""
    assignment = await harness.start(sys.executable, "-c", _TIDY)
    await harness.has_written(assignment, b"up")
    pid = (await harness.started(assignment)).handle["pid"]
    os.kill(pid, signal.SIGSTOP)
    report = await harness.kill(assignment, "SIGTERM", 15.0)
    proven(report, method)
    assert not report.forced
    assert (await harness.output(assignment)).endswith(b"tidied\n")


async def test_what_outlives_the_main_process_is_killed_after_the_grace(
    harness: RuntimeHarness, method: str
) -> None:
    """It does not get away because the process that started it obeyed."""
    program = shlex.join([sys.executable, "-c", _DEAF])
    assignment = await harness.start(script=f"{program} & wait")
    pids = pids_in(await harness.has_written(assignment, b"\n"))
    began = time.monotonic()
    report = await harness.kill(assignment, "SIGTERM", 0.3)
    assert time.monotonic() - began >= 0.3
    proven(report, method)
    assert report.forced
    assert not any(alive(pid) for pid in pids)


async def test_real_time_signals(harness: RuntimeHarness, method: str) -> None:
    """They can be asked for, and are named when a command dies of one."""
    assignment = await harness.start("sleep", "300")
    await harness.started(assignment)
    report = await harness.kill(assignment, "SIGRTMIN+2", 15.0)
    proven(report, method)
    ended = await harness.ended(assignment)
    assert (ended.signal, report.forced) == ("SIGRTMIN+2", False)


async def test_second_order_shortens_the_grace(harness: RuntimeHarness, method: str) -> None:
    """Who asked politely may lose patience."""
    assignment = await harness.start(sys.executable, "-c", _DEAF)
    await harness.has_written(assignment, b"\n")
    await harness.order(assignment, "SIGTERM", 600.0)
    report = await harness.kill(assignment)
    proven(report, method)
    assert report.signal == "SIGTERM"


async def test_double_forked_session_is_killed(harness: RuntimeHarness, method: str) -> None:
    """Leaving the session and the parent does not help."""
    assignment = await harness.start(sys.executable, "-c", _DOUBLE_FORK, "stay")
    pids = pids_in(await harness.has_written(assignment, b"\n"))
    report = await harness.kill(assignment)
    proven(report, method)
    assert report.killed_count == 2
    assert pids
    assert not any(alive(pid) for pid in pids)


async def test_hidden_orphan_is_killed(harness: RuntimeHarness, method: str) -> None:
    """Dropping environment, directory and streams as well does not help either."""
    assignment = await harness.start(sys.executable, "-c", _HIDDEN)
    pids = pids_in(await harness.has_written(assignment, b"\n"))
    proven(await harness.kill(assignment), method)
    assert pids
    assert not any(alive(pid) for pid in pids)


async def test_leftovers_of_an_exit_are_killed_before_the_end_is_told(
    harness: RuntimeHarness, method: str
) -> None:
    """When the command itself is over nothing of it goes on, and the report says so."""
    assignment = await harness.start(sys.executable, "-c", _DOUBLE_FORK, "leave")
    other = await harness.start("sleep", "300")
    ended = await harness.ended(assignment)
    pids = pids_in(await harness.output(ended))
    assert ended.state is AttemptState.SUCCEEDED
    if pids:
        assert ended.kill_report is not None
        proven(ended.kill_report, method)
    assert not any(alive(pid) for pid in pids)
    assert other.attempt_id not in harness.ear.ends


async def test_fork_loop_is_killed(harness: RuntimeHarness, method: str) -> None:
    """A tree that forks as fast as it can is dead when the report says so."""
    assignment = await harness.start(sys.executable, "-c", _BOMB)
    await harness.has_written(assignment, b"up\n" * 8)
    report = await harness.kill(assignment)
    proven(report, method)
    marker = f"TASKYARD_ATTEMPT_ID={assignment.attempt_id}".encode()
    assert marked(marker) == []


def marked(text: bytes) -> list[int]:
    """Processes alive with something in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if text in path.read_bytes() and alive(int(path.parent.name)):
                found.append(int(path.parent.name))
    return found


async def test_timeout_is_enforced_and_named(harness: RuntimeHarness, method: str) -> None:
    """A command over its time is ended like any kill, and the reason says why."""
    ended = await harness.run("sleep", "300", timeout_s=0.2, kill_grace_s=5.0)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.TIMEOUT)
    assert ended.message == "ran longer than its limit of 0.2 s"
    assert ended.kill_report is not None
    proven(ended.kill_report, method)
    assert ended.kill_report.signal == "SIGTERM"


async def test_unknown_and_ended_attempts_are_ignored(harness: RuntimeHarness) -> None:
    """Killing what is not there changes nothing."""
    never = harness.assignment("true")
    await harness.order(never, "SIGKILL", 0.0)
    done = await harness.start("true")
    ended = await harness.ended(done)
    await harness.order(done, "SIGKILL", 0.0)
    await harness.run("true")
    assert harness.ear.ends[done.attempt_id] == [ended]
    assert ended.state is AttemptState.SUCCEEDED


async def test_kills_are_fast(field: RuntimeHarness) -> None:
    """From the order to the proof it takes a few milliseconds."""
    times = []
    for _ in range(20):
        assignment = await field.start("sleep", "300")
        await field.started(assignment)
        began = time.monotonic()
        await field.kill(assignment)
        times.append(time.monotonic() - began)
    assert sorted(times)[len(times) // 2] < 0.1
