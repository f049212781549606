"""Deploying: versions, builds one after another, failures that change nothing, what comes after."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from eventually import eventually_async
from taskyard.core.access.principals import Caller, Role
from taskyard.core.access.work_identity import SERVER, Identity, Sandbox
from taskyard.core.attempts import Ended, Progress, Report, Started
from taskyard.core.errors import Conflict, InvalidInput, NotAllowed, NotFound, Overloaded
from taskyard.core.functions.functions import (
    BuildState,
    CallRequest,
    CallResult,
    Function,
    FunctionId,
    Language,
    Limits,
    Version,
)
from taskyard.core.ids import IncarnationId, WorkerId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState, TaskState
from taskyard.core.tasks import NewTask
from taskyard.ports.dispatching import Placement, WorkerRecord
from taskyard.ports.functions import BuildFailed
from taskyard.server.clock import SystemClock, SystemIds
from taskyard.services.functions.builds import BuildLimits
from taskyard.services.functions.calls import Calls, FunctionNotReady, FunctionPaused
from taskyard.services.functions.deployments import Deployment
from taskyard.services.functions.functions import Functions
from taskyard.services.functions.version_builder import ImagePuller
from taskyard.services.tasks.tasks import Tasks
from taskyard.store.sqlite.store import SqliteStore

pytestmark = pytest.mark.anyio

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

    async def set_group(self, _workspace: str, name: str, *, paused: bool) -> None:
        """A group's pause."""
        self.paused[name] = paused

    async def limits_changed(self) -> None:
        """The scheduler reads anew."""

    async def resolve(self, _workspace: str, names: list[str]) -> dict[str, str]:
        """Secrets that say their names twice, but for one that is not there."""
        if "none" in names:
            raise NotFound("secret", "none")
        return {name: name * 2 for name in names}

    def listen(self, _listener: object) -> None:
        """A bus that is silent."""


