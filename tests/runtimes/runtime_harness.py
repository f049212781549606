"""A command runtime with everything around it that a test needs."""

import os
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from attempt_harness import AttemptHarness
from eventually import eventually_async
from taskyard.core.attempts import Ended
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.tasks import Command
from taskyard.ports.runtime import Assignment
from taskyard.runtimes.command.runtime import CommandRuntime


class RuntimeHarness(AttemptHarness):
    """Starts commands and hears of them."""

    runtime: CommandRuntime

    def __init__(self, root: Path, *, use_cgroups: bool = True, linger_s: float = 0.2) -> None:
        super().__init__()
        self.root = root
        self._use_cgroups = use_cgroups
        self._linger_s = linger_s
        self.runtime = self._runtime()
        self._count = 0

    def _runtime(self) -> CommandRuntime:
        return CommandRuntime(
            self.root / "supervisor", use_cgroups=self._use_cgroups, linger_s=self._linger_s
        )

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
        return await self.begin(self.assignment(*argv, script=script, **changes))

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

    async def run(self, *argv: str, script: str | None = None, **changes: Any) -> Ended:
        """Start a command and wait for its end."""
        return await self.ended(await self.start(*argv, script=script, **changes))

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
