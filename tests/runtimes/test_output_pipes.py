"""What a command prints goes through pipes: the files it ends up in are out of its reach."""

import os
import pwd
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from selectors import DefaultSelector
from typing import Any

import msgspec
import pytest
from runtime_harness import RuntimeHarness, alive

from eventually import eventually_async
from taskyard.core import output_index
from taskyard.core.ids import AttemptId, LeaseToken
from taskyard.core.states import AttemptState
from taskyard.runtimes.command import output as command_output
from taskyard.runtimes.command import output_reader
from taskyard.runtimes.command.messages import End
from taskyard.runtimes.command.output import Output
from taskyard.runtimes.command.output_reader import OutputReader
from taskyard.runtimes.command.timers import Timers

pytestmark = pytest.mark.anyio

REOPENED = [
    ("echo 1; echo 2 > /dev/stdout; echo 3", "stdout"),
    ("echo 1 >&2; echo 2 > /dev/stderr; echo 3 >&2", "stderr"),
    ("echo 1 >&2; echo 2 | tee /dev/stderr > /dev/null; echo 3 >&2", "stderr"),
    ("echo 1; echo 2 > f; cp f /proc/self/fd/1; cat f > /dev/fd/1; echo 3", "stdout"),
    ('echo 1; python3 -c \'open("/dev/stdout", "w").write("2\\n")\'; echo 3', "stdout"),
]
LINES = (b"1\n2\n3\n", b"1\n2\n2\n3\n")


@pytest.mark.parametrize(("script", "stream"), REOPENED)
async def test_opening_an_output_again_wipes_nothing(
    harness: RuntimeHarness, script: str, stream: str
) -> None:
    """Whatever does so, and whichever of both it is."""
    ended = await harness.run(script=script)
    assert ended.state is AttemptState.SUCCEEDED
    assert await harness.output(ended, stream) in LINES


@pytest.mark.parametrize("how", ["user", "sandbox", "merged"])
async def test_nor_does_it_for_other_users_and_in_sandboxes(
    field: RuntimeHarness, how: str
) -> None:
    """Pipes belong to whom the command runs as, who else could not open them again."""
    changes: dict[str, Any] = {"merge_output": how == "merged", "isolate": "sandbox" in how}
    if "user" in how:
        if os.geteuid() != 0:
            pytest.skip("needs root")
        changes["user"] = str(pwd.getpwnam("nobody").pw_uid)
    assignment = await field.start(script=REOPENED[0][0], **changes)
    if "sandbox" in how:
        await field.started_in_sandbox(assignment)
    ended = await field.ended(assignment)
    assert (ended.state, await field.output(ended)) == (AttemptState.SUCCEEDED, b"1\n2\n3\n")
    for name in ("stdout", "order"):
        facts = (field.directory(ended.attempt_id) / name).stat()
        assert (facts.st_uid, facts.st_mode & 0o777) == (os.geteuid(), 0o600)


async def test_what_was_said_until_a_kill_is_kept(harness: RuntimeHarness) -> None:
    """To the last byte: the rest of it is in the pipe when the process is dead."""
    script = "head -c 50000 /dev/zero; echo end; : > said; sleep 300"
    assignment = await harness.start(script=script)
    directory = harness.directory(assignment.attempt_id)
    await eventually_async((directory / "work" / "said").exists)
    await harness.kill(assignment)
    assert (await harness.output(assignment)).endswith(b"\0end\n")
    assert (await harness.ended(assignment)).stdout.stored_bytes == 50_004


async def test_who_says_more_than_is_read_waits(harness: RuntimeHarness) -> None:
    """A stopped supervisor loses nothing, and its commands do not fail."""
    script = "head -c 3000000 /dev/zero; echo $? >&2"
    os.kill(harness.supervisor_pid, signal.SIGSTOP)
    try:
        assignment = await harness.start(script=script, log_limit_bytes=4 << 20)
    finally:
        os.kill(harness.supervisor_pid, signal.SIGCONT)
    ended = await harness.ended(assignment)
    assert ended.stdout.stored_bytes == 3_000_000
    assert await harness.output(ended, "stderr") == b"0\n"


