"""The runtime's connection to its supervisor: finding one, starting one, sending and receiving."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

import taskyard
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.runtimes.command.messages import Event, HelloEvent, decode, encode
from taskyard.runtimes.command.protocol import MAX_LINE_BYTES, PROTOCOL, READY, SOCKET, TAKEN
from taskyard.runtimes.processes.environment import DEFAULT_PATH

_START_TIMEOUT_S: Final = 30.0
_HELLO_TIMEOUT_S: Final = 10.0
_TRIES: Final = 50
_BETWEEN_TRIES_S: Final = 0.1
_READ_BYTES: Final = 1 << 18


class SupervisorClient:
    """One open connection to a supervisor that has introduced itself."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hello: HelloEvent
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._begun = b""
        """The line that has come in part."""
        self.hello = hello

    async def send(self, data: bytes) -> None:
        """Send whole lines; returns when there is room for more. Raises ``ConnectionError``."""
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> list[Event]:
        """The next events, as many as have come; none once the supervisor is gone.

        Raises ``msgspec.MsgspecError`` for what no supervisor of this version says.
        """
        while True:
            try:
                data = await self._reader.read(_READ_BYTES)
            except ConnectionError:
                data = b""
            if not data or len(self._begun) > MAX_LINE_BYTES:
                return []
            *lines, self._begun = (self._begun + data).split(b"\n")
            if lines:
                return [decode(line) for line in lines]

    def close(self) -> None:
        """End the connection."""
        self._writer.close()


class SupervisorAddress:
    """A directory with a supervisor in it, or with room for one."""

    def __init__(self, directory: Path, *, use_cgroups: bool, linger_s: float) -> None:
        self._directory = directory
        self._use_cgroups = use_cgroups
        self._linger_s = linger_s

    async def connect(self) -> SupervisorClient:
        """Connect to the supervisor, starting one if there is none.

        Raises ``RuntimeUnavailable`` with the cause if neither can be done.
        """
        await anyio.to_thread.run_sync(self._make_directory)
        for _ in range(_TRIES):
            client = await self._try()
            if client is not None:
                return client
            if not await anyio.to_thread.run_sync(self._launch):
                # Another one is just starting, or just about to leave.
                await anyio.sleep(_BETWEEN_TRIES_S)
        raise RuntimeUnavailable(f"the supervisor in {self._directory} does not answer")

    def _make_directory(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise RuntimeUnavailable(f"{self._directory} cannot be made: {error}") from error

    async def _try(self) -> SupervisorClient | None:
        sock = self._socket()
        if sock is None:
            return None
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE_BYTES)
        try:
            with anyio.fail_after(_HELLO_TIMEOUT_S):
                writer.write(encode({"op": "hello", "listen": True}))
                await writer.drain()
                hello = await _receive(reader)
        except ConnectionError:
            hello = None
        except TimeoutError as error:
            writer.close()
            raise RuntimeUnavailable("the supervisor does not answer") from error
        if not isinstance(hello, HelloEvent):
            writer.close()
            return None
        if hello.protocol != PROTOCOL:
            writer.close()
            raise RuntimeUnavailable(
                f"the supervisor (process {hello.pid}) is of another version of Taskyard;"
                " it ends by itself once its commands have ended"
            )
        return SupervisorClient(reader, writer, hello)

    def _socket(self) -> socket.socket | None:
        """A connected socket; None if nobody listens."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # By way of a descriptor, because a socket's path may have no more than 107 bytes.
            folder = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
            try:
                sock.connect(f"/proc/self/fd/{folder}/{SOCKET}")
            finally:
                os.close(folder)
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None
        except OSError as error:
            sock.close()
            raise RuntimeUnavailable(f"cannot connect to the supervisor: {error}") from error
        sock.setblocking(False)
        return sock

    def _launch(self) -> bool:
        """Start a supervisor; False if there is another one. Blocks until it listens."""
        command = [sys.executable, "-P", "-m", "taskyard.runtimes.command.supervisor"]
        command += [str(self._directory), "--linger", str(self._linger_s)]
        if not self._use_cgroups:
            command.append("--no-cgroups")
        # Its own environment is small too: commands of the same user can read it.
        environment = {
            "PATH": DEFAULT_PATH,
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(Path(taskyard.__file__).parent.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter and module
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_START_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RuntimeUnavailable(f"the supervisor cannot be started: {error}") from error
        if done.returncode in {READY, TAKEN}:
            return done.returncode == READY
        complaint = done.stderr.decode(errors="replace").strip().splitlines()
        cause = complaint[-1] if complaint else f"see {self._directory / 'log'}"
        raise RuntimeUnavailable(f"the supervisor cannot be started: {cause}")


async def _receive(reader: asyncio.StreamReader) -> Event | None:
    try:
        line = await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return decode(line)