class World:
    """The service on a real store."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.builder = Builder()
        self.quiet = Quiet()
        anything = cast("Any", self.quiet)
        self.functions = Functions(
            store.functions,
            Bundles(),
            self.builder,
            cast("Tasks", None),
            store.tasks,
            anything,
            anything,
            anything,
            SystemClock(),
            ImagePuller(Images(), anything),
            BuildLimits(at_once=2),
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


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """See :func:`opened`."""
    async with opened(tmp_path) as world:
        yield world


async def test_a_failed_build_leaves_the_version_before_it_live(world: World) -> None:
    """And says why; its log is kept."""
    assert (await world.deploy()).state is BuildState.READY
    failed = await world.deploy(b"bad")
    assert (failed.state, failed.message) == (BuildState.FAILED, "it is bad")
    assert world.functions.find(ADA.workspace, "f").live_version == 1
    log = await world.functions.log(ADA, "f", 2)
    assert log.text == "seen\nfailed: it is bad\n"
    assert (await world.deploy()).number == 3
    assert world.functions.find(ADA.workspace, "f").live_version == 3


async def test_builds_of_one_function_follow_each_other(world: World) -> None:
    """However many are deployed at once; the last one is live in the end."""
    world.builder.go = anyio.Event()
    given = Deployment(bundle=b"x", language=Language.PYTHON)
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(world.functions.deploy, ADA, "f", given)
    world.builder.go.set()
    await world.functions.built(ADA, "f", 4, 30)
    assert world.builder.begun == [1, 2, 3, 4]
    assert world.functions.find(ADA.workspace, "f").live_version == 4


async def test_a_damaged_build_is_built_again(world: World) -> None:
    """Once, for all who ask at the same time; it stays ready and live, and so does another one."""
    first, second = await world.deploy(), await world.deploy()
    await world.functions.roll_back(ADA, "f")
    assert first.state is second.state is BuildState.READY
    world.builder.built.clear()
    world.builder.go = anyio.Event()
    answers: list[bool] = []

    async def ask() -> None:
        answers.append(await world.functions.rebuild(ADA.workspace, second.function_id, 2))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(ask)
            while len(world.builder.begun) < 3:
                await checkpoint()
            stored = await world.store.functions.version(ADA.workspace, second.function_id, 2)
            assert stored.state is BuildState.READY
            assert (await world.functions.version(ADA, "f", 2)).state is BuildState.BUILDING
            world.builder.go.set()
    assert answers == [True, True]
    assert world.builder.begun == [1, 2, 2]
    assert world.builder.built == {(second.function_id, 2)}
    assert world.functions.find(ADA.workspace, "f").live_version == 1
    log = await world.functions.log(ADA, "f", 2)
    assert log.text == "its files were missing or damaged: built again\nseen\nbuilt\n"
    with pytest.raises(NotFound):
        await world.functions.rebuild(BOB.workspace, second.function_id, 2)


async def test_a_build_that_cannot_be_built_again_has_failed(world: World) -> None:
    """And says so; it is tried again, but not by every call. It stays live."""
    version = await world.deploy()
    world.builder.built.clear()
    bundles = cast("Any", world.functions)._bundles.kept
    good = dict(bundles)
    bundles[version.bundle] = b"bad"
    rebuild = partial(world.functions.rebuild, ADA.workspace, version.function_id, 1)
    assert not await rebuild()
    assert not await rebuild()
    assert world.builder.begun == [1, 1]
    failed = await world.functions.version(ADA, "f", 1)
    assert failed.state is BuildState.FAILED
    assert failed.message == "its files were damaged, and it could not be built again: it is bad"
    assert world.functions.find(ADA.workspace, "f").live_version == 1
    bundles.update(good)
    world.functions._builds._not_before.clear()
    assert await rebuild()
    assert (await world.functions.version(ADA, "f", 1)).state is BuildState.READY


async def test_what_is_live_and_damaged_is_built_again_at_start(tmp_path: Path) -> None:
    """Before it is called; what is sound is left alone."""
    async with opened(tmp_path) as world:
        version = await world.deploy()
    async with opened(tmp_path) as world:
        bundles = cast("Any", world.functions)._bundles
        bundles.kept = {hashlib.sha256(b"x").hexdigest(): b"x"}
        await eventually_async(lambda: world.builder.built)
        assert world.builder.built == {(version.function_id, 1)}


async def test_one_workspace_does_not_keep_another_from_building(world: World) -> None:
    """Who has all places, and many builds waiting, costs the others nothing."""
    world.builder.go, world.builder.at_once_allowed = anyio.Event(), 3
    given = Deployment(bundle=b"x", language=Language.PYTHON)
    for number in range(5):
        await world.functions.deploy(ADA, f"f{number}", given)
    function, _ = await world.functions.deploy(BOB, "g", given)
    with anyio.fail_after(30):
        while world.builder.at_once < 3:
            await checkpoint()
    assert (await world.functions.version(BOB, "g", 1)).state is BuildState.BUILDING
    waiting = await world.functions.version(ADA, "f4", 1)
    assert waiting.state is BuildState.PENDING
    expected = "waiting for one of 2 places for builds: 3 under way, 2 of this workspace ahead"
    assert waiting.message == expected
    log = await world.functions.log(ADA, "f4", 1)
    assert (
        log.text
        == "waiting for one of 2 places for builds: 2 under way, 2 of this workspace ahead\n"
    )
    world.builder.go.set()
    assert (await world.functions.built(BOB, function.id, 1, 30)).message is None
    assert (await world.functions.built(ADA, "f4", 1, 30)).message is None


async def test_a_workspace_has_no_more_than_its_share_of_builds_waiting(world: World) -> None:
    """Beyond it nothing is stored; the others go on deploying, and so does it later on."""
    world.functions._builds._limits = BuildLimits(at_once=2, waiting=3)
    world.builder.go, world.builder.at_once_allowed = anyio.Event(), 3
    given = Deployment(bundle=b"x", language=Language.PYTHON)
    refused: list[Overloaded] = []

    async def deploy(number: int) -> None:
        try:
            await world.functions.deploy(ADA, f"f{number}", given)
        except Overloaded as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        for number in range(9):
            group.start_soon(deploy, number)
    # Those that came at once were let in before it was known that two of them need not wait.
    assert len(refused) == 9 - 3
    await deploy(10)
    await deploy(11)
    await deploy(12)
    assert len(refused) == 9 - 3 + 1
    assert str(refused[-1]).startswith("3 builds are waiting in this workspace, and 3 may")
    assert 1.0 <= refused[-1].retry_after_s <= 60.0
    assert len(await world.functions.page(ADA, None, 99)) == 5
    assert (await world.functions.deploy(BOB, "g", given))[1].number == 1
    world.builder.go.set()
    await world.functions.built(ADA, "f11", 1, 30)
    await deploy(12)
    assert len(refused) == 9 - 3 + 1


async def test_a_later_version_says_that_it_waits_for_the_earlier_one(world: World) -> None:
    """However many places there are."""
    world.builder.go = anyio.Event()
    given = Deployment(bundle=b"x", language=Language.PYTHON)
    for _ in range(2):
        await world.functions.deploy(ADA, "f", given)
    waiting = await world.functions.version(ADA, "f", 2)
    assert waiting.message == "waiting for the build of version 1 of this function"
    world.builder.go.set()
    assert (await world.functions.built(ADA, "f", 2, 30)).message is None


async def stored_build(world: World, monkeypatch: pytest.MonkeyPatch) -> anyio.Event:
    """Let a build be stored, and nobody hear of it before the event that is answered."""
    world.builder.go = anyio.Event()
    given = Deployment(bundle=b"x", language=Language.PYTHON)
    function, _ = await world.functions.deploy(ADA, "f", given)
    heard, read = anyio.Event(), world.store.functions.function

    async def late(workspace: WorkspaceName, key: str) -> Function:
        found = await read(workspace, key)
        await heard.wait()
        return found

    monkeypatch.setattr(world.store.functions, "function", late)
    world.builder.go.set()
    await eventually_async(
        lambda: world.store.functions.version(ADA.workspace, function.id, 1),
        lambda version: version.state is BuildState.READY,
    )
    return heard


async def test_a_build_has_succeeded_once_it_can_be_called(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not when its end is on disk, which is a little earlier."""
    heard = await stored_build(world, monkeypatch)
    early = await world.functions.version(ADA, "f", 1)
    assert (early.state, early.finished_at) == (BuildState.BUILDING, None)
    assert (await world.functions.versions(ADA, "f", None, 9)) == [early]
    assert world.functions.find(ADA.workspace, "f").live_version is None
    heard.set()
    assert (await world.functions.built(ADA, "f", 1, 30)).state is BuildState.READY
    assert world.functions.find(ADA.workspace, "f").live_version == 1


