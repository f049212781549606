"""What calls leave behind when their process ends: nothing, however it hides."""

import os
from pathlib import Path

import anyio
import pytest
from function_world import FunctionWorld

from taskyard.core.access.work_identity import SERVER, Identity
from taskyard.core.functions.functions import Language
from taskyard.core.states import AttemptState

pytestmark = pytest.mark.anyio
SOURCE = """
import os, subprocess, time
helper = subprocess.Popen(['sleep', '3600'])
def handle(request):
    if request.text == 'helper': return helper.pid
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write, str(os.getpid()).encode())
            os.close(1); os.close(2)
            os.execve('/bin/sleep', ['sleep', '3600'], {})
        os._exit(0)
    print(os.read(read, 100).decode(), flush=True)
    if request.text == 'exit': os._exit(3)
    if request.text == 'kill': os.kill(os.getpid(), 9)
    if request.text == 'hang': time.sleep(3600)
"""
DIRECT = """
module.exports = (request) => {
  const script = 'setsid sleep 3600 > /dev/null 2>&1 & echo $!';
  const { stdout } = require('node:child_process').spawnSync('/bin/sh', ['-c', script]);
  process.stdout.write(stdout.toString());
  return new Promise((done) => setTimeout(() => process.exit(3), 50));
};
"""


async def is_over(pid: int, within_s: float) -> bool:
    """Whether a process is no more, not even dead and waiting to be buried, within some time."""
    deadline = anyio.current_time() + within_s
    while True:
        if not await anyio.Path(f"/proc/{pid}").exists():
            return True
        if anyio.current_time() > deadline:
            return False
        await anyio.sleep(0.005)


@pytest.mark.parametrize("how", ["exit", "kill", "hang", "return"])
@pytest.mark.parametrize("user", [None, 1_900_000_015])
async def test_a_daemon_ends_with_its_call(
    tmp_path: Path, method: str, user: int | None, how: str
) -> None:
    """Although it left the session, the group, the environment and its parent."""
    if user is not None and os.geteuid() != 0:
        pytest.skip("needs root rights")
    identity = SERVER if user is None else Identity(user, user)
    world = FunctionWorld(tmp_path, use_cgroups=method == "cgroup", identity=identity)
    await world.open()
    try:
        await world.build(SOURCE)
        helper = await world.call("helper", timeout_s=20.0)
        ended = await world.call(how, timeout_s=1.0 if how == "hang" else 20.0)
        assert ended.state is (
            AttemptState.SUCCEEDED if how == "return" else AttemptState.FAILED
        ), ended
        assert await is_over(int(await world.output(ended, "stdout")), 5)
        # What belongs to the version stays.
        assert helper.result is not None, helper
        assert not await is_over(int(helper.result.body or b""), 0.1)
    finally:
        await world.close()
    assert await is_over(int(helper.result.body or b""), 5)


@pytest.mark.node
async def test_a_daemon_of_a_program_ends_with_its_call(functions: FunctionWorld) -> None:
    """The same for what is not forked by a zygote."""
    await functions.build(DIRECT, language=Language.JAVASCRIPT)
    ended = await functions.call("x", timeout_s=20.0)
    assert ended.exit_code == 3, ended
    assert await is_over(int(await functions.output(ended, "stdout")), 5)
