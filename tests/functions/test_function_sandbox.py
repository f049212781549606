"""Functions and builds whose wall is a sandbox."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from function_world import FunctionWorld

from eventually import eventually_async
from taskyard.core.access.work_identity import Sandbox
from taskyard.core.attempts import Confinement, Ended
from taskyard.core.functions.functions import Language
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.limits import PoolLimits
from taskyard.runtimes.function.process_pool import ProcessPool
from taskyard.runtimes.function.translating import seen_from_here
from taskyard.runtimes.processes.bubblewrap import obstacle_to_sandbox

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap, pytest.mark.timeout(120)]
PYTHON = """
import os, subprocess, sys, time
def handle(request):
    order, _, rest = request.text.partition(' ')
    if order == 'shell':
        return subprocess.run(['/bin/sh', '-c', rest], capture_output=True, text=True).stdout
    if order == 'links':
        for name in ('stdout', 'stderr'):
            os.symlink(rest, '../' + name)
    if order == 'pipes':
        for name in ('stdout', 'stderr'):
            if os.path.lexists('../' + name):
                os.unlink('../' + name)
            os.mkfifo('../' + name)
    if order == 'elsewhere':
        # The directory that the server knows, with what another one has in its place.
        mine = os.path.dirname(os.getcwd())
        os.rename(mine, mine + '.x')
        os.symlink(rest, mine)
    if order == 'sleep':
        time.sleep(60)
    if order == 'die':
        os._exit(1)
    if order == 'exit':
        sys.exit(0)
    return os.getpid()
"""
JAVASCRIPT = "module.exports = () => process.pid;\n"


@pytest.fixture
async def world(tmp_path: Path, method: str) -> AsyncIterator[FunctionWorld]:
    """Functions in sandboxes; nothing of them is left at the end."""
    if (obstacle := obstacle_to_sandbox()) is not None:
        pytest.skip(obstacle)
    world = FunctionWorld(tmp_path, use_cgroups=method == "cgroup", sandbox=Sandbox())
    await world.open()
    if method == "cgroup" and world.runtime.process_trees.base is None:
        await world.close()
        pytest.skip("no writable cgroups here")
    pools: list[ProcessPool] = []
    try:
        yield world
        pools = pools_of(world)
    finally:
        await world.close()
    assert not (tmp_path / "functions" / "run").exists()
    for pool in pools:
        for instance in pool.instances.values():
            assert not instance.pid or not alive(instance.pid)


def pools_of(world: FunctionWorld) -> list[ProcessPool]:
    """Those there are."""
    return [one for one in world.runtime._pools.values() if isinstance(one, ProcessPool)]


def alive(pid: int) -> bool:
    """Whether there is such a process that is not dead."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    return False


def open_files() -> int:
    """How many descriptors this process has."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def words(ended: Ended) -> str:
    """What a call answered."""
    assert ended.result is not None, ended
    assert ended.result.body is not None
    return ended.result.body.decode()


def nothing_came_of_it(world: FunctionWorld, ended: Ended) -> None:
    """The output of a call is empty, and no link."""
    assert not any(ended.inline_output.values())
    for stream in ("stdout", "stderr"):
        path = world.directories.path(ended.attempt_id) / stream
        assert not path.is_symlink()
        assert not path.exists() or path.read_text() == ""


def facts(pid: int, name: str) -> str:
    """A file of a process."""
    return Path(f"/proc/{pid}/{name}").read_text()


@pytest.mark.parametrize(
    ("language", "source"),
    [
        (Language.PYTHON, PYTHON),
        pytest.param(Language.JAVASCRIPT, JAVASCRIPT, marks=pytest.mark.node),
    ],
)
async def test_processes_are_known_by_their_pids_out_here(
    world: FunctionWorld, method: str, language: Language, source: str
) -> None:
    """They have others in the sandbox; limits and kills need those of the machine."""
    await world.build(source, language=language)
    ended = await world.call("x")
    assert ended.confinement == Confinement(str(os.geteuid()), "sandbox")
    (pool,) = pools_of(world)
    instances = {one.pid for one in pool.instances.values() if one.ready}
    assert int(words(ended)) not in instances
    for pid in instances:
        assert alive(pid)
        told = facts(pid, "status")
        assert f"Uid:\t{os.geteuid()}\t" in told
        assert "CapEff:\t0000000000000000" in told
        in_cgroup = "taskyard-functions-" in facts(pid, "cgroup")
        assert in_cgroup == (method == "cgroup")


async def test_nothing_outlives_the_kill_of_its_call(world: FunctionWorld) -> None:
    """Found among the machine's processes, however it was forked."""
    await world.build(PYTHON)
    assignment = world.assignment("shell setsid sleep 1234 & sleep 1000", timeout_s=60.0)
    await world.start(assignment)
    await world.ear.until(lambda: bool(world.runtime._running))
    (pool,) = pools_of(world)
    (busy,) = [one for one in pool.instances.values() if one.call is not None]
    await eventually_async(lambda: len(_below(busy.pid)) >= 2)
    below = _below(busy.pid)
    await world.kill(assignment, "SIGKILL")
    ended = await world.ended(assignment)
    assert ended.state is AttemptState.KILLED
    assert ended.kill_report is not None
    assert ended.kill_report.survivors == ()
    assert not any(map(alive, [busy.pid, *below]))


