"""Processes of functions that hang without dying are replaced."""

import os
import signal
from pathlib import Path

import pytest
from function_world import FunctionWorld

from taskyard.core.states import AttemptState, Reason
from taskyard.runtimes.function import completion
from taskyard.runtimes.function.limits import PoolLimits

pytestmark = pytest.mark.anyio


async def test_a_fork_server_that_hangs_is_replaced(tmp_path: Path) -> None:
    """Who waited for a process is told, through no fault of the function's; later calls work."""
    world = FunctionWorld(tmp_path, limits=PoolLimits(warmup_s=1.0))
    await world.open()
    try:
        await world.build("def handle(request):\n    return 1\n")
        fork_server = world.runtime._fork_server
        assert fork_server is not None
        assert fork_server._process is not None
        fork_server._process.send_signal(signal.SIGSTOP)
        ended = await world.call()
        assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.RUNTIME_TROUBLE)
        assert (await world.call()).state is AttemptState.SUCCEEDED
        assert world.runtime._fork_server is not fork_server
    finally:
        await world.close()


async def test_a_function_that_is_slow_to_begin_is_no_hanging_fork_server(tmp_path: Path) -> None:
    """It is told that it took too long, and nobody else loses a process."""
    world = FunctionWorld(tmp_path, limits=PoolLimits(warmup_s=1.0))
    await world.open()
    try:
        await world.build("import time\ntime.sleep(60)\ndef handle(request):\n    return 1\n")
        fork_server = world.runtime._fork_server
        ended = await world.call()
        assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.TIMEOUT)
        assert world.runtime._fork_server is fork_server
    finally:
        await world.close()


async def test_a_process_that_is_stopped_is_replaced(
    fast: FunctionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its call fails through no fault of its own; one that merely takes its time does not."""
    monkeypatch.setattr(completion, "STOPPED_S", 0.2)
    await fast.build("import time\ndef handle(request):\n    time.sleep(float(request.text))\n")
    assert (await fast.call("1.5")).state is AttemptState.SUCCEEDED
    assignment = fast.assignment("60")
    await fast.start(assignment)
    await fast.ear.until(lambda: assignment.attempt_id in fast.ear.starts)
    (call,) = fast.runtime._running.values()
    assert call.instance is not None
    os.kill(call.instance.pid, signal.SIGSTOP)
    ended = await fast.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.RUNTIME_TROUBLE)
    assert (await fast.call("0")).state is AttemptState.SUCCEEDED
