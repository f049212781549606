"""One task with its attempts, its output on disk, and everything between the work and a reader."""

import json
from pathlib import Path
from typing import cast

import msgspec
from anyio.lowlevel import checkpoint

from taskyard.core import output_index
from taskyard.core.access.principals import Caller, Role
from taskyard.core.attempts import Attempt, Ended, StreamSize
from taskyard.core.changes import Change
from taskyard.core.errors import NotFound
from taskyard.core.ids import (
    AttemptId,
    GroupName,
    IncarnationId,
    LeaseToken,
    TaskId,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import Instant
from taskyard.core.output_index import STDERR, STDOUT, encode
from taskyard.core.resources import Resources
from taskyard.core.states import AttemptState, TaskState
from taskyard.core.tasks import Command, Task, TaskSpec
from taskyard.ports.logs import Stream
from taskyard.ports.store import TaskStore
from taskyard.services.notifications.bus import Bus
from taskyard.services.tasks.follow import Follow
from taskyard.services.tasks.logs import Logs
from taskyard.worker.output.log_files import LogFiles
from taskyard.worker.output.log_keeper import LogKeeper

MAIN = WorkspaceName("main")
TASK = TaskId("01988a00-0000-7000-8000-0000000000aa")
CALLER = Caller("token t", MAIN, Role.READ)
STRANGER = Caller("token s", WorkspaceName("elsewhere"), Role.ADMIN)


class StoreFake:
    """The part of the task store that readers of output use."""

    def __init__(self) -> None:
        self.tasks: dict[TaskId, Task] = {}
        self.all: dict[AttemptId, Attempt] = {}
        self.output: dict[tuple[AttemptId, str], bytes] = {}

    async def task(self, workspace: WorkspaceName, task_id: TaskId) -> Task:
        """See the port."""
        await checkpoint()
        task = self.tasks.get(task_id)
        if task is None or task.workspace != workspace:
            raise NotFound("task", task_id)
        return task

    async def attempts(self, workspace: WorkspaceName, task_id: TaskId) -> list[Attempt]:
        """See the port."""
        await self.task(workspace, task_id)
        return [attempt for attempt in self.all.values() if attempt.task_id == task_id]

    async def attempt(self, workspace: WorkspaceName, attempt_id: AttemptId) -> Attempt:
        """See the port."""
        await checkpoint()
        attempt = self.all.get(attempt_id)
        if attempt is None or attempt.workspace != workspace:
            raise NotFound("attempt", attempt_id)
        return attempt

    async def inline_output(self, attempt_id: AttemptId, stream: str) -> bytes | None:
        """See the port."""
        await checkpoint()
        return self.output.get((attempt_id, stream))


class LogWorld:
    """Plays the work, its runtime, its worker and the engine, step by step."""

    def __init__(
        self,
        root: Path,
        *,
        inline_limit_bytes: int = 64,
        compress_bytes: int = 200,
        limit: int = 1_000_000,
        ping_s: float = 15.0,
    ) -> None:
        self.root = root
        self.limit = limit
        self.store = StoreFake()
        self.bus = Bus()
        self.files = LogFiles(root, poll_s=0.001, idle_poll_s=0.001)
        self.keeper = LogKeeper(
            self.files, inline_limit_bytes=inline_limit_bytes, compress_bytes=compress_bytes
        )
        store = cast("TaskStore", self.store)
        self.logs = Logs(store, self.files)
        self.follow = Follow(store, self.files, self.bus, ping_s=ping_s)
        self.submit()

    def submit(self) -> None:
        """Store the task, waiting."""
        self.store.tasks[TASK] = Task(
            seq=1,
            id=TASK,
            workspace=MAIN,
            spec=TaskSpec(Command(argv=("true",))),
            state=TaskState.QUEUED,
            created_at=Instant(1),
        )

    def announce(self, state: TaskState) -> None:
        """Commit a state of the task and tell everybody."""
        task = msgspec.structs.replace(self.store.tasks[TASK], state=state)
        self.store.tasks[TASK] = task
        group = GroupName("default")
        self.bus.publish([Change("step", Instant(2), TASK, 1, MAIN, group, state)])

    def begin(self, number: int = 1) -> AttemptId:
        """Place and start an attempt."""
        attempt_id = AttemptId(f"01988a00-0000-7000-8000-{number:012d}")
        directory = self.root / attempt_id
        directory.mkdir()
        (directory / "meta.json").write_text(json.dumps({"log_limit_bytes": self.limit}))
        self.store.all[attempt_id] = Attempt(
            id=attempt_id,
            task_id=TASK,
            workspace=MAIN,
            number=number,
            worker_id=WorkerId("w1"),
            incarnation=IncarnationId("i1"),
            lease_token=LeaseToken("l1"),
            lease_expires_at=Instant(9),
            resources=Resources(),
            state=AttemptState.RUNNING,
            assigned_at=Instant(2),
        )
        self.announce(TaskState.RUNNING)
        return attempt_id

    def write(self, attempt_id: AttemptId, stream: Stream, data: bytes) -> None:
        """What the work does."""
        with (self.root / attempt_id / stream).open("ab") as file:
            file.write(data)

    def say(self, attempt_id: AttemptId, stream: Stream, data: bytes, at_us: int = 0) -> None:
        """The same, by way of a runtime that takes down the order."""
        self.write(attempt_id, stream, data)
        number = STDOUT if stream is Stream.STDOUT else STDERR
        with (self.root / attempt_id / output_index.FILE).open("ab") as file:
            file.write(encode(at_us, len(data), number))

    async def finish(self, attempt_id: AttemptId) -> Ended:
        """The work is over; its worker settles the output."""
        ended = Ended(
            attempt_id,
            LeaseToken("l1"),
            Instant(3),
            AttemptState.FAILED,
            exit_code=3,
            message="exited with code 3",
        )
        return await self.keeper.finish(attempt_id, ended)

    def commit(self, ended: Ended) -> None:
        """The engine stores the report with the inline_output output, in one transaction."""
        for stream, data in ended.inline_output.items():
            self.store.output[ended.attempt_id, stream] = data
        self.store.all[ended.attempt_id] = msgspec.structs.replace(
            self.store.all[ended.attempt_id],
            state=ended.state,
            exit_code=ended.exit_code,
            message=ended.message,
            stdout=ended.stdout,
            stderr=ended.stderr,
        )

    def lose(self, attempt_id: AttemptId) -> None:
        """The engine gives the attempt up; nobody reports sizes."""
        self.store.all[attempt_id] = msgspec.structs.replace(
            self.store.all[attempt_id], state=AttemptState.LOST, stdout=StreamSize()
        )
        self.announce(TaskState.FAILED)

    def compress(self, attempt_id: AttemptId) -> None:
        """What the keeper does in a thread."""
        output = self.files.output(attempt_id)
        if output is not None:
            for stream in Stream:
                output.compress(stream, lambda: False)
            output.compress_order(lambda: False)

    async def store_done(self, ended: Ended) -> None:
        """The keeper hears of the commit, and its cleaning has been."""
        await self.keeper.stored(ended)
        for attempt_id in self.keeper._removable:
            self.keeper._remove_all([attempt_id])
            self.files.forget(attempt_id)
        self.keeper._removable.clear()

    async def end(self, attempt_id: AttemptId, state: TaskState = TaskState.FAILED) -> Ended:
        """All steps of an end, in order."""
        ended = await self.finish(attempt_id)
        self.commit(ended)
        self.announce(state)
        await self.store_done(ended)
        return ended
