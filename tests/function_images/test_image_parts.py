"""Parts of the runtime for images that need no engine: output, sockets, requests, pins."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from taskyard.core.functions.functions import FunctionId
from taskyard.core.ids import WorkspaceName
from taskyard.core.output_index import decode
from taskyard.runtimes.engine.frames import STDERR, STDOUT
from taskyard.runtimes.function.images.captured_output import IDLE_BYTES, CapturedOutput
from taskyard.runtimes.function.images.instance import ImageInstance, prepare
from taskyard.runtimes.function.images.pins import Pin, read_pin, write_pin
from taskyard.runtimes.function.images.request import InstanceContext, creation
from taskyard.runtimes.function.instance import Answer, Instance
from taskyard.runtimes.function.limits import PoolKey, PoolLimits

pytestmark = pytest.mark.anyio


@pytest.fixture
def output(tmp_path: Path) -> CapturedOutput:
    """Open, and empty."""
    found = CapturedOutput(tmp_path)
    found.open()
    return found


async def test_little_output_is_collected_once(output: CapturedOutput) -> None:
    """And the files are empty behind it."""
    output.begin(1000)
    output.take(STDOUT, b"out")
    output.take(STDERR, b"err")
    collected = output.collected()
    assert collected is not None
    assert (collected["stdout"], collected["stderr"]) == (b"out", b"err")
    assert [one.stream for one in decode(collected["order"])] == [1, 2]
    assert output.collected() == {}
    output.take(STDOUT, b"more")
    assert output.collected() == {"stdout": b"more"}


async def test_much_output_stays_in_files(output: CapturedOutput, tmp_path: Path) -> None:
    """Up to the limit; what is beyond makes the file longer without filling it."""
    output.begin(20_000)
    output.take(STDOUT, b"x" * 30_000)
    assert output.collected() is None
    content = (tmp_path / "stdout").read_bytes()
    assert content == b"x" * 20_000 + bytes(10_000)


async def test_between_calls_little_is_kept(output: CapturedOutput, tmp_path: Path) -> None:
    """What comes then belongs to the next call; an idle program cannot fill the disk."""
    for _ in range(100):
        output.take(STDERR, b"y" * 10_000)
    assert (tmp_path / "stderr").stat().st_size == IDLE_BYTES
    output.begin(1 << 20)
    output.take(STDERR, b"z")
    assert (tmp_path / "stderr").read_bytes() == b"y" * IDLE_BYTES + b"z"


async def test_counts_are_waited_for(output: CapturedOutput) -> None:
    """Exactly so much since the container began; more is as good, and an end ends the wait."""
    output.begin(1000)
    output.take(STDOUT, b"ab")
    assert output.has((2, 0))
    assert not output.has((3, 0))
    async with anyio.create_task_group() as group:
        group.start_soon(output.settled, (3, 1))
        await anyio.wait_all_tasks_blocked()
        output.take(STDOUT, b"c")
        await anyio.wait_all_tasks_blocked()
        assert not group.cancel_scope.cancel_called
        output.take(STDERR, b"d")
    async with anyio.create_task_group() as group:
        group.start_soon(output.settled, (100, 0))
        await anyio.wait_all_tasks_blocked()
        output.finish()
    await output.settled(None)


async def test_last_words_are_the_end_of_both_streams(output: CapturedOutput) -> None:
    """For whoever has to find out why a program did not start."""
    output.take(STDOUT, b"starting\n")
    output.take(STDERR, b"no such table\n")
    assert output.last_words() == "starting\nno such table"


def key(**changes: Any) -> PoolKey:
    """A pool's key."""
    plain = {"cpu_millis": None, "memory_bytes": None, **changes}
    return PoolKey(WorkspaceName("w"), FunctionId("f"), 3, **plain)


