"""Versions that a worker builds for its calls: once for all who wait, and not again and again."""

from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from fakes.clock import VirtualClock
from fakes.held_calls import FUNCTION, VERSION, call
from taskyard.core.access.work_identity import SERVER, Identity, Sandbox
from taskyard.core.errors import Conflict, NotAllowed, StoreDamaged, TaskyardError, Unavailable
from taskyard.core.functions.functions import BuildState, FunctionId, Version
from taskyard.core.ids import WorkspaceName
from taskyard.ports.functions import BuildFailed
from taskyard.ports.runtime import Assignment
from taskyard.worker.fetched_versions import KEPT_BUILDS, REBUILD_PAUSE_S, FetchedVersions

pytestmark = pytest.mark.anyio

WS, ID = WorkspaceName("default"), FUNCTION


class Source:
    """Knows all versions; refuses calls that were taken away."""

    def __init__(self) -> None:
        self.state = BuildState.READY
        self.taken: set[str] = set()
        self.error: TaskyardError | None = None
        self.fetched = 0

    async def version(self, call: Assignment, number: int) -> Version:
        """One that is ready."""
        if call.attempt_id in self.taken:
            raise NotAllowed
        return replace(VERSION, number=number, state=self.state)

    async def bundle(self, call: Assignment, version: Version) -> bytes:
        """A source."""
        assert call.attempt_id not in self.taken
        del version
        self.fetched += 1
        if self.error is not None:
            raise self.error
        return b"source"


class Builder:
    """Builds when it is let."""

    def __init__(self) -> None:
        self.go = anyio.Event()
        self.go.set()
        self.failure: str | None = None
        self.begun: list[tuple[int, Identity]] = []
        self.there: list[int] = []

    async def open(self) -> None:
        """Nothing is left."""

    async def build(
        self,
        version: Version,
        bundle: bytes,
        say: Callable[[str], None],
        identity: Identity = SERVER,
        sandbox: Sandbox | None = None,
    ) -> None:
        """See the class."""
        assert (bundle, sandbox) == (b"source", None)
        say("seen")
        self.begun.append((version.number, identity))
        await self.go.wait()
        if self.failure is not None:
            raise BuildFailed(self.failure)
        self.there.append(version.number)

    async def is_built(self, version: Version) -> bool:
        """Whether it was."""
        return version.number in self.there

    async def built_here(self) -> dict[FunctionId, list[int]]:
        """All of them."""
        return {ID: list(self.there)}

    async def retire(self, function_id: FunctionId, numbers: Sequence[int]) -> None:
        """Not there any more."""
        assert function_id == ID
        self.there = [one for one in self.there if one not in numbers]


class World:
    """All that there is around it."""

    def __init__(self) -> None:
        self.source, self.builder, self.clock = Source(), Builder(), VirtualClock()
        self.calls: list[Assignment] = [call("a"), call("b")]
        self.in_use: set[int] = set()
        self.versions = FetchedVersions(self.source, self.builder, self.clock, 1)
        self.versions.serve(self)

    def waiting_for(
        self, workspace: WorkspaceName, function_id: FunctionId, number: int
    ) -> list[Assignment]:
        """The same of all."""
        assert (workspace, function_id) == (WS, ID)
        del number
        return self.calls

    def versions_in_use(self) -> frozenset[tuple[FunctionId, int]]:
        """Those of the test."""
        return frozenset((ID, one) for one in self.in_use)

    async def rebuild(self, number: int = 1) -> bool:
        """As a runtime asks for it."""
        return await self.versions.rebuild(WS, ID, number)


@pytest.fixture
def world() -> World:
    """One with two calls that wait."""
    return World()


async def test_one_build_does_for_all_who_wait(world: World) -> None:
    """Its failure, too; it runs as its calls do."""
    world.calls = [replace(world.calls[0], identity=Identity(7, 7))]
    world.builder.go = anyio.Event()
    answers: list[Any] = []

    async def ask() -> None:
        try:
            answers.append(await world.rebuild())
        except Conflict as error:
            answers.append(str(error))

    for failure, expected in ((None, True), ("bad", "bad")):
        world.builder.failure = failure
        world.builder.go = anyio.Event()
        answers.clear()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            world.builder.go.set()
        assert answers == [expected] * 3
    assert world.builder.begun == [(1, Identity(7, 7))] * 2


@pytest.mark.parametrize("damaged", [False, True])
async def test_what_cannot_be_built_is_left_alone_for_a_while(world: World, damaged: bool) -> None:
    """Its calls are told why; then it is tried again."""
    if damaged:
        world.source.error = StoreDamaged("bad")
    else:
        world.builder.failure = "bad"
    for _ in range(3):
        with pytest.raises(Conflict, match="bad"):
            await world.rebuild()
    assert world.source.fetched == 1
    world.builder.failure = world.source.error = None
    assert await world.rebuild(2)
    world.clock.advance(REBUILD_PAUSE_S)
    assert await world.rebuild()


async def test_trouble_that_passes_is_no_failure(world: World) -> None:
    """The next call tries at once."""
    world.source.error = Unavailable("away")
    with pytest.raises(Unavailable):
        await world.rebuild()
    world.source.error = None
    assert await world.rebuild()


async def test_calls_that_were_taken_away_do_not_harm_others(world: World) -> None:
    """Any that is still held will do; if none is, nothing is built."""
    world.source.taken = {"a"}
    assert await world.rebuild()
    world.source.taken = {"a", "b"}
    with pytest.raises(NotAllowed):
        await world.rebuild()
    world.calls = []
    assert not await world.rebuild()
    assert len(world.builder.begun) == 1


async def test_versions_that_have_no_build_are_not_built(world: World) -> None:
    """Neither one that control planes still build, nor one that they have retired."""
    for state in (BuildState.PENDING, BuildState.BUILDING, BuildState.RETIRED):
        world.source.state = state
        assert not await world.rebuild()
    assert world.builder.begun == []


async def test_old_builds_go_unless_they_are_used(world: World) -> None:
    """Not the one that was just built, either."""
    world.in_use = {2}
    for number in range(2, KEPT_BUILDS + 4):
        assert await world.rebuild(number)
    assert world.builder.there == [2, *range(4, KEPT_BUILDS + 4)]
    assert await world.rebuild(1)
    assert 1 in world.builder.there
