"""The services of functions on a real store, with builders that do as they are told."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
from anyio.lowlevel import checkpoint

from taskyard.core.access.principals import Caller, Role
from taskyard.core.access.work_identity import SERVER, Identity, Sandbox
from taskyard.core.errors import NotFound
from taskyard.core.functions.functions import (
    FunctionId,
    Language,
    Version,
)
from taskyard.core.ids import PlaneId, WorkspaceName
from taskyard.ports.clock import Clock
from taskyard.ports.functions import BuildFailed
from taskyard.server.clock import SystemClock
from taskyard.services.functions.builds import BuildLimits
from taskyard.services.functions.calls import Calls
from taskyard.services.functions.deployments import Deployment
from taskyard.services.functions.functions import Functions
from taskyard.services.functions.version_builder import ImagePuller
from taskyard.services.tasks.tasks import Tasks
from taskyard.store.sqlite.store import SqliteStore

ADA = Caller("ada", WorkspaceName("a"), Role.WRITE)
BOB = Caller("bob", WorkspaceName("b"), Role.WRITE)
READER = Caller("r", WorkspaceName("a"), Role.READ)


class Bundles:
    """Bundles in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def put(self, content: bytes) -> str:
        """Keep it."""
        name = hashlib.sha256(content).hexdigest()
        self.kept[name] = content
        return name

    async def get(self, bundle: str) -> bytes:
        """Find it."""
        return self.kept[bundle]

    async def keep_only(self, bundles: frozenset[str]) -> None:
        """Not asked for here."""


class Builder:
    """Builds when it is let; a bundle ``bad`` fails."""

    def __init__(self) -> None:
        self.go = anyio.Event()
        self.go.set()
        self.begun: list[int] = []
        self.at_once = 0
        self.at_once_allowed = 1
        self.built: set[tuple[FunctionId, int]] = set()

    async def open(self) -> None:
        """Nothing is left of an earlier life."""

    async def build(
        self,
        version: Version,
        bundle: bytes,
        say: Callable[[str], None],
        identity: Identity = SERVER,
        sandbox: Sandbox | None = None,
    ) -> None:
        """See the class."""
        assert identity == SERVER
        assert sandbox is None
        self.begun.append(version.number)
        self.at_once += 1
        assert self.at_once <= self.at_once_allowed
        try:
            await self.go.wait()
        finally:
            self.at_once -= 1
        say("seen")
        if bundle == b"bad":
            raise BuildFailed("it is bad")
        self.built.add((version.function_id, version.number))

    async def is_built(self, version: Version) -> bool:
        """Whether it was."""
        return (version.function_id, version.number) in self.built

    async def built_here(self) -> dict[FunctionId, list[int]]:
        """Those that it built."""
        found: dict[FunctionId, list[int]] = {}
        for function_id, number in self.built:
            found.setdefault(function_id, []).append(number)
        return found

    async def retire(self, function_id: FunctionId, numbers: Sequence[int]) -> None:
        """Forget them."""
        self.built -= {(function_id, number) for number in numbers}


class Images:
    """Has every image; its digest tells its name and who asked for it."""

    async def build(
        self, version: Version, credentials: str | None, say: Callable[[str], None]
    ) -> str:
        """See the class."""
        say("pulled")
        return f"{version.image} for {credentials}"

    async def is_built(self, _version: Version) -> bool:
        """All are."""
        return True


class Quiet:
    """Stands for services that only have to be told."""

    def __init__(self) -> None:
        self.paused: dict[str, bool] = {}
        self.heard: list[str] = []

    async def done(self, *words: object) -> None:
        """An audit entry."""
        self.heard.append(str(words[1]))

    def entry(self, *words: object, detail: str | None = None) -> None:
        """One that is stored along with what it tells."""
        del detail
        self.heard.append(str(words[1]))

    async def set_group(self, _workspace: str, name: str, *, paused: bool) -> None:
        """A group's pause."""
        self.paused[name] = paused

    async def limits_changed(self) -> None:
        """The scheduler reads again."""

    async def resolve(self, _workspace: str, names: list[str]) -> dict[str, str]:
        """Secrets that say their names twice, but for one that is not there."""
        if "none" in names:
            raise NotFound("secret", "none")
        return {name: name * 2 for name in names}

    def listen(self, _listener: object) -> None:
        """A bus that is silent."""

    def awaited_while(self, _waits: object) -> None:
        """Nobody reads faster for it."""

    def on_awaited(self) -> None:
        """As above."""

    def hear_own(self, _listener: object) -> None:
        """The same."""


class World:
    """The service on a real store."""

    def __init__(
        self,
        store: SqliteStore,
        *,
        bundles: Bundles | None = None,
        plane: PlaneId | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.store = store
        self.builder = Builder()
        self.quiet = Quiet()
        anything = cast("Any", self.quiet)
        self.functions = Functions(
            store.functions,
            bundles or Bundles(),
            self.builder,
            cast("Tasks", None),
            store.tasks,
            anything,
            anything,
            anything,
            clock or SystemClock(),
            ImagePuller(Images(), anything),
            BuildLimits(at_once=2),
            plane=plane,
        )
        self.calls = Calls(
            self.functions,
            cast("Tasks", None),
            store.functions,
            cast("Any", None),
            anything,
            SystemClock(),
        )

    async def deploy(self, content: bytes = b"x", **members: Any) -> Version:
        """Deploy ``f`` for Ada and wait for the build."""
        given = Deployment(bundle=content, language=Language.PYTHON, **members)
        function, version = await self.functions.deploy(ADA, "f", given)
        return await self.functions.built(ADA, function.id, version.number, 30)


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[World]:
    """A world whose builds run."""
    store = SqliteStore(directory)
    await store.open()
    try:
        world = World(store)
        await world.functions.load()
        async with anyio.create_task_group() as group:
            group.start_soon(world.functions.run)
            await checkpoint()
            yield world
            group.cancel_scope.cancel()
    finally:
        await store.close()
