"""The process that unpacks: limited, alone, gone with its server; what it makes of damage."""

import contextlib
import io
import os
import resource
import signal
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from archive_samples import (
    header,
    member,
    pax,
    raw_tar,
    tar_of,
    zip_with,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventually import eventually_async
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function import unpacking
from taskyard.runtimes.function.child.archives import Refused
from taskyard.runtimes.function.child.unpack import Tree, write_all
from taskyard.runtimes.function.unpacking import UnpackLimits, unpack

pytestmark = pytest.mark.anyio
_DEADLINE_S = 60.0


async def refused(tmp_path: Path, bundle: bytes, limits: UnpackLimits | None = None) -> str:
    """Why a bundle is not unpacked."""
    target = tmp_path / uuid4().hex
    with anyio.fail_after(_DEADLINE_S), pytest.raises(BuildFailed) as caught:
        await unpack(bundle, target, "handler.py", limits or UnpackLimits())
    return str(caught.value)


async def test_memory_and_time_end(tmp_path: Path) -> None:
    """Whatever an archive may be, its process gets no more than it may have."""
    greedy = io.BytesIO()
    with tarfile.open(fileobj=greedy, mode="w:xz", preset=9) as archive:
        archive.addfile(member("a", size=999), io.BytesIO(bytes(999)))
    little = UnpackLimits(memory_bytes=16 << 20)
    assert "too much memory" in await refused(tmp_path, greedy.getvalue(), little)
    slow = tar_of(*(member(f"{number}") for number in range(9000)))
    short = UnpackLimits(timeout_s=0.001)
    assert "takes longer than 0.001 s" in await refused(tmp_path, slow, short)
    assert not unpackers(os.getpid())


_WAITING = (
    "import sys, os; sys.path.insert(0, sys.argv.pop(1)); import json, signal; "
    "from taskyard.runtimes.function.child import unpack; unpack.confine(json.loads(sys.argv[1])); "
    "os.mkdir('ready'); signal.pause()"
)
"""In place of our program: one that takes the limits, and then only waits."""


async def waiting_process(parent: int, root: Path) -> int:
    """The process below another one that unpacks below a directory, once it has its limits."""
    await eventually_async(lambda: any(root.glob("*/ready")), within_s=_DEADLINE_S)
    (pid,) = unpackers(parent)
    return pid


def unpackers(parent: int) -> list[int]:
    """Processes that unpack for another one."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    lines = {int(one): Path(f"/proc/{one}/cmdline").read_bytes() for one in children}
    return [pid for pid, line in lines.items() if b"function.child" in line]


async def test_the_process_has_nothing_of_the_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No variable, no descriptor; and limits. If it dies, the build fails."""
    monkeypatch.setenv("TASKYARD_SECRET_KEY", "marker")
    monkeypatch.setattr(unpacking, "_START", _WAITING)
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(refused, tmp_path, tar_of(member("a")), UnpackLimits(timeout_s=20))
            pid = await waiting_process(os.getpid(), tmp_path)
            environment = await anyio.Path(f"/proc/{pid}/environ").read_bytes()
            assert b"marker" not in environment
            descriptors = [one.name async for one in anyio.Path(f"/proc/{pid}/fd").iterdir()]
            assert {*descriptors} == {"0", "1", "2"}
            memory, _ = resource.prlimit(pid, resource.RLIMIT_AS)
            assert memory < 1 << 30
            assert resource.prlimit(pid, resource.RLIMIT_CPU)[0] == 21
            assert resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] == 256 << 20
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(inherited)


async def test_a_build_that_is_given_up_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the server stops."""
    monkeypatch.setattr(unpacking, "_START", _WAITING)
    async with anyio.create_task_group() as group:
        group.start_soon(unpack, tar_of(member("a")), tmp_path / "0", "handler.py")
        pid = await waiting_process(os.getpid(), tmp_path)
        group.cancel_scope.cancel()
    assert not await anyio.Path(f"/proc/{pid}").exists()


async def test_the_process_ends_with_the_server(tmp_path: Path) -> None:
    """Also if that is killed."""
    program = f"""
        import anyio, pathlib, sys
        from taskyard.runtimes.function import unpacking
        unpacking._START = {_WAITING!r}
        bundle = sys.stdin.buffer.read()
        anyio.run(unpacking.unpack, bundle, pathlib.Path({str(tmp_path)!r}) / "0", "handler.py")
    """
    server = await anyio.open_process(
        [sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE, stdout=None
    )
    async with server:
        assert server.stdin is not None
        await server.stdin.send(tar_of(member("a")))
        await server.stdin.aclose()
        try:
            watch = os.pidfd_open(await waiting_process(server.pid, tmp_path))
        finally:
            server.kill()
    try:
        with anyio.fail_after(_DEADLINE_S):
            await anyio.wait_readable(watch)
    finally:
        os.close(watch)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_the_process_can_be_another_users(tmp_path: Path) -> None:
    """Who then owns what was unpacked, in a directory that this user could not get to."""
    user = (1_900_065_000, 1_900_065_001)
    bundles = (*_GOOD, b"x = 1\n")
    for number, bundle in enumerate(bundles):
        target = tmp_path / str(number)
        await unpack(bundle, target, "handler.py", user=user)
        for path in (target, *target.rglob("*")):
            facts = path.stat()
            assert (facts.st_uid, facts.st_gid) == user
            assert not facts.st_mode & 0o077


_GOOD = [
    bytes(zip_with(["handler.py", "a/b/c"], b"x = 1\n" * 50)),
    tar_of(member("handler.py", size=600), member("a/b/c", size=9), kind="w"),
    tar_of(member("handler.py", size=600), member("x" * 200, size=9)),
    tar_of(member("handler.py", size=600), kind="w:bz2"),
    tar_of(member("handler.py", size=600), kind="w:xz"),
    raw_tar(*pax(("path", b"a/b"), ("size", b"7")), header("x", size=7), b"content"),
]


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.sampled_from(_GOOD),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=12)), max_size=5),
    st.integers(0, 1 << 16),
)
def test_whatever_is_damaged_is_unpacked_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    bundle: bytes,
    damage: list[tuple[int, bytes]],
    cut: int,
) -> None:
    """Bytes changed anywhere and the end cut off: never more than allowed, never a traceback."""
    broken = bytearray(bundle)
    for position, patch in damage:
        at = position % len(broken)
        broken[at : at + len(patch)] = patch
    del broken[max(len(bundle) - cut, 300) if cut % 3 else len(bundle) :]
    root = tmp_path_factory.mktemp("damaged")
    with contextlib.suppress(Refused):
        # The same as in the process, but in ours, which is much faster.
        write_all(Tree(str(root), 64 << 10, 20), io.BytesIO(broken))
    found = list(root.rglob("*"))
    assert len(found) <= 20
    assert sum(path.stat().st_size for path in found if path.is_file()) <= 64 << 10
    assert not any(path.is_symlink() for path in found)
