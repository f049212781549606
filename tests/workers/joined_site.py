"""A control plane on SQLite in this process, a real NATS, and workers in processes of their own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio

from eventually import eventually_async
from fakes.stores import threads_for_processes
from natsserver import NatsServer, nats_server
from taskyard.core.access.join_string import JoinAddress, JoinString
from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.attempts import Attempt
from taskyard.core.ids import WorkspaceName
from taskyard.core.tasks import Command, Task, TaskSpec
from taskyard.ports.dispatching import WorkerRecord
from taskyard.ports.logs import Stream
from taskyard.server.assemble import Node, assemble
from taskyard.server.settings import Settings

ME: Final = Caller("user me", WorkspaceName("default"), Role.ADMIN)
OPERATOR: Final = Caller("token ops", INSTALLATION, Role.ADMIN, installation=Role.ADMIN)
SOON_S: Final = 40.0
PLANES: Final = "planes"


class WorkerProcess:
    """``taskyard worker --join`` as a user starts it."""

    def __init__(self, join: JoinString, data: Path, *options: str) -> None:
        self.join = join
        self.data = data
        self.log = data.with_name(f"{data.name}.log")
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        program = Path(sys.executable).with_name("taskyard")
        command = [str(program), "worker", "--data", str(self.data), "--json", *self._options]
        environment = {
            "TASKYARD_JOIN": self.join.text,
            "TASKYARD_CONTAINER_ENGINE": "off",
            # So that what runs reaches the files of tests.
            "TASKYARD_WORK_USER": "server",
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data.parent,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The one that runs, or ran last."""
        assert self._process is not None
        return self._process

    def send(self, number: signal.Signals) -> None:
        """A signal for it."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, and wait for that."""
        self.process.kill()
        self.process.wait(SOON_S)

    def stop(self, *, within_s: float = SOON_S) -> int:
        """Have it end as it does at the end of its machine; answers with its exit code."""
        self.process.terminate()
        return self.process.wait(within_s)

    def close(self) -> None:
        """Leave nothing of it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            try:
                self.stop(within_s=15)
            except subprocess.TimeoutExpired:
                self.kill()

    def said(self) -> str:
        """What it has written."""
        return self.log.read_text(errors="replace")


class Site:
    """All of it."""

    def __init__(self, root: Path, node: Node, nats: NatsServer, stack: ExitStack) -> None:
        self.root = root
        self.node = node
        self.nats = nats
        self._stack = stack
        node.engine.worker_tokens.address = JoinAddress((nats.url,), _installation(root))

    async def worker(self, name: str, *options: str) -> WorkerProcess:
        """One with a credential of its own, which has joined."""
        process = await self.process(name, *options)
        process.start()
        await self.joined(process)
        return process

    async def process(self, name: str, *options: str) -> WorkerProcess:
        """The same, not started."""
        _, join = await self.node.engine.worker_tokens.create(OPERATOR, name)
        # Its secret is one that this NATS was configured with: nobody asks control planes here.
        known = JoinString(
            urls=join.urls, installation=join.installation, name=name, secret=f"secret-of-{name}"
        )
        made = WorkerProcess(known, self.root / f"of-{name}", *(options or ("--drain", "2s")))
        self._stack.callback(made.close)
        return made

    async def joined(self, process: WorkerProcess, not_as: str = "") -> WorkerRecord:
        """Wait until it has joined, as another life than this one."""

        async def look() -> WorkerRecord | None:
            for record, _ in self.node.engine.dispatch.workers():
                if record.id == process.join.name and record.incarnation != not_as:
                    return record
            assert process.process.poll() is None, process.said()
            return None

        found = await eventually_async(look, of=process.said, within_s=SOON_S)
        assert found is not None
        return found

    async def submit(self, *argv: str, **more: Any) -> Task:
        """A command."""
        spec = TaskSpec(work=Command(argv=argv), **more)
        task, _ = await self.node.engine.tasks.submit(ME, spec)
        return task

    async def task(self, task: Task) -> Task:
        """As it is now."""
        return await self.node.engine.tasks.get(ME, task.id)

    async def until(self, task: Task, *states: str) -> Task:
        """Wait until it is in one of these states."""

        async def look() -> Task:
            return await self.task(task)

        return await eventually_async(look, lambda now: now.state.value in states, within_s=SOON_S)

    async def cancel(self, task: Task) -> None:
        """Have it killed."""
        await self.node.engine.tasks.cancel(ME, [task.id])

    def copy_of(self, process: WorkerProcess) -> WorkerProcess:
        """Another one with the same join string, not started."""
        made = WorkerProcess(process.join, self.root / "copy", "--drain", "2s")
        self._stack.callback(made.close)
        return made

    async def attempts(self, task: Task) -> list[Attempt]:
        """At a task."""
        return await self.node.engine.tasks.attempts(ME, task.id)

    async def output(self, task: Task) -> bytes:
        """What its last attempt wrote."""
        attempt = (await self.attempts(task))[-1]
        found = await self.node.engine.logs.inline_output(attempt, Stream.STDOUT)
        assert found is not None
        return found


def _installation(root: Path) -> str:
    return (root / "plane-data" / "plane").read_text().strip()


def _config(root: Path, names: tuple[str, ...]) -> Path:
    """A NATS that lets planes do everything, and each worker what is its own."""
    installation = "*"
    users: list[dict[str, object]] = [{"user": PLANES, "password": "p"}]
    for name in names:
        allowed = {
            "publish": {
                "allow": [
                    f"taskyard.{installation}.engine.{name}.*",
                    f"taskyard.{installation}.plane.*.pieces",
                ]
            },
            "subscribe": {"allow": [f"taskyard.{installation}.worker.{name}.>"]},
            "allow_responses": True,
        }
        users.append({"user": name, "password": f"secret-of-{name}", "permissions": allowed})
    path = root / "nats.conf"
    path.write_text(json.dumps({"authorization": {"users": users}}))
    return path


@asynccontextmanager
async def joined_site(root: Path, *names: str) -> AsyncIterator[Site]:
    """A site where workers of these names may join; what the plane's own worker would run waits."""
    with (
        nats_server(root, "-c", str(_config(root, names))) as nats,
        ExitStack() as stack,
        threads_for_processes(),
    ):
        settings = Settings.load(
            None,
            {
                "data": root / "plane-data",
                "container_engine": "off",
                "workspaces_share_user": True,
                "nats": {"url": nats.url.replace("//", f"//{PLANES}:p@")},
            },
            {},
        )
        async with assemble(settings) as node:
            site = Site(root, node, nats, stack)
            await node.engine.workers.drain(OPERATOR, node.worker.worker_id)
            try:
                yield site
            finally:
                await anyio.to_thread.run_sync(stack.close)