async def test_a_supervisor_that_is_killed_takes_no_output_along(harness: RuntimeHarness) -> None:
    """Its commands do not die of a broken pipe, and the next one reads on where it was."""
    script = (
        "echo 1; while [ ! -e more ]; do sleep 0.01; done; i=0;"
        " while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; echo e >&2; : > done;"
        " while [ ! -e go ]; do sleep 0.01; done; echo last"
    )
    assignment = await harness.start(script=script)
    handle = (await harness.started(assignment)).handle
    directory = harness.directory(assignment.attempt_id)
    await harness.has_written(assignment, b"1\n")
    dead = harness.supervisor_pid
    (directory / "work" / "more").touch()
    await harness.slay_supervisor()
    assert not alive(dead)
    await eventually_async((directory / "work" / "done").exists)
    assert alive(handle["pid"])
    (directory / "work" / "go").touch()
    ended = await harness.ended(assignment)
    text = b"1\n" + b"".join(b"%d\n" % one for one in range(20000)) + b"last\n"
    assert await harness.output(ended) == text
    assert await harness.output(ended, "stderr") == b"e\n"
    assert ended.stdout.stored_bytes == len(text)
    assert output_index.covered((directory / "order").read_bytes()) == (len(text), 2)


async def test_only_who_was_read_is_known_to_be_silent(harness: RuntimeHarness) -> None:
    """Of what an attempt said whose end nobody saw, nothing is known."""
    assert (await harness.run("true")).is_silent
    assert not (await harness.run("echo")).is_silent
    assert not (await harness.run(script="echo >&2", log_limit_bytes=0)).is_silent
    lost = msgspec.json.decode(b'{"at": 1, "state": "lost", "reason": "exit_unknown"}', type=End)
    assert not lost.report(AttemptId("a"), LeaseToken("l")).is_silent


async def test_a_noisy_command_holds_up_nobody(harness: RuntimeHarness) -> None:
    """Others begin and end meanwhile, and it can be killed."""
    noisy = await harness.start("yes", log_limit_bytes=1000)
    await harness.started(noisy)
    for _ in range(10):
        assert await harness.output(await harness.run("echo", "x")) == b"x\n"
    await harness.kill(noisy)
    ended = await harness.ended(noisy)
    assert ended.stdout.stored_bytes == 1000
    assert ended.stdout.dropped_bytes > 0


async def test_who_escaped_with_the_pipe_does_not_hold_up_the_end(harness: RuntimeHarness) -> None:
    """There is no waiting for its last holder: this one here would go on forever."""
    assignment = await harness.start(script="while [ ! -e go ]; do sleep 0.01; done; echo x")
    pid = (await harness.started(assignment)).handle["pid"]
    held = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(held, b"held\n")
        (harness.directory(assignment.attempt_id) / "work" / "go").touch()
        ended = await harness.ended(assignment)
    finally:
        os.close(held)
    assert ended.state is AttemptState.SUCCEEDED
    assert await harness.output(ended) == b"held\nx\n"


async def test_the_order_of_both_outputs_is_noted(harness: RuntimeHarness) -> None:
    """In a file beside them, with times, as long as both do not come at the same moment."""
    script = "for i in 1 2 3; do echo o$i; sleep 0.02; echo e$i >&2; sleep 0.02; done"
    ended = await harness.run(script=script)
    index = (harness.directory(ended.attempt_id) / "order").read_bytes()
    records = list(output_index.decode(index))
    assert [(one.stream, one.size_bytes) for one in records] == [(1, 3), (2, 3)] * 3
    times = [one.at_us for one in records]
    assert times == sorted(times)
    assert ended.started_at is not None
    assert ended.started_at - 1000 <= times[0] <= times[-1] <= ended.at


async def test_neighbours_are_noted_together(harness: RuntimeHarness) -> None:
    """So that output in many small pieces has a small index."""
    ended = await harness.run("python3", "-uc", "for i in range(20000): print(i)")
    index = (harness.directory(ended.attempt_id) / "order").read_bytes()
    assert output_index.covered(index) == (ended.stdout.stored_bytes, 0)
    assert len(index) < 5000 * output_index.RECORD_BYTES