async def test_a_build_does_not_bring_a_deleted_function_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor an older state of a changed one."""
    heard = await stored_build(world, monkeypatch)
    function_id = world.functions.find(ADA.workspace, "f").id
    await world.functions.delete(ADA, "f")
    log = world.functions._builds.log(function_id, 1)
    assert log is not None
    heard.set()
    with anyio.fail_after(30):
        await log.finished.wait()
    with pytest.raises(NotFound):
        world.functions.find(ADA.workspace, "f")


async def test_a_build_that_was_cut_off_is_begun_anew(tmp_path: Path) -> None:
    """By the next process."""
    async with opened(tmp_path) as world:
        world.builder.go = anyio.Event()
        given = Deployment(bundle=b"x", language=Language.PYTHON)
        await world.functions.deploy(ADA, "f", given)
    async with opened(tmp_path) as world:
        world.functions._bundles.kept = {hashlib.sha256(b"x").hexdigest(): b"x"}  # type: ignore[attr-defined]  # of the fake
        await eventually_async(
            lambda: world.functions.find(ADA.workspace, "f").live_version is not None
        )


async def test_calls_are_bound_to_the_live_version(world: World) -> None:
    """With the function's limits; there has to be a version, and no pause."""
    with pytest.raises(NotFound):
        world.calls.prepare(ADA, "f", CallRequest())
    await world.deploy(b"bad", limits=Limits(timeout_s=3.0, memory_bytes=64 << 20))
    with pytest.raises(FunctionNotReady):
        world.calls.prepare(ADA, "f", CallRequest())
    await world.deploy()
    spec = world.calls.prepare(ADA, "f", CallRequest(body=b"x"))
    assert (spec.timeout_s, spec.resources.memory_bytes) == (3.0, 64 << 20)
    assert getattr(spec.work, "version", None) == 2
    with pytest.raises(NotFound):
        world.calls.prepare(BOB, "f", CallRequest())
    await world.functions.pause(ADA, "f", paused=True)
    assert world.quiet.paused == {spec.group: True}
    with pytest.raises(FunctionPaused):
        world.calls.prepare(ADA, "f", CallRequest())


async def test_rolling_back(world: World) -> None:
    """To a version that was built; to nothing else."""
    for content in (b"1", b"2", b"bad"):
        await world.deploy(content)
    assert (await world.functions.roll_back(ADA, "f")).live_version == 1
    with pytest.raises(Conflict):
        await world.functions.roll_back(ADA, "f")
    with pytest.raises(Conflict):
        await world.functions.roll_back(ADA, "f", 3)
    with pytest.raises(NotFound):
        await world.functions.roll_back(ADA, "f", 9)
    assert (await world.functions.roll_back(ADA, "f", 2)).live_version == 2


