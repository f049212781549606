"""A runtime for functions that are images, with everything around it that a test needs."""

from pathlib import Path
from uuid import uuid4

from attempt_harness import CallHarness
from engines import RealEngine
from function_program import function_program
from registry import Registry
from taskyard.core.attempts import Ended
from taskyard.core.functions.functions import BuildState, FunctionId, Language, Version
from taskyard.core.ids import AttemptId
from taskyard.core.instants import Instant
from taskyard.runtimes.engine.settings import ContainerSettings
from taskyard.runtimes.function.images.builder import LocalImages
from taskyard.runtimes.function.images.runtime import ImageRuntime
from taskyard.runtimes.function.limits import PoolLimits
from taskyard.server.clock import SystemClock
from taskyard.worker.output.directories import AttemptDirectories
from taskyard.worker.output.result_files import ResultFiles

_LIMITS = PoolLimits()


class ImageWorld(CallHarness):
    """Pushes images, builds versions of them, calls them, and hears what becomes of the calls."""

    runtime: ImageRuntime

    timeout_s = 30.0
    is_image = True

    def __init__(
        self, root: Path, engine: RealEngine, images: Registry, limits: PoolLimits = _LIMITS
    ) -> None:
        super().__init__()
        self.root = root
        self.engine = engine
        self.images = images
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

    async def text(self, body: bytes | str = b"", **how: object) -> str:
        """What a call answered."""
        ended = await self.call(body, **how)
        assert ended.result is not None, ended
        assert ended.result.body is not None
        return ended.result.body.decode()

    def directory(self, attempt_id: AttemptId) -> Path:
        """Where an attempt's files are, if it has any."""
        return self.directories.path(attempt_id)

    def output(self, ended: Ended, stream: str = "stdout") -> bytes:
        """All that a call printed."""
        if ended.output_complete:
            return ended.inline_output.get(stream, b"")
        return (self.directory(ended.attempt_id) / stream).read_bytes()