def test_tiny_pieces_are_taken_together_after_a_while(tmp_path: Path, null: int) -> None:
    """Who prints them without end does not keep the supervisor busy."""
    timers = Timers()
    with DefaultSelector() as selector:
        output = Output(str(tmp_path), 1 << 20, OutputReader(selector, timers), null)
        with output.opened(None, merge=False) as (end, _):
            writing = os.fdopen(os.dup(end), "wb", buffering=0)
        turns = 0
        with writing:
            begin = time.monotonic()
            while time.monotonic() < begin + 0.5:
                writing.write(b"x")
                for key, events in selector.select(0):
                    key.data(events)
                    turns += 1
                timers.run(time.monotonic())
        sizes = output.finish()
    assert sizes["stdout"]["dropped_bytes"] == 0
    assert turns <= 7 * 260
    assert sizes["stdout"]["stored_bytes"] >= turns


@pytest.fixture
def null() -> Iterator[int]:
    """An open null device."""
    with open(os.devnull, "r+b", buffering=0) as file:  # noqa: PTH123 - as the supervisor does
        yield file.fileno()


def test_what_cannot_be_kept_now_stays_in_the_pipe(tmp_path: Path, null: int) -> None:
    """Whoever writes waits; once the file takes it again, all of it is kept."""
    (tmp_path / "stdout").symlink_to("nowhere")  # which is not followed: an error at each try
    with DefaultSelector() as selector:
        output = Output(str(tmp_path), 1 << 20, OutputReader(selector, Timers()), null)
        unwatched = set(selector.get_map())
        with output.opened(None, merge=True) as (end, other):
            assert end == other
            writing = os.fdopen(os.dup(end), "wb", buffering=0)
        with writing:
            os.set_blocking(writing.fileno(), False)
            writing.write(b"a" * 1000)
            [(key, events)] = selector.select(0)
            key.data(events)
            assert set(selector.get_map()) == unwatched
            assert output.look()
            count = 0
            while writing.write(b"b" * 1000) == 1000:
                count += 1
            assert 50 < count < 1000
            (tmp_path / "stdout").unlink()
            assert output.look() is False
            assert set(selector.get_map()) != unwatched
            assert writing.write(b"c") == 1
        sizes = output.finish()
    content = (tmp_path / "stdout").read_bytes()
    assert content.startswith(b"a" * 1000 + b"b" * 1000)
    assert content.endswith(b"bc")
    assert sizes["stdout"] == {"stored_bytes": len(content), "dropped_bytes": 0}


def test_what_can_never_be_kept_is_counted(tmp_path: Path, null: int) -> None:
    """An end does not wait for a file that takes nothing."""
    (tmp_path / "stdout").symlink_to("nowhere")
    with DefaultSelector() as selector:
        output = Output(str(tmp_path), 1 << 20, OutputReader(selector, Timers()), null)
        with output.opened(None, merge=False) as (end, _):
            os.write(end, b"a" * 1000)
        sizes = output.finish()
    assert sizes["stdout"] == {"stored_bytes": 0, "dropped_bytes": 1000}