async def test_no_link_leads_the_server_elsewhere(world: FunctionWorld) -> None:
    """Where it looks for what a function has printed it finds a file, or nothing."""
    secret = world.root / "secret.key"
    secret.write_text("TOP-SECRET")
    other = world.root / "other"
    other.mkdir()
    for name in ("stdout", "stderr"):
        (other / name).write_text("TOP-SECRET")
    await world.build(PYTHON)
    for order in (f"links {secret}", "pipes", f"elsewhere {other}"):
        ended = await world.call(order)
        assert ended.state is AttemptState.SUCCEEDED, order
        nothing_came_of_it(world, ended)
    assert (other / "stdout").read_text() == (other / "stderr").read_text() == "TOP-SECRET"
    assert secret.read_text() == "TOP-SECRET"


async def test_links_are_not_followed_for_calls_that_die(world: FunctionWorld) -> None:
    """Nor for those that are watched while they run."""
    secret = world.root / "secret.key"
    secret.write_text("TOP-SECRET")
    await world.build(
        PYTHON.replace("return os.getpid()", "time.sleep(0.5)\n    os._exit(1)"), name="g"
    )
    other = world.root / "other"
    other.mkdir()
    for name in ("stdout", "stderr"):
        (other / name).write_text("TOP-SECRET")
    for order in (f"links {secret}", "pipes", f"elsewhere {other}"):
        ended = await world.call(order, name="g")
        assert ended.reason is Reason.EXIT_CODE
        nothing_came_of_it(world, ended)


async def test_when_a_sandbox_dies_its_calls_are_nobodys_fault(world: FunctionWorld) -> None:
    """The next call gets another one."""
    await world.build(PYTHON)
    assignment = world.assignment("sleep", timeout_s=60.0)
    await world.start(assignment)
    await world.ear.until(lambda: bool(world.runtime._running))
    (pool,) = pools_of(world)
    sandbox = pool._sandbox
    assert sandbox is not None
    assert sandbox._fork_server is not None
    top = sandbox._fork_server.pid
    os.kill(top, signal.SIGKILL)
    ended = await world.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.RUNTIME_TROUBLE)
    assert (await world.call("x")).state is AttemptState.SUCCEEDED


async def test_a_sandbox_ends_with_its_pool(tmp_path: Path) -> None:
    """When nobody has called for a while; its directories and descriptors go with it."""
    if (obstacle := obstacle_to_sandbox()) is not None:
        pytest.skip(obstacle)
    world = FunctionWorld(tmp_path, sandbox=Sandbox(), limits=PoolLimits(idle_s=0.1))
    await world.open()
    try:
        await world.build(PYTHON)
        before = open_files()
        assert (await world.call("x")).state is AttemptState.SUCCEEDED
        (pool,) = pools_of(world)
        sandbox = pool._sandbox
        assert sandbox is not None
        assert sandbox._fork_server is not None
        top = sandbox._fork_server.pid
        await eventually_async(lambda: not alive(top) and not sandbox.run.exists())
        assert pools_of(world) == []
        assert open_files() == before
    finally:
        await world.close()


