"""Commands that run as we do can leave their cgroup, and shed all that ties them to it."""

import os
import sys
from pathlib import Path

import anyio
import pytest
from litestar.types import Receive, Scope, Send
from runtime_harness import RuntimeHarness, alive
from test_kill import pids_in

from eventually import eventually_async
from taskyard.ports.runtime import Assignment
from taskyard.runtimes.processes.cgroups import own_hierarchies
from taskyard.runtimes.processes.proc import ancestry, process
from taskyard.server.control_socket import bind_unix, local_admin
from taskyard.server.listeners import Listener, started

pytestmark = [pytest.mark.anyio, pytest.mark.cgroups]

_ESCAPE = """
import os, sys, time
stays, marked, orphaned, program, *arguments = sys.argv[1:]
def escape():
    with open(CGROUP, "w") as file:
        file.write(str(os.getpid()))
    os.setsid()
    os.chdir("/")
    print("child", os.getpid(), flush=True)
    null = os.open("/dev/null", os.O_RDWR)
    if program == "/bin/sleep":
        for fd in (0, 1, 2): os.dup2(null, fd)
    kept = {name: value for name, value in os.environ.items() if name == "TASKYARD_ATTEMPT_ID"}
    os.execve(program, [program, *arguments], kept if marked == "marked" else {})
if os.fork() == 0:
    if orphaned == "orphaned" and os.fork():
        os._exit(0)
    escape()
if orphaned == "orphaned":
    os.wait()
time.sleep(300 if stays == "stays" else 1)
"""
_LEADERLESS = """
import ctypes, os, threading, time
if os.fork() == 0:
    os.setsid()
    threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
    print("child", os.getpid(), flush=True)
    ctypes.CDLL(None).syscall(EXIT, 0)
time.sleep(300)
"""
_EXIT = {"x86_64": 60, "aarch64": 93}
"""The system call that ends one thread."""


def escaping(
    *, stays: bool = True, marked: bool = False, orphaned: bool = True, runs: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """The command line of one that has a child leave."""
    own = own_hierarchies(
        Path("/proc/self/mountinfo").read_text("utf-8"),
        Path("/proc/self/cgroup").read_text("utf-8"),
    )
    assert own.unified is not None
    return (
        *(sys.executable, "-S", "-c", f"CGROUP = {own.unified + '/cgroup.procs'!r}{_ESCAPE}"),
        "stays" if stays else "goes",
        "marked" if marked else "unmarked",
        "orphaned" if orphaned else "a child",
        *(runs or ("/bin/sleep", "300")),
    )


async def fugitive(field: RuntimeHarness, assignment: Assignment) -> int:
    """The process that left, once it has become what it wanted to be."""
    (pid,) = pids_in(await field.has_written(assignment, b"\n"))
    await eventually_async(lambda: Path(f"/proc/{pid}/comm").read_text("ascii") == "sleep\n")
    return pid


@pytest.mark.parametrize("orphaned", [True, False])
async def test_who_left_the_cgroup_and_shed_every_mark_is_killed(
    field: RuntimeHarness, orphaned: bool
) -> None:
    """Also while other attempts run, and the report counts it."""
    field.need_cgroups()
    other = await field.start("sleep", "300")
    one = await field.start(*escaping(orphaned=orphaned))
    pid = await fugitive(field, one)
    report = await field.kill(one)
    assert not alive(pid)
    assert report.survivors == ()
    assert report.killed_count == 2
    assert (await field.kill(other)).killed_count == 1


async def test_it_does_not_outlive_an_attempt_that_ends_by_itself(field: RuntimeHarness) -> None:
    """The attempt ends when it is gone, not before."""
    field.need_cgroups()
    one = await field.start(*escaping(stays=False))
    pid = await fugitive(field, one)
    ended = await field.ended(one)
    assert not alive(pid)
    assert ended.exit_code == 0
    assert ended.kill_report is not None
    assert ended.kill_report.killed_count == 1


async def test_whose_mark_it_bears_decides_when_it_is_killed(field: RuntimeHarness) -> None:
    """What another attempt started outside is left alone until that one ends."""
    field.need_cgroups()
    other = await field.start(*escaping(marked=True))
    pid = await fugitive(field, other)
    one = await field.start(*escaping())
    mine = await fugitive(field, one)
    await field.kill(one)
    assert not alive(mine)
    assert alive(pid)
    await field.kill(other)
    assert not alive(pid)


async def test_it_is_found_by_another_supervisor_too(field: RuntimeHarness) -> None:
    """As long as it descends from the main process."""
    field.need_cgroups()
    one = await field.start(*escaping(orphaned=False))
    handle = (await field.started(one)).handle
    pid = await fugitive(field, one)
    await field.slay_supervisor()
    await field.adopt(one, handle)
    await field.kill(one)
    assert not alive(pid)


async def test_a_process_whose_first_thread_has_ended_is_alive(harness: RuntimeHarness) -> None:
    """It looks like one that waits to be buried, and runs on."""
    number = _EXIT.get(os.uname().machine)
    if number is None:
        pytest.skip("the number of the system call is not known")
    script = _LEADERLESS.replace("EXIT", str(number))
    one = await harness.start(sys.executable, "-S", "-c", script)
    (pid,) = pids_in(await harness.has_written(one, b"\n"))
    await eventually_async(lambda: (found := process(pid)) is not None and found.state == "Z")
    found = process(pid)
    assert found is not None
    assert found.alive
    report = await harness.kill(one)
    assert report.survivors == ()
    assert report.killed_count == 2
    await eventually_async(lambda: process(pid) is None)


async def test_the_control_socket_knows_it_by_its_ancestors(
    field: RuntimeHarness, tmp_path: Path
) -> None:
    """Although neither its cgroup nor its environment says that it is a task's."""
    field.need_cgroups()
    path = tmp_path / "control.sock"
    bound = bind_unix(path)
    assert bound is not None
    listener = Listener(bound, local_admin(hello), 1, control=True)
    ask = (
        "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n');"
        "print('got', s.recv(4096), flush=True); time.sleep(300)"
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve)
        await started([listener])
        one = await field.start(*escaping(runs=(sys.executable, "-I", "-S", "-c", ask, str(path))))
        said = await field.has_written(one, b"got")
        assert b"HTTP/1.1 403" in said
        (pid,) = pids_in(said)
        await field.kill(one)
        assert not alive(pid)
        listener.stop()


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers whoever is let in."""
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def test_ancestry_goes_up_to_the_first_process() -> None:
    """Of nobody there is none."""
    chain = ancestry(os.getpid())
    assert chain is not None
    assert [one.pid for one in chain[:2]] == [os.getpid(), os.getppid()]
    assert chain[-1].parent == 0
    assert ancestry(2**22 + 1) is None


async def test_the_supervisor_takes_no_orders_from_work(harness: RuntimeHarness) -> None:
    """Whoever can speak to it could have anything started, as anybody."""
    ask = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(5);"
        "s.connect(sys.argv[1]); s.sendall(b'{\"op\": \"list\"}\\n'); print('got', s.recv(4096))"
    )
    # By way of the working directory: a socket's path may have no more than 107 bytes.
    (harness.root / "supervisor").chmod(0o755)
    ended = await harness.run(
        *(sys.executable, "-I", "-S", "-c", ask, "socket"), cwd=str(harness.root / "supervisor")
    )
    said = await harness.output(ended) + await harness.output(ended, "stderr")
    assert b"attempt_id" not in said
    assert b"got b''" in said or b"ConnectionResetError" in said or b"BrokenPipe" in said