def test_a_flood_is_read_without_its_order_until_it_is_over(
    tmp_path: Path, null: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is found out again once it is quiet."""
    monkeypatch.setattr(command_output, "_PERIOD_WRITES", 10)
    monkeypatch.setattr(command_output, "_QUIET_TURNS", 0)
    timers = Timers()
    with DefaultSelector() as selector:
        output = Output(str(tmp_path), 1 << 20, OutputReader(selector, timers), null)
        with output.opened(None, merge=False) as (out, err):
            ends = [os.fdopen(os.dup(end), "wb", buffering=0) for end in (out, err)]

        def pump() -> None:
            # Twice: a pause begins, and ends.
            for _ in range(2):
                for key, events in selector.select(0):
                    key.data(events)
                timers.run(time.monotonic() + 1)

        def write(count: int) -> None:
            for number in range(count):
                ends[number % 2].write(b"%d\n" % (number % 10))

        with ends[0], ends[1]:
            for count in (2, 12, 14):
                write(count)
                pump()
            output.look()  # it was not quiet
            write(4)
            pump()
            output.look()
            output.look()
            write(6)
            pump()
        output.finish()
    index = (tmp_path / "order").read_bytes()
    runs = [(one.stream, one.size_bytes) for one in output_index.decode(index)]
    exact = [(1, 2), (2, 2)]
    assert runs[:28] == exact * 14
    assert runs[28:30] == [(1, 4), (2, 4)]
    assert runs[30:] == exact * 3


def test_signals_that_are_missed_cost_the_order_only(tmp_path: Path, null: int) -> None:
    """The kernel says so when it has no room for more of them."""
    usual = resource.getrlimit(resource.RLIMIT_SIGPENDING)
    with DefaultSelector() as selector:
        reader = OutputReader(selector, Timers())
        output = Output(str(tmp_path), 1 << 20, reader, null)
        with output.opened(None, merge=False) as (out, err):
            resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, usual[1]))
            try:
                for end in (out, err, out, err):
                    os.write(end, b"1\n")
            finally:
                resource.setrlimit(resource.RLIMIT_SIGPENDING, usual)
            [(key, events)] = selector.select(1)
            key.data(events)
            for end in (out, err, out, err):
                os.write(end, b"2\n")
        sizes = output.finish()
        reader.close()
    assert [sizes[name]["stored_bytes"] for name in ("stdout", "stderr")] == [8, 8]
    runs = [one.size_bytes for one in output_index.decode((tmp_path / "order").read_bytes())]
    assert runs == [4, 4, 2, 2, 2, 2]


async def test_commands_have_no_signals_blocked(field: RuntimeHarness) -> None:
    """As the supervisor has, which reads some in another way."""
    users = [None] if os.geteuid() != 0 else [None, "12345"]
    for user in users:
        ended = await field.run("grep", "^SigBlk", "/proc/self/status", user=user)
        assert await field.output(ended) == b"SigBlk:\t0000000000000000\n"


def test_turns_are_short(tmp_path: Path, null: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is in a pipe, others have their turn soon."""
    monkeypatch.setattr(command_output, "_TURN_BYTES", 10)
    with DefaultSelector() as selector:
        output = Output(str(tmp_path), 1 << 20, OutputReader(selector, Timers()), null)
        with output.opened(None, merge=False) as (end, _):
            os.write(end, b"a" * 1000)
        [(key, events)] = selector.select(0)
        key.data(events)
        assert (tmp_path / "stdout").stat().st_size == 10
        output.finish()
    assert (tmp_path / "stdout").stat().st_size == 1000


def test_commands_get_the_usual_limit_of_descriptors() -> None:
    """The supervisor's own, which has several for each of them, is as high as it may be."""
    script = (
        "import resource, subprocess, sys\n"
        "from taskyard.runtimes.processes import descriptors\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))\n"
        "descriptors.raise_limit()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))\n"
        "with descriptors.usual_limit():\n"
        "    print(resource.getrlimit(resource.RLIMIT_NOFILE))\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["(300, 300)", "(200, 300)", "(300, 300)"]


def test_without_signals_the_order_is_a_guess(
    tmp_path: Path, null: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has none; all else is the same."""

    def refuse() -> None:
        raise OSError(38, "not implemented")

    monkeypatch.setattr(output_reader, "WriteSignals", refuse)
    with DefaultSelector() as selector:
        reader = OutputReader(selector, Timers())
        output = Output(str(tmp_path), 1 << 20, reader, null)
        with output.opened(None, merge=False) as (out, err):
            for end in (out, err, out, err):
                os.write(end, b"1\n")
        assert len(selector.get_map()) == 2
        for key, events in selector.select(1):
            key.data(events)
        output.look()
        sizes = output.finish()
        reader.close()
    assert [sizes[name]["stored_bytes"] for name in ("stdout", "stderr")] == [4, 4]
    index = (tmp_path / "order").read_bytes()
    assert [(one.stream, one.size_bytes) for one in output_index.decode(index)] == [(1, 4), (2, 4)]
