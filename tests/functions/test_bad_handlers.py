"""Handlers that misbehave: each ends its own call, clearly, and nothing else."""

import time
from pathlib import Path

import anyio
import pytest
from function_world import FunctionWorld

from eventually import eventually_async
from taskyard.core.attempts import Ended
from taskyard.core.states import AttemptState, Reason
from taskyard.runtimes.output.meta import read_meta

pytestmark = pytest.mark.anyio

BAD = """
    import ctypes, os, subprocess, sys, threading, time

    def handle(request):
        what = request.text
        if what == "raise":
            raise ValueError("it went wrong")
        if what == "exit":
            sys.exit(3)
        if what == "hard exit":
            os._exit(4)
        if what == "segfault":
            ctypes.string_at(0)
        if what == "loop":
            while True:
                pass
        if what == "allocate":
            hoard = []
            while True:
                hoard.append(bytearray(8 << 20))
        if what == "print":
            for _ in range(100):
                sys.stdout.write("x" * 999_999 + "\\n")
            return "printed"
        if what == "nonsense":
            return object()
        if what == "bad status":
            return (99, {}, "")
        if what == "bad header":
            return (200, {"a": "b\\r\\nc: d"}, "")
        if what == "bad tuple":
            return (1, 2)
        if what == "large":
            return "x" * (11 << 20)
        if what == "children":
            child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            return str(child.pid)
        if what == "close":
            os.closerange(3, 1000)
            time.sleep(30)
        if what == "pid":
            return str(os.getpid())
        if what == "sleep":
            time.sleep(30)
        return what
"""


def words(ended: Ended) -> str:
    """The answer as text."""
    assert ended.result is not None, ended
    assert ended.result.body is not None
    return ended.result.body.decode()


async def all_ready(functions: FunctionWorld) -> None:
    """From here on whoever was used last is used next."""
    (pool,) = functions.runtime._pools.values()
    await eventually_async(lambda: all(one.ready for one in pool.instances.values()))


async def test_a_handler_that_raises_fails_with_its_words(functions: FunctionWorld) -> None:
    """The message is the exception's, the traceback is in the log, and the process goes on."""
    await functions.build(BAD)
    await functions.call("pid")
    await all_ready(functions)
    before = words(await functions.call("pid"))
    ended = await functions.call("raise")
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.FUNCTION_ERROR)
    assert ended.message == "ValueError: it went wrong"
    printed = await functions.output(ended, "stderr")
    assert b'raise ValueError("it went wrong")' in printed
    assert b"taskyard" not in printed
    assert words(await functions.call("pid")) == before


@pytest.mark.parametrize(
    ("what", "reason", "code", "signal"),
    [
        ("exit", Reason.FUNCTION_ERROR, 3, None),
        ("hard exit", Reason.EXIT_CODE, 4, None),
        ("segfault", Reason.SIGNAL, None, "SIGSEGV"),
    ],
)
async def test_a_handler_that_ends_its_process_ends_its_call(
    functions: FunctionWorld, what: str, reason: Reason, code: int | None, signal: str | None
) -> None:
    """It is said how, and the process is not used again."""
    await functions.build(BAD)
    await functions.call("pid")
    await all_ready(functions)
    before = words(await functions.call("pid"))
    ended = await functions.call(what)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, reason)
    assert (ended.exit_code, ended.signal) == (code, signal)
    assert words(await functions.call("pid")) != before


async def test_a_handler_that_loops_is_killed_at_its_time_limit(functions: FunctionWorld) -> None:
    """With proof: it was asked to end, and nothing is left of it."""
    await functions.build(BAD)
    ended = await functions.call("loop", timeout_s=0.3)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.TIMEOUT)
    assert ended.kill_report is not None
    assert (ended.kill_report.signal, ended.kill_report.survivors) == ("SIGTERM", ())
    assert words(await functions.call("next")) == "next"


async def test_a_handler_that_hoards_memory_is_stopped(functions: FunctionWorld) -> None:
    """By the kernel, or by a limit of the process where the kernel counts nobody's memory."""
    await functions.build(BAD)
    ended = await functions.call("allocate", memory_bytes=96 << 20, timeout_s=30.0)
    assert ended.state is AttemptState.FAILED
    assert ended.reason in {Reason.OUT_OF_MEMORY, Reason.FUNCTION_ERROR}
    if ended.reason is Reason.FUNCTION_ERROR:
        assert "MemoryError" in str(ended.message)


async def test_a_hundred_megabytes_of_output_are_cut(functions: FunctionWorld) -> None:
    """The call succeeds; its output is in files up to the limit, and the rest is counted."""
    await functions.build(BAD)
    assignment = functions.assignment("print", timeout_s=60.0, log_limit_bytes=1 << 20)
    await functions.start(assignment)
    ended = await functions.ended(assignment)
    assert words(ended) == "printed"
    assert not ended.output_complete
    path = functions.directories.path(assignment.attempt_id) / "stdout"
    assert path.stat().st_size == ended.stdout.stored_bytes == 1 << 20
    assert ended.stdout.dropped_bytes == 100_000_000 - (1 << 20)
    assert words(await functions.call("next")) == "next"
    assert read_meta(str(path.parent), 0) == (1 << 20, (ended.stdout.dropped_bytes, 0))


@pytest.mark.parametrize("what", ["nonsense", "bad status", "bad header", "bad tuple", "large"])
async def test_an_answer_that_is_none_fails_the_call(fast: FunctionWorld, what: str) -> None:
    """And says what is wrong with it."""
    await fast.build(BAD)
    ended = await fast.call(what)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.FUNCTION_ERROR)
    assert "unusable" in str(ended.message)
    assert words(await fast.call("next")) == "next"


async def test_children_left_behind_are_killed(functions: FunctionWorld) -> None:
    """Before the call is over; its answer stands."""
    await functions.build(BAD)
    ended = await functions.call("children")
    assert ended.state is AttemptState.SUCCEEDED
    pid = int(words(ended))
    deadline = time.monotonic() + 5.0
    while _lives(pid) and time.monotonic() < deadline:  # noqa: ASYNC110 - a process tells nobody
        await anyio.sleep(0.01)
    assert not _lives(pid)


async def test_a_process_that_hangs_up_is_killed(fast: FunctionWorld) -> None:
    """Nobody could hear it any more."""
    await fast.build(BAD)
    ended = await fast.call("close")
    assert ended.state is AttemptState.FAILED


async def test_a_call_is_killed_on_request(functions: FunctionWorld) -> None:
    """With proof, and at once if it waits for a process."""
    await functions.build(BAD)
    assert words(await functions.call("warm")) == "warm"
    assignment = functions.assignment("sleep")
    await functions.start(assignment)
    await functions.ear.until(lambda: assignment.attempt_id in functions.ear.starts)
    await functions.kill(assignment)
    ended = await functions.ended(assignment)
    assert ended.state is AttemptState.KILLED
    assert ended.kill_report is not None
    assert ended.kill_report.survivors == ()
    assert ended.kill_report.signal == "SIGTERM"


async def test_a_handler_that_cannot_be_imported_fails_its_calls(fast: FunctionWorld) -> None:
    """With the traceback in the log; the next deploy may be better."""
    await fast.build("import nothing_of_that_name\ndef handle(request): return 1\n")
    ended = await fast.call("x")
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.FUNCTION_ERROR)
    assert "nothing_of_that_name" in str(ended.message)
    assert b"Traceback" in await fast.output(ended, "stderr")
    await fast.build("def handle(request): return 1\n", number=2)
    assert words(await fast.call("x", number=2)) == "1"


def _lives(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}
