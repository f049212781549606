"""A function runtime with everything around it that a test needs."""

import io
import os
import textwrap
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from attempt_harness import CallHarness
from taskyard.core.access.work_identity import SERVER, Identity, Sandbox
from taskyard.core.attempts import Ended
from taskyard.core.functions.functions import BuildState, FunctionId, Language, Version
from taskyard.core.instants import Instant
from taskyard.ports.runtime import Assignment
from taskyard.runtimes.function.building import LocalBuilder
from taskyard.runtimes.function.limits import PoolLimits
from taskyard.runtimes.function.runtime import FunctionRuntime
from taskyard.server.clock import SystemClock
from taskyard.worker.output.directories import AttemptDirectories
from taskyard.worker.output.result_files import ResultFiles

_LIMITS = PoolLimits()


class FunctionWorld(CallHarness):
    """Builds functions, calls them, and hears what becomes of the calls."""

    runtime: FunctionRuntime

    def __init__(
        self,
        root: Path,
        *,
        use_cgroups: bool = True,
        limits: PoolLimits = _LIMITS,
        identity: Identity = SERVER,
        sandbox: Sandbox | None = None,
    ) -> None:
        super().__init__()
        self.identity = identity
        self.sandbox = sandbox
        self.root = root
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

    def assignment(self, body: bytes | str = b"", **how: Any) -> Assignment:
        """A call, ready to be started, by the user and in the sandbox of this place."""
        plain = super().assignment(body, **how)
        return msgspec.structs.replace(plain, identity=self.identity, sandbox=self.sandbox)

    async def output(self, ended: Ended, stream: str) -> bytes:
        """What a call printed, wherever it is: calls that take their time have it in files."""
        if ended.output_complete:
            return ended.inline_output.get(stream, b"")
        path = anyio.Path(self.directories.path(ended.attempt_id) / stream)
        return await path.read_bytes() if await path.exists() else b""


@asynccontextmanager
async def opened(
    root: Path, *, method: str | None = None, identity: Identity = SERVER
) -> AsyncIterator[FunctionWorld]:
    """An open runtime; nothing of it is left at the end.

    ``method`` is how its trees are held together: ``cgroup``, which skips the test where there are
    none but never under CI, or ``session``; the best that the machine offers when None.
    """
    world = FunctionWorld(root, use_cgroups=method != "session", identity=identity)
    await world.open()
    try:
        if method == "cgroup" and world.runtime.process_trees.base is None:
            assert os.environ.get("CI") != "true", "no writable cgroups here"
            pytest.skip("no writable cgroups here")
        yield world
    finally:
        await world.close()


def zip_of(files: dict[str, str]) -> bytes:
    """A zip archive of text files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, textwrap.dedent(text))
    return buffer.getvalue()
