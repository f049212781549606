"""Any interleaving of create, delete, flush, run and kill shows legal snapshots only.

Every call to the list store stops before it begins and after it is done; the example says which of
those under way goes on next, and whether it fails there.
"""

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st
from list_world import KEY, ListWorld, listing, number_of

from fakes.engine import CALLER
from fakes.faults import Faults
from fakes.stores import FAST
from taskyard.core.errors import NotFound, Unavailable
from taskyard.core.lists import ListStatus
from taskyard.core.states import AttemptState
from taskyard.ports.store import TaskQuery


class Gates(Faults):
    """Stops each call twice; whoever lets it go says whether it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped: list[tuple[anyio.Event, list[bool]]] = []
        self.open = True

    async def call(self, name: str, method: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Do it between two stops."""
        if not self.open:
            await self._stop(f"{name} failed before")
        result = await method(*args)
        if not self.open:
            await self._stop(f"{name} failed after")
        return result

    async def _stop(self, message: str) -> None:
        event, fails = anyio.Event(), [False]
        self.stopped.append((event, fails))
        await event.wait()
        if fails[0]:
            raise Unavailable(message)

    def release(self, which: int, *, fails: bool) -> None:
        """Let one of those go on that are stopped."""
        if self.stopped:
            event, failing = self.stopped.pop(which % len(self.stopped))
            failing[0] = fails
            event.set()

    def release_all(self) -> None:
        """Stop nobody any more."""
        self.open = True
        while self.stopped:
            self.release(0, fails=False)


class Client:
    """Does what the example says, and remembers what was answered."""

    def __init__(self, world: ListWorld) -> None:
        self.world = world

    async def create(self, _which: int) -> None:
        """One more task, which every later look has to show."""
        await self.world.add()

    async def look(self, _which: int) -> None:
        """Checked against what was known when it was asked for."""
        await self.world.look()

    async def delete(self, which: int) -> None:
        """Take one back; once answered it is gone forever."""
        number = which % (max(self.world.answered, default=0) + 2)
        self.world.excused.add(number)
        await self.world.lists.withdraw(CALLER, KEY, number)
        self.world.gone.add(number)

    async def flush(self, which: int) -> None:
        """Take off at least what has been seen dispatched before."""
        seen = {n for n, one in self.world.before.items() if one is not ListStatus.QUEUED}
        self.world.excused |= set(range(1, 100))
        await self.world.lists.flush(CALLER, KEY, cancel=bool(which % 2))
        self.world.gone |= seen

    async def kill(self, which: int) -> None:
        """Kill one as another interface would, once that could have heard of it."""
        page = await self.world.store.tasks.list_tasks(TaskQuery(CALLER.workspace))
        known = [one for one in page.tasks if number_of(one) in self.world.answered]
        if known:
            task = known[which % len(known)]
            self.world.excused.add(number_of(task))
            await self.world.world.tasks.cancel(CALLER, [task.id])

    async def end(self, which: int) -> None:
        """A worker is done with something."""
        (worker,) = self.world.world.transport.workers.values()
        if worker.held:
            state = AttemptState.FAILED if which % 3 == 0 else AttemptState.SUCCEEDED
            await worker.end(list(worker.held)[which % len(worker.held)], state)

    async def tidy(self, _which: int) -> None:
        """Forget, and read again what is doubted."""
        await self.world.lists.tidy()


WORDS = ["create", "create", "look", "look", "delete", "flush", "kill", "end", "end", "tidy"]
GOES_ON = ["on"] * 8 + ["fails"]
steps = st.lists(
    st.tuples(st.sampled_from([*WORDS, *GOES_ON, *GOES_ON]), st.integers(0, 20)), max_size=60
)


async def quiet(world: ListWorld) -> None:
    """Let threads and tasks come to rest."""
    for _ in range(2):
        await anyio.sleep(0.0005)
        await world.world.complete()


async def play(directory: Path, script: list[tuple[str, int]]) -> None:
    """One example."""
    gates = Gates()
    async with listing(directory, gates) as world:
        await world.open()
        client = Client(world)

        async def do(word: str, which: int) -> None:
            try:
                await getattr(client, word)(which)
            except (Unavailable, NotFound):
                return

        gates.open = False
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for word, which in script:
                    if word in {"on", "fails"}:
                        gates.release(which, fails=word == "fails")
                    else:
                        tasks.start_soon(do, word, which)
                    await quiet(world)
                gates.release_all()
        await quiet(world)
        await world.lists.tidy()
        await quiet(world)
        now = await world.look()
        stored = await world.store.lists.entries(KEY)
        assert now == {one.number: one.status for one in stored}
        page = await world.store.tasks.list_tasks(TaskQuery(CALLER.workspace))
        for task in page.tasks:
            if task.state.value == "queued" and not task.attempt_count:
                assert number_of(task) in now, "what waits is listed"


@settings(max_examples=60)
@given(steps)
def test_any_interleaving_shows_legal_snapshots(script: list[tuple[str, int]]) -> None:
    """Ids ascend, statuses move forward, what is gone stays gone, what was answered is there."""
    with tempfile.TemporaryDirectory(dir=FAST) as directory:
        anyio.run(play, Path(directory), script)