def test_a_container_gets_what_it_needs_and_no_more() -> None:
    """No capabilities, no privileges, nothing of the machine but its socket's directory."""
    context = InstanceContext("i", None, "/data/run/1/sockets")
    body = creation("sha256:1", key(), PoolLimits(), context)
    host = body["HostConfig"]
    assert body["Image"] == "sha256:1"
    assert "TASKYARD_FUNCTION_SOCKET=/run/taskyard/socket" in body["Env"]
    assert body["Labels"]["taskyard.installation"] == "i"
    assert "NetworkMode" not in host
    assert host["CapDrop"] == ["ALL"]
    assert (host["SecurityOpt"], host["IpcMode"]) == (["no-new-privileges"], "private")
    assert host["PidsLimit"] > 0
    assert "User" not in body
    assert host["Memory"] == host["MemorySwap"] == 512 << 20
    (mount,) = host["Mounts"]
    assert (mount["Source"], mount["ReadOnly"]) == ("/data/run/1/sockets", True)
    narrow = InstanceContext("i", "none", "/", "1000:1000")
    held = key(cpu_millis=500, memory_bytes=1 << 20)
    limited = creation("sha256:1", held, PoolLimits(), narrow)
    assert limited["User"] == "1000:1000"
    host = limited["HostConfig"]
    assert (host["NanoCpus"], host["Memory"], host["NetworkMode"]) == (500_000_000, 1 << 20, "none")


def test_pins_are_files(tmp_path: Path) -> None:
    """What is written is read; the digest is the registry's if there is one."""
    pin = Pin("f:1", "sha256:aa", "registry.example/f@sha256:bb")
    write_pin(tmp_path / "f" / "1", pin)
    assert read_pin(tmp_path / "f" / "1") == pin
    assert pin.digest == "sha256:bb"
    assert Pin("f:1", "sha256:aa").digest == "sha256:aa"


class Witness:
    """Notes what an instance says."""

    def __init__(self) -> None:
        self.said: list[Answer] = []
        self.hung_up = anyio.Event()
        self.heard = anyio.Event()

    def hear(self, _instance: Instance, said: Answer, _payload: bytes) -> None:
        """A frame came."""
        self.said.append(said)
        self.heard.set()

    def lose(self, _instance: Instance) -> None:
        """The connection is over."""
        self.hung_up.set()


def made(directory: Path, witness: Witness, spawn: Callable[..., object]) -> ImageInstance:
    """An instance without a pool and a container."""
    nothing = cast("Any", None)
    return ImageInstance(nothing, 1, directory, nothing, witness.hear, witness.lose, 1000, spawn)


async def test_a_instance_takes_one_connection_however_long_its_path(tmp_path: Path) -> None:
    """Longer than the kernel's limit for paths of sockets; nobody else gets to the directory."""
    directory = tmp_path / ("d" * 120) / "1"
    prepare(directory)
    witness = Witness()
    descriptor = -1
    async with anyio.create_task_group() as group:
        instance = made(directory, witness, group.start_soon)
        instance.listen()
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (instance.sockets / "socket").stat().st_mode & 0o777 == 0o666
        with socket.socket(socket.AF_UNIX) as program:
            program.setblocking(False)
            try:
                descriptor = os.open(instance.sockets, os.O_PATH | os.O_DIRECTORY)
                path = f"/proc/self/fd/{descriptor}/socket"
                program.connect(path)
                program.send(b"\0\0\0\x0e\0\0\0\0" + b'{"ready":true}')
                with anyio.fail_after(20):
                    await witness.heard.wait()
                assert witness.said == [{"ready": True}]
                with socket.socket(socket.AF_UNIX) as other, pytest.raises(ConnectionRefusedError):
                    other.connect(path)
            finally:
                os.close(descriptor)
        with anyio.fail_after(20):
            await witness.hung_up.wait()


async def test_a_instance_that_nobody_connected_to_can_hang_up(tmp_path: Path) -> None:
    """It counts as lost then."""
    prepare(tmp_path / "1")
    witness = Witness()
    instance = made(tmp_path / "1", witness, cast("Any", None))
    instance.listen()
    instance.hang_up()
    assert witness.hung_up.is_set()
    assert instance.hung_up
