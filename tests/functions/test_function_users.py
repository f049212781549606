"""Functions that run as the user of their workspace."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from function_world import FunctionWorld, opened
from samples import SAMPLES

from taskyard.core.access.work_identity import SERVER, Identity
from taskyard.core.attempts import Confinement
from taskyard.core.functions.functions import Language
from taskyard.core.states import AttemptState, Reason
from taskyard.runtimes.function import runtime
from taskyard.runtimes.function.adopting import NotItsChild, adopt
from taskyard.runtimes.function.process_body import TreeBody

pytestmark = [pytest.mark.anyio, pytest.mark.root, pytest.mark.timeout(300)]
OWN = Identity(1_900_000_013, 1_900_000_013)
OTHER = Identity(1_900_000_014, 1_900_000_014)
JAVASCRIPT = """
const fs = require('node:fs');
module.exports = (request) => {
  if (request.text === 'much') process.stdout.write('x'.repeat(100000));
  if (request.text === 'print') console.log('out'), console.error('err');
  return 'fine';
};
"""
PYTHON = """
import os, time
def handle(request):
    if request.text == 'much': print('x' * 100_000, end='')
    if request.text == 'print':
        print('out')
        os.write(2, b'err\\n')
    if request.text == 'links':
        tried = []
        for name in ('stdout', 'stderr', 'work', 'new'):
            try:
                os.symlink('/etc/shadow', '../' + name + '.x')
                os.rename('../' + name + '.x', '../' + name)
            except OSError as error:
                tried.append(error.strerror)
        return tried
    if request.text == 'see':
        return [os.getresuid(), os.getresgid(), os.getgroups(), sorted(os.listdir('/proc/self/fd'))]
    return 'fine'
"""
NOISE = [
    {"born": 1},
    {"born": [], "pid": 1},
    {"born": 2, "pid": 1 << 70},
    {"exited": 2, "status": 0x137F},
    {"exited": {}, "status": "x"},
]
NOISY = """
import os, socket, json, time
for one in os.listdir('/proc/self/fd'):
    try:
        control = socket.socket(fileno=os.dup(int(one)))
    except OSError:
        continue
    if control.type == socket.SOCK_SEQPACKET: break
control.send(json.dumps({'ready': True, 'forks': True}).encode())
control.recv(100_000)
control.send(json.dumps(NOISE).encode())
time.sleep(1000)
def handle(request): pass
"""
LIAR = """
import os, socket, json, time
for one in os.listdir('/proc/self/fd'):
    try:
        control = socket.socket(fileno=os.dup(int(one)))
    except OSError:
        continue
    if control.type == socket.SOCK_SEQPACKET: break
control.send(json.dumps({'ready': True, 'forks': True}).encode())
order = json.loads(control.recv(100_000))
control.send(json.dumps({'born': order['number'], 'pid': VICTIM}).encode())
time.sleep(1000)
def handle(request): pass
"""


@pytest.fixture
async def own(tmp_path: Path, method: str) -> AsyncIterator[FunctionWorld]:
    """Functions of one workspace; the directories above are closed to its user."""
    (tmp_path / "closed").mkdir(mode=0o700)
    async with opened(tmp_path / "closed", method=method, identity=OWN) as world:
        yield world


@pytest.fixture
def victim() -> Iterator[int]:
    """A process that is nobody's child here."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


def text(path: str) -> str:
    """Of a file of the kernel."""
    return Path(path).read_text()


def state(pid: int) -> dict[str, list[str]]:
    """What the kernel says of a process."""
    lines = text(f"/proc/{pid}/status").splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def instances(world: FunctionWorld) -> list[tuple[int, list[str]]]:
    """Pids of those that can take calls, and the files of the cgroups where they ought to be."""
    return [
        (instance.pid, instance.body.tree.doors())
        for pool in world.runtime._pools.values()
        for instance in pool.instances.values()
        if instance.ready and isinstance(instance.body, TreeBody)
    ]


