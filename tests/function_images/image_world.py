"""A runtime for functions that are images, with everything around it that a test needs."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import anyio

from engines import RealEngine
from eventually import eventually_async
from function_program import function_program
from registry import Registry
from taskyard.core.attempts import Ended, Progress, Started
from taskyard.core.functions.functions import BuildState, CallRequest, FunctionId, Language, Version
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.tasks import FunctionCall
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.runtimes.engine.settings import ContainerSettings
from taskyard.runtimes.function.images.builder import LocalImages
from taskyard.runtimes.function.images.runtime import ImageRuntime
from taskyard.runtimes.function.limits import PoolLimits
from taskyard.server.clock import SystemClock
from taskyard.worker.output.directories import AttemptDirectories
from taskyard.worker.output.result_files import ResultFiles

DEADLINE_S = 60.0
_LIMITS = PoolLimits()


class Ear:
    """A listener that can be waited on."""

    def __init__(self) -> None:
        self.starts: dict[AttemptId, list[Started]] = {}
        self.ends: dict[AttemptId, list[Ended]] = {}
        self.progressed: list[Progress] = []
        self._news = anyio.Event()

    def started(self, event: Started) -> None:
        """Keep it."""
        self.starts.setdefault(event.attempt_id, []).append(event)
        self._wake()

    def progress(self, event: Progress) -> None:
        """Keep it."""
        self.progressed.append(event)
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


class ImageWorld:
    """Pushes images, builds versions of them, calls them, and hears what becomes of the calls."""

    def __init__(
        self, root: Path, engine: RealEngine, images: Registry, limits: PoolLimits = _LIMITS
    ) -> None:
        self.root = root
        self.engine = engine
        self.images = images
        self.ear = Ear()
        self.directories = AttemptDirectories(root / "attempts")
        settings = ContainerSettings(engine=engine.url, network="none", sweep_s=0.5)
        self.builder = LocalImages(root / "functions", settings, 60.0)
        self.runtime = ImageRuntime(
            root / "functions", settings, SystemClock(), ResultFiles(root / "attempts"), limits
        )

    async def open(self) -> None:
        """Open the runtime."""
        await self.directories.open()
        await self.runtime.open(self.ear)

    async def close(self) -> None:
        """Close it; nothing of it is left."""
        await self.runtime.close()

    def push(self, *arguments: str, name: str = "", mark: str = "") -> str:
        """Offer an image with the program; its name."""
        name = name or f"fn-{uuid4().hex[:12]}"
        command = ("/program", *arguments)
        self.images.push(name, "latest", mark or name, program=function_program(), command=command)
        return f"{self.images.host}/{name}:latest"

    def version(self, image: str, *, name: str = "f", number: int = 1) -> Version:
        """A version to build."""
        return Version(
            function_id=FunctionId(name),
            number=number,
            state=BuildState.BUILDING,
            bundle="",
            size_bytes=0,
            language=Language.IMAGE,
            handler="",
            entry="handle",
            dependencies=(),
            created_at=Instant(0),
            image=image,
        )

    async def build(
        self, image: str, *, name: str = "f", number: int = 1, credentials: str | None = None
    ) -> tuple[str, str]:
        """Build a version; its digest and its log. Raises ``BuildFailed``."""
        lines: list[str] = []
        version = self.version(image, name=name, number=number)
        digest = await self.builder.build(version, credentials, lines.append)
        return digest, "\n".join(lines)

    def assignment(
        self,
        body: bytes | str = b"",
        *,
        name: str = "f",
        number: int = 1,
        timeout_s: float = 30.0,
        memory_bytes: int | None = None,
        log_limit_bytes: int = 1 << 20,
        request: CallRequest | None = None,
    ) -> Assignment:
        """A call, ready to be started."""
        content = body.encode() if isinstance(body, str) else body
        return Assignment(
            attempt_id=AttemptId(str(uuid4())),
            task_id=TaskId(str(uuid4())),
            workspace=WorkspaceName("default"),
            group="g",
            number=1,
            lease_token=LeaseToken("lease"),
            assigned_at=Instant(0),
            work=FunctionCall(
                function_id=FunctionId(name),
                function=name,
                version=number,
                request=request or CallRequest(body=content),
                image=True,
            ),
            resources=Resources(memory_bytes=memory_bytes),
            timeout_s=timeout_s,
            kill_signal="SIGTERM",
            kill_grace_s=0.2,
            log_limit_bytes=log_limit_bytes,
        )

    async def start(self, assignment: Assignment) -> None:
        """Begin a call."""
        await self.runtime.start(assignment, self.directory(assignment.attempt_id))

    async def ended(self, assignment: Assignment) -> Ended:
        """The end of a call, once it is there."""
        attempt_id = assignment.attempt_id
        await self.ear.until(lambda: attempt_id in self.ear.ends)
        (ended,) = self.ear.ends[attempt_id]
        await self.runtime.release([attempt_id])
        return ended

    async def call(self, body: bytes | str = b"", **how: object) -> Ended:
        """Call and wait for the end."""
        assignment = self.assignment(body, **how)  # type: ignore[arg-type]  # passed on
        await self.start(assignment)
        return await self.ended(assignment)

    async def text(self, body: bytes | str = b"", **how: object) -> str:
        """What a call answered."""
        ended = await self.call(body, **how)
        assert ended.result is not None, ended
        assert ended.result.body is not None
        return ended.result.body.decode()

    async def kill(self, assignment: Assignment, signal: str = "SIGTERM") -> None:
        """Order a kill."""
        order = KillOrder(assignment.attempt_id, assignment.lease_token, signal, 0.2)
        await self.runtime.kill(order)

    def directory(self, attempt_id: AttemptId) -> Path:
        """Where an attempt's files are, if it has any."""
        return self.directories.path(attempt_id)

    def output(self, ended: Ended, stream: str = "stdout") -> bytes:
        """All that a call printed."""
        if ended.output_complete:
            return ended.folded.get(stream, b"")
        return (self.directory(ended.attempt_id) / stream).read_bytes()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when something that nobody announces has happened."""
        await eventually_async(condition, within_s=DEADLINE_S)
