"""A command runtime with everything around it that a test needs."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import msgspec
import pytest

from eventually import eventually_async
from taskyard.core.attempts import Ended, KillReport, Started
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.tasks import Command
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.runtimes.command.runtime import CommandRuntime

DEADLINE_S = 20.0


class Ear:
    """A listener that can be waited on."""

    def __init__(self) -> None:
        self.starts: dict[AttemptId, list[Started]] = {}
        self.ends: dict[AttemptId, list[Ended]] = {}
        self._news = anyio.Event()

    def started(self, event: Started) -> None:
        """Keep it."""
        self.starts.setdefault(event.attempt_id, []).append(event)
        self._wake()

    def ended(self, event: Ended) -> None:
        """Keep it."""
        self.ends.setdefault(event.attempt_id, []).append(event)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when a condition on what was heard holds."""
        with anyio.fail_after(DEADLINE_S):
            while not condition():
                await self._news.wait()


class RuntimeHarness:
    """Starts commands and hears of them."""

    def __init__(self, root: Path, *, use_cgroups: bool = True, linger_s: float = 0.2) -> None:
        self.root = root
        self.ear = Ear()
        self._use_cgroups = use_cgroups
        self._linger_s = linger_s
        self.runtime = self._runtime()
        self._count = 0

    def _runtime(self) -> CommandRuntime:
        return CommandRuntime(
            self.root / "supervisor", use_cgroups=self._use_cgroups, linger_s=self._linger_s
        )

    async def open(self) -> None:
        """Open the runtime."""
        await self.runtime.open(self.ear)

    async def reopen(self) -> None:
        """Let another runtime take the place of this one, as after a restart."""
        await self.runtime.close()
        self.ear = Ear()
        self.runtime = self._runtime()
        await self.open()

    async def close(self) -> None:
        """Kill everything and close; the supervisor ends by itself."""
        await self.runtime.keep_only(frozenset())
        await self.runtime.close()

    def need_cgroups(self) -> None:
        """Skip the test where there are none, but never under CI."""
        hello = self.runtime.supervisor
        assert hello is not None
        if hello.method != "cgroup" and os.environ.get("CI") != "true":
            pytest.skip("needs writable cgroups")
        assert hello.method == "cgroup"

    @property
    def supervisor_pid(self) -> int:
        """The process id of the supervisor."""
        assert self.runtime.supervisor is not None
        return self.runtime.supervisor.pid

    def directory(self, attempt_id: str) -> Path:
        """Where an attempt lives."""
        return self.root / "attempts" / attempt_id

    def assignment(self, *argv: str, script: str | None = None, **changes: Any) -> Assignment:
        """An assignment; changes go to the command or to the assignment, wherever they fit."""
        self._count += 1
        of_command = {name: changes.pop(name) for name in list(changes) if name in _OF_COMMAND}
        plain = Assignment(
            attempt_id=AttemptId(str(uuid4())),
            task_id=TaskId("task"),
            workspace=WorkspaceName("default"),
            group="group",
            number=1,
            lease_token=LeaseToken(f"lease-{self._count}"),
            assigned_at=Instant(0),
            work=Command(argv=argv, shell=script, **of_command),
            resources=Resources(),
            timeout_s=None,
            kill_signal="SIGTERM",
            kill_grace_s=5.0,
            log_limit_bytes=1 << 20,
        )
        return msgspec.structs.replace(plain, **changes)

    async def start(self, *argv: str, script: str | None = None, **changes: Any) -> Assignment:
        """Start a command."""
        assignment = self.assignment(*argv, script=script, **changes)
        directory = anyio.Path(self.directory(assignment.attempt_id))
        await directory.mkdir(parents=True)
        await self.runtime.start(assignment, Path(directory))
        return assignment

    async def started(self, assignment: Assignment) -> Started:
        """Wait until it runs."""
        attempt_id = assignment.attempt_id
        await self.ear.until(lambda: attempt_id in self.ear.starts or attempt_id in self.ear.ends)
        return self.ear.starts[attempt_id][0]

    async def started_in_sandbox(self, assignment: Assignment) -> None:
        """Wait until it runs; skip the test without bubblewrap, but never under CI."""
        attempt_id = assignment.attempt_id
        await self.ear.until(lambda: attempt_id in self.ear.starts or attempt_id in self.ear.ends)
        if attempt_id not in self.ear.starts:
            message = self.ear.ends[attempt_id][0].message
            assert message is not None
            assert "bubblewrap" in message
            if os.environ.get("CI") == "true":
                pytest.fail("needs bubblewrap")
            pytest.skip("needs bubblewrap")

    async def ended(self, assignment: Assignment) -> Ended:
        """Wait until it is over."""
        attempt_id = assignment.attempt_id
        await self.ear.until(lambda: attempt_id in self.ear.ends)
        return self.ear.ends[attempt_id][0]

    async def run(self, *argv: str, script: str | None = None, **changes: Any) -> Ended:
        """Start a command and wait for its end."""
        return await self.ended(await self.start(*argv, script=script, **changes))

    async def output(self, attempt: Assignment | Ended, stream: str = "stdout") -> bytes:
        """What it has written so far."""
        path = anyio.Path(self.directory(attempt.attempt_id) / stream)
        return await path.read_bytes() if await path.exists() else b""

    async def has_written(self, assignment: Assignment, text: bytes) -> bytes:
        """Wait until its output contains something; answers with all of it."""

        async def look() -> bytes:
            path = anyio.Path(self.directory(assignment.attempt_id) / "stdout")
            return await path.read_bytes() if await path.exists() else b""

        return await eventually_async(look, lambda data: text in data, within_s=DEADLINE_S)

    async def kill(
        self, assignment: Assignment, name: str = "SIGKILL", grace_s: float = 0.0
    ) -> KillReport:
        """Kill it and wait for the proof."""
        await self.order(assignment, name, grace_s)
        report = (await self.ended(assignment)).kill_report
        assert report is not None
        return report

    async def order(self, assignment: Assignment, name: str, grace_s: float) -> None:
        """Ask for the kill."""
        order = KillOrder(assignment.attempt_id, assignment.lease_token, name, grace_s)
        await self.runtime.kill(order)

    async def adopt(self, assignment: Assignment, handle: dict[str, Any]) -> None:
        """Have the present runtime take over an attempt."""
        directory = self.directory(assignment.attempt_id)
        await self.runtime.adopt(assignment, directory, handle)

    async def slay_supervisor(self) -> None:
        """Kill the supervisor at once."""
        pid = self.supervisor_pid
        os.kill(pid, signal.SIGKILL)
        await eventually_async(lambda: self.supervisor_pid != pid)


_OF_COMMAND = frozenset({"env", "cwd", "stdin", "user", "isolate", "network", "merge_output"})


def alive(pid: int) -> bool:
    """Whether a process exists and is not just waiting to be buried."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}
