"""A function runtime with everything around it that a test needs."""

import io
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import anyio

from taskyard.core.access.work_identity import SERVER, Identity, Sandbox
from taskyard.core.attempts import Ended, Progress, Started
from taskyard.core.functions.functions import BuildState, CallRequest, FunctionId, Language, Version
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.tasks import FunctionCall
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.runtimes.function.building import LocalBuilder
from taskyard.runtimes.function.limits import PoolLimits
from taskyard.runtimes.function.runtime import FunctionRuntime
from taskyard.server.clock import SystemClock
from taskyard.worker.output.directories import AttemptDirectories
from taskyard.worker.output.result_files import ResultFiles

DEADLINE_S = 30.0
_LIMITS = PoolLimits()


class Ear:
    """A listener that can be waited on."""

    def __init__(self) -> None:
        self.starts: dict[AttemptId, list[Started]] = {}
        self.ends: dict[AttemptId, list[Ended]] = {}
        self.progressed: dict[AttemptId, list[Progress]] = {}
        self._news = anyio.Event()

    def started(self, event: Started) -> None:
        """Keep it."""
        self.starts.setdefault(event.attempt_id, []).append(event)
        self._wake()

    def progress(self, event: Progress) -> None:
        """Keep it."""
        self.progressed.setdefault(event.attempt_id, []).append(event)
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


class FunctionWorld:
    """Builds functions, calls them, and hears what becomes of the calls."""

    def __init__(
        self,
        root: Path,
        *,
        use_cgroups: bool = True,
        limits: PoolLimits = _LIMITS,
        identity: Identity = SERVER,
        sandbox: Sandbox | None = None,
    ) -> None:
        self.identity = identity
        self.sandbox = sandbox
        self.root = root
        self.ear = Ear()
        self.directories = AttemptDirectories(root / "attempts")
        self.results = ResultFiles(root / "attempts")
        self.builder = LocalBuilder(root / "functions", 240.0, use_cgroups=use_cgroups)
        self.runtime = FunctionRuntime(
            root / "functions",
            SystemClock(),
            self.results,
            limits,
            other_users=identity.uid is not None,
            use_cgroups=use_cgroups,
        )
        self.log: list[str] = []
        """Lines of the build that was last."""

    async def open(self) -> None:
        """Open the runtime."""
        await self.directories.open()
        await self.runtime.open(self.ear)

    async def close(self) -> None:
        """Close it; nothing of it is left."""
        await self.runtime.close()

    async def build(
        self,
        source: str | dict[str, str],
        *,
        name: str = "f",
        number: int = 1,
        language: Language = Language.PYTHON,
        dependencies: tuple[str, ...] = (),
    ) -> str:
        """Build a version; answers with its log. Raises ``BuildFailed``."""
        bundle = textwrap.dedent(source).encode() if isinstance(source, str) else zip_of(source)
        return await self.build_bundle(
            bundle, language, name=name, number=number, dependencies=dependencies
        )

    async def build_bundle(
        self,
        bundle: bytes,
        language: Language,
        *,
        name: str = "f",
        number: int = 1,
        dependencies: tuple[str, ...] = (),
    ) -> str:
        """The same for what is a bundle already."""
        self.log = []
        version = Version(
            function_id=FunctionId(name),
            number=number,
            state=BuildState.BUILDING,
            bundle="",
            size_bytes=len(bundle),
            language=language,
            handler="",
            entry="handle",
            dependencies=dependencies,
            created_at=Instant(0),
        )
        await self.builder.build(version, bundle, self.log.append, self.identity, self.sandbox)
        return "\n".join(self.log)

    def assignment(
        self,
        body: bytes | str = b"",
        *,
        name: str = "f",
        number: int = 1,
        timeout_s: float = 10.0,
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
            ),
            resources=Resources(memory_bytes=memory_bytes),
            timeout_s=timeout_s,
            kill_signal="SIGTERM",
            kill_grace_s=0.2,
            log_limit_bytes=log_limit_bytes,
            identity=self.identity,
            sandbox=self.sandbox,
        )

    async def start(self, assignment: Assignment) -> None:
        """Begin a call."""
        path = self.directories.path(assignment.attempt_id)
        await self.runtime.start(assignment, path)

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

    async def output(self, ended: Ended, stream: str) -> bytes:
        """What a call printed, wherever it is: calls that take their time have it in files."""
        if ended.output_complete:
            return ended.folded.get(stream, b"")
        path = self.directories.path(ended.attempt_id) / stream
        return await anyio.Path(path).read_bytes()

    async def kill(self, assignment: Assignment, signal: str = "SIGTERM") -> None:
        """Order a kill."""
        order = KillOrder(assignment.attempt_id, assignment.lease_token, signal, 0.2)
        await self.runtime.kill(order)


def zip_of(files: dict[str, str]) -> bytes:
    """A zip archive of text files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, textwrap.dedent(text))
    return buffer.getvalue()