async def test_versions_do_not_share_a_sandbox(world: FunctionWorld) -> None:
    """Neither code nor processes nor temporary files."""
    await world.build(PYTHON)
    await world.build(PYTHON, number=2)
    await world.call("shell touch /tmp/first; sleep 0.1")
    seen = words(await world.call("shell ls /tmp; ls /proc | grep -c '^[0-9]'", number=2))
    assert "first" not in seen
    assert int(seen.split()[-1]) < 10
    here = words(await world.call("shell ls $PWD/../.. $PWD/../../../..; true", number=2))
    assert "run" in here.split()
    assert "nursery.lock" not in here  # kept: see fork_server.py


async def test_the_ancestor_in_a_sandbox_is_out_of_reach(world: FunctionWorld) -> None:
    """It ends everything when the server is gone, so nobody may trace, stop or kill it."""
    await world.build(PYTHON)
    said = words(
        await world.call(
            "shell for n in KILL STOP TERM INT; do kill -$n 1; done;"
            " readlink /proc/1/fd/2 && echo GOT;"
            " grep -q . /proc/1/environ && echo GOT; (: < /proc/1/mem) && echo GOT; echo tried"
        )
    )
    assert "GOT" not in said
    assert "tried" in said
    (pool,) = pools_of(world)
    assert (await world.call("x")).state is AttemptState.SUCCEEDED
    assert pools_of(world) == [pool]


async def test_a_function_cannot_change_what_was_built(world: FunctionWorld) -> None:
    """Its own included."""
    await world.build(PYTHON)
    code = world.root / "functions" / "builds" / "f" / "1" / "code" / "handler.py"
    said = words(await world.call(f"shell (echo x >> {code}) 2>&1; rm {code} 2>&1"))
    assert said.count("Read-only file system") == 2


@pytest.mark.node
async def test_a_build_that_makes_odd_things_fails(world: FunctionWorld) -> None:
    """Where the server would wait forever when it reads."""
    files = {
        "handler.js": "module.exports = () => 1;\n",
        "package.json": '{"name": "x", "version": "1.0.0",'
        ' "scripts": {"install": "mkfifo $PWD/odd"}}',
    }
    with pytest.raises(BuildFailed, match="neither a file nor a directory"):
        await world.build(files, language=Language.JAVASCRIPT)


async def test_the_death_of_the_fork_server_outside_ends_sandboxes_too(
    world: FunctionWorld,
) -> None:
    """It waits for them before it begins again; then calls are answered as before."""
    await world.build(PYTHON)
    assignment = world.assignment("sleep", timeout_s=60.0)
    await world.start(assignment)
    await world.ear.until(lambda: bool(world.runtime._running))
    fork_server = world.runtime._fork_server
    assert fork_server is not None
    os.kill(fork_server.pid, signal.SIGKILL)
    ended = await world.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.RUNTIME_TROUBLE)
    assert (await world.call("x")).state is AttemptState.SUCCEEDED


async def test_nothing_outlives_the_server(world: FunctionWorld) -> None:
    """When it hangs up, as the kernel does for one that is killed, everybody ends."""
    await world.build(PYTHON)
    await world.start(world.assignment("shell setsid sleep 1234 & sleep 1000", timeout_s=60.0))
    await world.ear.until(lambda: bool(world.runtime._running))
    (pool,) = pools_of(world)
    assert pool._sandbox is not None
    fork_server = pool._sandbox._fork_server
    assert fork_server is not None
    assert fork_server._channel is not None
    await eventually_async(lambda: len(_below(fork_server.pid)) >= 4)
    everybody = [fork_server.pid, *_below(fork_server.pid)]
    fork_server._channel.close()
    await eventually_async(lambda: not any(map(alive, everybody)))


def test_only_children_are_translated() -> None:
    """Whatever a process says its children are called."""
    assert seen_from_here(os.getpid(), os.getppid()) == os.getpid()
    assert seen_from_here(1, os.getpid()) is None
    assert seen_from_here(1, 1 << 22) is None


def _below(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_below(int(child))]
    return found
