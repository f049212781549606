"""The command runtime: hands attempts to a supervisor and reports what becomes of them."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec
import structlog

from taskyard.core.attempts import Ended, Started
from taskyard.core.backoff import Backoff
from taskyard.core.ids import AttemptId
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.runtime import Assignment, KillOrder, Listener
from taskyard.runtimes.command.cleaning import clean_all
from taskyard.runtimes.command.client import SupervisorAddress, SupervisorClient
from taskyard.runtimes.command.messages import (
    EndedEvent,
    Event,
    HelloEvent,
    StartedEvent,
    begin_line,
    command_of,
    encode,
    kill_line,
)
from taskyard.runtimes.command.workdirs import WorkDirectories

_log = structlog.get_logger(__name__)

_UNSENT_MAX_BYTES: Final = 8 * 1024 * 1024
_RETRY_MIN_S: Final = 0.05
_RETRY_MAX_S: Final = 2.0
_CLOSE_TIMEOUT_S: Final = 5.0
_CLEAN_AFTER_S: Final = 0.25


class _Held:
    """An attempt this runtime has to report on."""

    __slots__ = ("assignment", "begun", "directory", "ended", "order", "started")

    def __init__(self, assignment: Assignment, directory: Path, *, begun: bool) -> None:
        self.assignment = assignment
        self.directory = directory
        self.begun = begun
        """Whether it is known to have run; then it is never started (again)."""
        self.started = False
        """Whether ``started`` was reported."""
        self.ended = False
        self.order: KillOrder | None = None


class CommandRuntime:
    """Runs commands through a supervisor process. Implements the runtime port.

    Args:
        directory: Where the supervisor has its socket, lock and log; created if missing. One
            supervisor serves one directory.
        use_cgroups: False relies on sessions alone, as happens by itself without cgroups.
        linger_s: Seconds that an idle supervisor stays after the last client has gone.
        work_root: Where attempts have their working directories, by attempt id; inside the
            attempts' own directories when None.
    """

    uses_directory = True

    def __init__(
        self,
        directory: Path,
        *,
        use_cgroups: bool = True,
        linger_s: float = 5.0,
        work_root: Path | None = None,
    ) -> None:
        self._address = SupervisorAddress(
            directory.absolute(), use_cgroups=use_cgroups, linger_s=linger_s
        )
        self._work = None if work_root is None else WorkDirectories(str(work_root.absolute()))
        self._held: dict[AttemptId, _Held] = {}
        self._listener: Listener | None = None
        self._client: SupervisorClient | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._has_unsent = asyncio.Event()
        self._has_room = asyncio.Event()
        self._unclean: list[Path] = []
        self._has_unclean = asyncio.Event()
        self._has_room.set()
        self.supervisor: HelloEvent | None = None
        """Who the supervisor is and what it can enforce; None before :meth:`open`."""

    async def open(self, listener: Listener) -> None:
        """Find or start the supervisor. Raises ``RuntimeUnavailable``."""
        if self._keeper is not None:
            return
        if not await anyio.Path("/proc/self/stat").exists():
            raise RuntimeUnavailable("commands need a system with /proc, such as Linux")
        self._listener = listener
        client = await self._address.connect()
        self._attach(client)
        self._keeper = asyncio.create_task(self._keep(client), name="command runtime")

    def _attach(self, client: SupervisorClient) -> None:
        """Use a new connection, and tell its supervisor about everything held."""
        self.supervisor = client.hello
        self._take_unsent()
        for held in self._held.values():
            if not held.ended:
                self._unsent.append(
                    self._begin_line(held.assignment, held.directory, adopt=True, begun=held.begun)
                )
                if held.order is not None:
                    self._unsent.append(kill_line(held.order))
        self._has_unsent.set()
        self._client = client
        if client.hello.method != "cgroup":
            _log.warning("commands run without cgroups: no limits, kill by session")

    async def start(self, assignment: Assignment, directory: Path) -> None:
        """Begin an attempt; cheap, and many at once go to the supervisor in one piece."""
        await self._begin(assignment, directory, adopt=False, begun=False)

    async def adopt(self, assignment: Assignment, directory: Path, handle: dict[str, Any]) -> None:
        """Take over an attempt of an earlier incarnation."""
        await self._begin(assignment, directory, adopt=True, begun=bool(handle))

    async def _begin(
        self, assignment: Assignment, directory: Path, *, adopt: bool, begun: bool
    ) -> None:
        known = self._held.get(assignment.attempt_id)
        if known is None:
            place = directory
            stdin = command_of(assignment).stdin
            if stdin is not None:
                await anyio.to_thread.run_sync(_write_stdin, place, stdin)
            held = self._held[assignment.attempt_id] = _Held(assignment, place, begun=begun)
        else:
            # The same attempt under another lease; what was reported under the old one is moot.
            held = known
            held.assignment = assignment
            held.started = held.ended = False
            adopt, begun = True, begun or held.begun
        line = self._begin_line(assignment, held.directory, adopt=adopt, begun=begun)
        await self._put(line)

    def _begin_line(
        self, assignment: Assignment, directory: Path, *, adopt: bool, begun: bool
    ) -> bytes:
        work = None
        if self._work is not None:
            work = self._work.prepare(directory.name, assignment.identity.uid)
        return begin_line(assignment, directory, work, adopt=adopt, begun=begun)

    async def kill(self, order: KillOrder) -> None:
        """Have the supervisor kill an attempt."""
        held = self._held.get(order.attempt_id)
        if held is None or held.ended:
            return
        held.order = order
        await self._put(kill_line(order))

    async def keep_only(self, attempt_ids: frozenset[AttemptId]) -> None:
        """Kill everything the supervisor holds but these: what earlier incarnations left behind."""
        await self._put(encode({"op": "keep", "attempt_ids": sorted(attempt_ids)}))

    async def release(self, attempt_ids: Sequence[AttemptId]) -> None:
        """Forget ended attempts; their working directories are emptied soon.

        Their records stay until their directories go or are recycled.
        """
        for attempt_id in attempt_ids:
            held = self._held.pop(attempt_id, None)
            if held is not None:
                self._unclean.append(held.directory)
                await self._put(encode({"op": "release", "attempt_id": attempt_id}))
        self._has_unclean.set()

    async def _clean(self) -> None:
        """Empty working directories of attempts whose own directories stay.

        Most go as a whole meanwhile; waiting for that saves the work, and a trip to a thread each.
        """
        while True:
            await self._has_unclean.wait()
            await anyio.sleep(_CLEAN_AFTER_S)
            self._has_unclean.clear()
            await self._clean_now()

    async def _clean_now(self) -> None:
        directories, self._unclean = self._unclean, []
        try:
            if directories:
                clean_work = None if self._work is None else self._work.clean
                await anyio.to_thread.run_sync(clean_all, directories, clean_work)
        except Exception:  # noqa: BLE001 - what is left goes with the attempt's directory
            _log.exception("cleaning up failed")

    async def close(self) -> None:
        """Let go of the supervisor, which goes on alone with whatever runs."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        with anyio.move_on_after(_CLOSE_TIMEOUT_S):
            await self._flush()
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        await self._clean_now()
        self._held.clear()

    async def _put(self, line: bytes) -> None:
        """Send a line soon. Without a supervisor nothing is kept: the next gets everything."""
        if self._client is None:
            return
        await self._has_room.wait()
        self._unsent.append(line)
        self._unsent_bytes += len(line)
        self._has_unsent.set()
        if self._unsent_bytes > _UNSENT_MAX_BYTES:
            self._has_room.clear()

    def _take_unsent(self) -> bytes:
        data = b"".join(self._unsent)
        self._unsent.clear()
        self._unsent_bytes = 0
        self._has_unsent.clear()
        self._has_room.set()
        return data

    async def _flush(self) -> None:
        if self._client is not None and self._unsent:
            with contextlib.suppress(ConnectionError):
                await self._client.send(self._take_unsent())

    async def _keep(self, client: SupervisorClient | None) -> None:
        """Talk to the supervisor; start another whenever it is gone."""
        backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S)
        while True:
            try:
                if client is None:
                    client = await self._address.connect()
                    self._attach(client)
                    _log.info("connected to the supervisor again", pid=client.hello.pid)
                backoff.reset()
                await self._talk(client)
                _log.warning("the supervisor is gone; starting another one")
            except RuntimeUnavailable as error:
                _log.error("no supervisor", error=str(error), retry_in_s=backoff.next_s)
                await anyio.sleep(backoff.delay_s())
            except Exception:  # noqa: BLE001 - top of the loop: nothing may end it but close
                _log.exception("talking to the supervisor failed", retry_in_s=backoff.next_s)
                await anyio.sleep(backoff.next_s)
            client = None

    async def _talk(self, client: SupervisorClient) -> None:
        """Serve one connection until it ends."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._send, client)
                group.start_soon(self._clean)
                while events := await self._receive(client):
                    for event in events:
                        self._hear(event)
                group.cancel_scope.cancel()
        finally:
            self._client = None
            self._has_room.set()
            client.close()

    async def _send(self, client: SupervisorClient) -> None:
        while True:
            await self._has_unsent.wait()
            try:
                await client.send(self._take_unsent())
            except ConnectionError:
                # The receiving side sees the same, and ends the connection for both.
                return

    async def _receive(self, client: SupervisorClient) -> list[Event]:
        try:
            return await client.receive()
        except msgspec.MsgspecError as error:
            raise RuntimeUnavailable(f"the supervisor does not make sense: {error}") from error

    def _hear(self, event: Event) -> None:
        if isinstance(event, StartedEvent):
            held = self._held.get(event.attempt_id)
            if held is not None and not held.started and not held.ended:
                held.started = held.begun = True
                self._report(held.assignment, event)
        elif isinstance(event, EndedEvent):
            held = self._held.get(event.attempt_id)
            if held is not None and not held.ended:
                held.ended = True
                self._report(held.assignment, event)

    def _report(self, assignment: Assignment, event: StartedEvent | EndedEvent) -> None:
        listener = self._listener
        if listener is None:
            return
        lease = assignment.lease_token
        if isinstance(event, StartedEvent):
            listener.started(Started(event.attempt_id, lease, event.at, event.handle))
        else:
            ended: Ended = event.ended.report(event.attempt_id, lease)
            listener.ended(ended)


def _write_stdin(directory: Path, text: str) -> None:
    path = directory / "stdin"
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
