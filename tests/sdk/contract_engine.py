"""The tasks of the tests' small server: plain child processes, everything in memory."""

import asyncio
import contextlib
import os
import signal
import uuid
from datetime import UTC, datetime
from typing import Any

from litestar.exceptions import HTTPException

from taskyard.dialects.native.sizes import size_bytes

TERMINAL = {"succeeded", "failed", "dead", "cancelled", "expired"}
Json = dict[str, Any]
TASKS: dict[str, "Running"] = {}
KEYS: dict[str, str] = {}
GROUPS: dict[str, Json] = {}
TOKENS: dict[str, Json] = {}
USERS: dict[str, Json] = {}
SECRETS: dict[str, str] = {}
FAULTS: Json = {"cut_follow_bytes": [], "refuse": []}
JOBS: set[asyncio.Task[None]] = set()


def now() -> str:
    """The present instant as the API writes it."""
    return datetime.now(UTC).isoformat()


def problem(status: int, kind: str, detail: str, **more: Any) -> HTTPException:
    """An error that becomes a problem document."""
    return HTTPException(detail, status_code=status, extra={"type": f"about:blank#{kind}", **more})


class Running:
    """A task and its only, growing output."""

    def __init__(self, spec: Json, workspace: str) -> None:
        self.attempts: list[Json] = []
        self.output: list[dict[str, bytearray]] = []
        self.process: asyncio.subprocess.Process | None = None
        self.moved = asyncio.Condition()
        waits = "cron" in spec or "start_at" in spec or "start_in_s" in spec
        self.task: Json = {
            **spec,
            "id": str(uuid.uuid4()),
            "workspace": workspace,
            "state": "scheduled" if waits else "queued",
            "group": spec.get("group", "default"),
            "created_at": now(),
            "attempt_count": 0,
            "x_unknown_member": 1,
        }
        if isinstance(memory := spec.get("resources", {}).get("memory"), str):
            # Answered in bytes, whatever it was submitted as.
            self.task["resources"] = {
                **spec["resources"],
                "memory": size_bytes("resources.memory", memory, 0, 1 << 40),
            }
        if "cron" in spec:
            self.task["start_at"] = "2030-01-01T00:00:00Z"

    async def change(self, **members: Any) -> None:
        """Set members of the task and wake whoever waits."""
        async with self.moved:
            self.task |= members
            self.moved.notify_all()

    async def pump(self, stream: str, reader: asyncio.StreamReader) -> None:
        """Copy output until its end."""
        while data := await reader.read(65536):
            async with self.moved:
                self.output[-1][stream] += data
                self.moved.notify_all()

    async def run(self) -> None:
        """Try until it succeeds or the policy is exhausted."""
        most = self.task.get("retry", {}).get("max_attempts", 1)
        while True:
            await self.attempt()
            attempt = self.attempts[-1]
            if attempt["state"] == "succeeded":
                end = "succeeded"
            elif attempt["state"] == "killed":
                end = "cancelled"
            elif len(self.attempts) < most:
                end = "retrying"
            else:
                end = "dead" if most > 1 else "failed"
            members = {key: attempt[key] for key in ("reason", "message", "exit_code")}
            if end in TERMINAL:
                members["finished_at"] = now()
            attempt["task_state"] = end
            await self.change(state=end, **members)
            if end != "retrying":
                return
            await asyncio.sleep(0.05)

    async def attempt(self) -> None:
        """One attempt, from start to end."""
        self.output.append({"stdout": bytearray(), "stderr": bytearray()})
        attempt: Json = {
            "id": str(uuid.uuid4()),
            "task_id": self.task["id"],
            "number": len(self.attempts) + 1,
            "worker_id": "w1",
            "state": "running",
            "started_at": now(),
            "exit_code": None,
            "signal": None,
            "reason": None,
            "message": None,
        }
        self.attempts.append(attempt)
        await self.change(state="running", attempt_count=len(self.attempts))
        command = self.task["command"]
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        env = {k: v for k, v in self.task.get("env", {}).items() if isinstance(v, str)}
        try:
            self.process = await asyncio.create_subprocess_exec(
                *argv,
                env={"PATH": os.environ["PATH"], **env},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            attempt |= {"state": "failed", "reason": "start_failed", "message": str(error)}
            return
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(self.task.get("stdin", "").encode())
        process.stdin.close()
        pumps = asyncio.gather(
            self.pump("stdout", process.stdout), self.pump("stderr", process.stderr)
        )
        try:
            await asyncio.wait_for(process.wait(), self.task.get("timeout_s"))
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            attempt |= {"reason": "timeout", "message": "ran out of time"}
        code = await process.wait()
        await pumps
        attempt["finished_at"] = now()
        if code < 0:
            attempt["signal"] = signal.Signals(-code).name
            attempt["reason"] = attempt["reason"] or "signal"
        else:
            attempt["exit_code"] = code
            attempt["reason"] = attempt["reason"] or ("exit_code" if code else None)
        killed = self.task.get("kill_requested_at")
        attempt["state"] = "killed" if killed else "failed" if code else "succeeded"
        if killed:
            attempt["reason"] = "killed"
            attempt["kill_report"] = {
                "requested_at": killed,
                "done_at": now(),
                "signal": "SIGTERM",
                "method": "session",
                "survivors": [],
            }

    async def cancel(self, name: str) -> str:
        """Cancel; answers with the outcome."""
        if self.task["state"] in TERMINAL:
            return "ended"
        if self.process is None or self.task["state"] != "running":
            await self.change(state="cancelled", reason="killed", finished_at=now())
            return "cancelled"
        await self.change(kill_requested_at=now())
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.Signals[name])
        return "killing"