async def test_names_are_free_after_a_delete(world: World) -> None:
    """Restoring is refused while somebody else has the name."""
    await world.deploy()
    first = world.functions.find(ADA.workspace, "f").id
    await world.functions.delete(ADA, "f")
    with pytest.raises(NotFound):
        await world.functions.delete(ADA, "f")
    await world.deploy()
    with pytest.raises(Conflict):
        await world.functions.restore(ADA, first)
    await world.functions.delete(ADA, "f")
    with pytest.raises(NotFound):
        await world.functions.restore(BOB, first)
    assert (await world.functions.restore(ADA, first)).name == "f"
    assert world.functions.find(ADA.workspace, "f").id == first


async def test_old_builds_are_retired(world: World) -> None:
    """All but the newest few, and the live one."""
    for number in range(9):
        await world.deploy(str(number).encode())
    await eventually_async(lambda: len(world.builder.built) <= 5)
    versions = await world.functions.versions(ADA, "f", None, 20)
    assert {one.number for one in versions if one.state is BuildState.READY} == {5, 6, 7, 8, 9}


async def test_what_breaks_a_rule_is_refused(world: World) -> None:
    """Before anything is stored."""
    good = Deployment(bundle=b"x", language=Language.PYTHON)
    with pytest.raises(NotAllowed):
        await world.functions.deploy(READER, "f", good)
    wrong: list[tuple[str, Deployment]] = [
        ("a b", good),
        ("f", Deployment(bundle=b"", language=Language.PYTHON)),
        ("f", Deployment(bundle=b"x")),
        ("f", Deployment(bundle=b"x", language=Language.PYTHON, handler="../x")),
        ("f", Deployment(bundle=b"x", language=Language.PYTHON, entry="a.b")),
        ("f", Deployment(bundle=b"x", language=Language.PYTHON, dependencies=("--x",))),
        ("f", Deployment(bundle=b"x", language=Language.PYTHON, limits=Limits(timeout_s=0))),
    ]
    for name, deployment in wrong:
        with pytest.raises(InvalidInput):
            await world.functions.deploy(ADA, name, deployment)
    assert await world.functions.page(ADA, None, 10) == []


async def test_a_result_is_stored_with_the_end_and_goes_with_the_task(world: World) -> None:
    """Progress is kept too, and never goes back."""
    await world.deploy()
    ids, store, now = SystemIds(), world.store, Instant(1_000)
    spec = world.calls.prepare(ADA, "f", CallRequest())
    task = NewTask(ids.task(), ADA.workspace, spec, TaskState.QUEUED, now)
    (stored,) = await store.tasks.submit([task], "ada")
    worker, life = WorkerId("w"), IncarnationId("i")
    room = Capacity(9, 9_000, 1 << 40)
    await store.dispatch.join(WorkerRecord(worker, life, "h", "v", room, ("function",), now, now))
    lease, attempt_id = ids.lease(), ids.attempt()
    placement = Placement(task.id, stored.seq, attempt_id, lease, now, worker, life)
    await store.dispatch.place([placement], now)
    reports: list[Report] = [
        Started(attempt_id, lease, now),
        Progress(attempt_id, lease, now, 0.75, "most"),
        Progress(attempt_id, lease, now, 0.5, "less"),
    ]
    await store.dispatch.apply(reports, now, [0.5] * 3)
    attempt = await store.tasks.attempt(ADA.workspace, attempt_id)
    assert (attempt.progress, attempt.progress_text) == (0.75, "less")
    result = CallResult(201, (("a", "b"),), b"body", 4)
    ended = Ended(attempt_id, lease, now, AttemptState.SUCCEEDED, result=result)
    for _ in range(2):
        await store.dispatch.apply([ended], now, [0.5])
    assert await store.functions.result(ADA.workspace, task.id) == (attempt_id, result)
    with pytest.raises(NotFound):
        await store.functions.result(BOB.workspace, task.id)
    await store.tasks.delete(ADA.workspace, [task.id], now)
    left = await store.session.read(
        lambda c: c.execute("SELECT count(*) FROM call_results").fetchone()
    )
    assert left == (0,)