@pytest.mark.parametrize(
    "language",
    [
        Language.PYTHON,
        pytest.param(Language.JAVASCRIPT, marks=pytest.mark.node),
        pytest.param(Language.GO, marks=pytest.mark.golang),
        pytest.param(Language.RUBY, marks=pytest.mark.ruby),
    ],
)
async def test_calls_run_as_the_user_in_cgroups_of_their_own(
    own: FunctionWorld, language: Language
) -> None:
    """In every language; output of any size is complete, and each call's own."""
    if language is Language.JAVASCRIPT and shutil.which("node") is None:
        assert os.environ.get("CI") != "true", "continuous integration needs Node.js"
        pytest.skip("there is no node here")
    source = {**SAMPLES, Language.PYTHON: PYTHON, Language.JAVASCRIPT: JAVASCRIPT}[language]
    await own.build(source, language=language)
    for _ in range(2):
        printed = await own.call("print", timeout_s=20.0)
        assert await own.output(printed, "stdout") == b"out\n", printed
        assert await own.output(printed, "stderr") == b"err\n", printed
        much = await own.call("much", timeout_s=20.0)
        assert await own.output(much, "stdout") == b"x" * 100_000
    found = instances(own)
    assert found
    for pid, doors in found:
        status = state(pid)
        assert status["Uid"] == [str(OWN.uid)] * 4
        assert status["Gid"] == [str(OWN.gid)] * 4
        assert status["Groups"] == []
        assert status["NoNewPrivs"] == ["1"]
        assert {status[one][0] for one in ("CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        for door in doors:
            assert str(pid) in text(door).split()


async def test_a_function_cannot_plant_links_where_the_server_reads(own: FunctionWorld) -> None:
    """The directory with its output is the server's."""
    await own.build(PYTHON)
    ended = await own.call("links")
    assert ended.result is not None, ended
    assert (ended.result.body or b"").count(b"ermission denied") == 4


async def test_what_a_call_sees_of_itself(own: FunctionWorld) -> None:
    """Its own ``/proc`` is open to it, and it inherited nothing from the server."""
    await own.build(PYTHON)
    ended = await own.call("see")
    assert ended.result is not None, ended
    assert ended.result.body == (
        b'[[%d,%d,%d],[%d,%d,%d],[],["0","1","2","3","4","5"]]' % ((OWN.uid or 0,) * 6)
    )
    assert ended.confinement == Confinement(str(OWN.uid), "user")


async def test_a_kill_leaves_nothing(own: FunctionWorld) -> None:
    """Of a call and all that it started, and that does not end when it is asked."""
    await own.build(
        "import subprocess, time\ndef handle(request):\n"
        "    line = 'trap \"\" TERM; while :; do sleep 0.1; done'\n"
        "    subprocess.Popen(['/bin/sh', '-c', line], start_new_session=True)\n"
        "    time.sleep(1000)\n"
    )
    ended = await own.call(timeout_s=1.0)
    assert ended.reason is Reason.TIMEOUT
    assert ended.kill_report is not None
    assert ended.kill_report.killed_count >= 2
    assert ended.kill_report.survivors == ()


async def test_a_process_that_is_not_its_own_is_not_touched(
    own: FunctionWorld, victim: int
) -> None:
    """Whatever the function's process says: it would be killed in the function's place."""
    await own.build(LIAR.replace("VICTIM", str(victim)))
    before = text(f"/proc/{victim}/cgroup")
    ended = await own.call(timeout_s=20.0)
    assert ended.state is AttemptState.FAILED
    assert "names a process that is not its own" in (ended.message or "")
    await own.close()
    os.kill(victim, 0)
    assert state(victim)["State"][0] in {"S", "R"}
    assert text(f"/proc/{victim}/cgroup") == before


@pytest.mark.parametrize("noise", NOISE)
async def test_whatever_a_function_says_of_its_processes_ends_its_calls(
    own: FunctionWorld, noise: dict[str, object]
) -> None:
    """None of them waits forever, and the next function is called as before."""
    await own.build(NOISY.replace("NOISE", repr(noise)))
    ended = await own.call(timeout_s=20.0)
    assert ended.state is AttemptState.FAILED
    await own.build(PYTHON, name="next")
    assert (await own.call("x", name="next")).state is AttemptState.SUCCEEDED


def test_only_children_of_the_zygote_are_moved(victim: int) -> None:
    """And only as the user they ought to be."""
    with pytest.raises(NotItsChild):
        adopt(victim, victim, 0, [])
    with pytest.raises(NotItsChild):
        adopt(victim, os.getpid(), OWN.uid or 0, [])
    adopt(victim, os.getpid(), 0, [])


async def test_users_do_not_share_processes(own: FunctionWorld) -> None:
    """Not even those of one function, whose workspace has another user now."""
    await own.build(PYTHON)
    await own.call("x")
    own.identity = OTHER
    await own.call("x")
    users = {state(pid)["Uid"][0] for pid, _ in instances(own)}
    assert users == {str(OWN.uid), str(OTHER.uid)}


async def test_what_was_built_before_there_were_users_is_called(own: FunctionWorld) -> None:
    """It is given to its workspace when it is first needed."""
    own.identity = SERVER
    await own.build(PYTHON)
    own.identity = OWN
    ended = await own.call("x")
    assert ended.result is not None, ended
    place = own.root / "functions" / "builds" / "f" / "1"
    facts = place.stat()
    assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o777) == (0, OWN.gid, 0o750)


async def test_places_out_of_reach_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the machine does not allow that they are opened."""
    root = tmp_path / "closed"
    root.mkdir(mode=0o700)
    away = [str(root / "functions"), "/root/no/such/place"]
    monkeypatch.setattr(runtime, "closed_places", lambda _directory: away)
    world = FunctionWorld(root, identity=OWN)
    await world.open()
    try:
        await world.build(PYTHON)
        ended = await world.call("x")
    finally:
        await world.close()
    assert ended.reason is Reason.START_FAILED
    assert f"the workspace's user cannot get to {root}/functions" in (ended.message or "")
    assert "install Taskyard, and keep its data, where every user may pass" in (ended.message or "")
