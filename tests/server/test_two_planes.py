"""What one control plane does is seen on the other, however messages between them fare."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import anyio.to_thread
import pytest
from msgspec.structs import replace
from two_planes import ME, OPERATOR, TwoPlanes, faulty, lost, once, two_planes

from eventually import eventually_async
from taskyard.core.access.principals import Credential, Role
from taskyard.core.changes import Change
from taskyard.core.errors import NotAuthenticated, NotFound, Overloaded, Unavailable
from taskyard.core.functions.functions import (
    BuildState,
    CallRequest,
    Function,
    FunctionId,
    Language,
)
from taskyard.core.functions.invocations import CallOrigin
from taskyard.core.ids import GroupName, TaskId
from taskyard.core.instants import after
from taskyard.core.jobs import JobDefinition, JobKey
from taskyard.core.lists import ListKey
from taskyard.core.states import TERMINAL, TaskState
from taskyard.core.tasks import Command, TaskSpec
from taskyard.server.assemble import Node
from taskyard.services.functions.deployments import Deployment
from taskyard.store.postgres import change_log

pytestmark = pytest.mark.anyio
SOON_S = 1.5
"""Also without any message: planes look twice a second."""
FAULTS = {"sound": once, "lost": lost, "faulty": faulty()}


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture(params=FAULTS)
async def planes(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[TwoPlanes]:
    """Both, with each kind of trouble."""
    async with two_planes(tmp_path, monkeypatch, FAULTS[request.param]) as both:
        yield both
        await both.check()


def command(*argv: str, group: str = "default", **more: Any) -> TaskSpec:
    """What is submitted."""
    return TaskSpec(work=Command(argv=argv or ("true",)), group=GroupName(group), **more)


async def test_tasks_of_both_are_told_of_on_both(planes: TwoPlanes) -> None:
    """Every change once on each plane, those of one task in its order; counts agree."""
    nodes = (planes.first, planes.second)
    ids: list[TaskId] = []
    for number in range(30):
        task, _ = await nodes[number % 2].engine.tasks.submit(ME, command(group=f"g{number % 3}"))
        ids.append(task.id)
    for number, task_id in enumerate(ids):
        other = nodes[(number + 1) % 2].engine
        ended = await other.tasks.wait(ME, task_id, 30)
        assert ended.state is TaskState.SUCCEEDED
    for node, heard in zip(nodes, planes.heard, strict=True):
        await eventually_async(partial(_have_ended, heard, len(ids)))
        kinds: defaultdict[TaskId, list[str]] = defaultdict(list)
        for change in heard:
            kinds[change.task_id].append(change.kind)
        for task_id in ids:
            stored = [one.kind for one in await node.engine.tasks.events(ME, task_id)]
            assert kinds[task_id] == stored
        counted = node.wired.counters.by_workspace()[ME.workspace]
        stored_counts = await node.engine.tasks.counts(ME)
        assert {state: counted.get(state, 0) for state in TaskState} == {
            state: stored_counts.get(state, 0) for state in TaskState
        }
    assert Counter(map(_key, planes.heard[0])) == Counter(map(_key, planes.heard[1]))


def _have_ended(heard: list[Change], count: int) -> bool:
    return sum(one.state in TERMINAL for one in heard) == count


def _key(change: Change) -> tuple[TaskId, str]:
    return change.task_id, change.kind


async def test_a_wait_on_the_other_plane_ends_soon(planes: TwoPlanes) -> None:
    """It is woken, or looks by itself; nobody waits for its time to run out."""
    task, _ = await planes.first.engine.tasks.submit(ME, command("sleep", "0.2"))
    with anyio.fail_after(0.2 + 10):
        assert (await planes.second.engine.tasks.wait(ME, task.id, 60)).state in TERMINAL


async def test_a_kill_from_the_other_plane_is_proven_on_both(planes: TwoPlanes) -> None:
    """Whichever leads, and beside whichever the task runs."""
    for one, other in ((planes.first, planes.second), (planes.second, planes.first)):
        task, _ = await one.engine.tasks.submit(ME, command("sleep", "600"))
        tasks = one.engine.tasks

        async def runs(task_id: TaskId = task.id, tasks: Any = tasks) -> bool:
            return bool((await tasks.get(ME, task_id)).current_attempt)

        await eventually_async(runs)
        await other.engine.tasks.cancel(ME, [task.id])
        assert (await one.engine.tasks.wait(ME, task.id, 30)).state is TaskState.CANCELLED
        for node in (one, other):
            await eventually_async(partial(_has_no_kill, node))


def _has_no_kill(node: Node) -> bool:
    return not node.wired.kill.pending_count


async def test_a_revoked_token_ends_everywhere_within_a_second(planes: TwoPlanes) -> None:
    """So do streams that it opened on the other plane; users alike."""
    here, other = planes.first.engine.access, planes.second.engine.access
    token, text = await here.create_token(ME, "ci", Role.WRITE)
    caller = await other.authenticate_token(text)
    await here.add_user(ME, "ann", "a long password 1", Role.READ)
    user = await other.authenticate_password("ann", "a long password 1")
    await here.revoke_token(ME, token.id)
    await here.set_password(ME, "ann", "a long password 2")
    lasting = [caller.credential, user.credential]
    with anyio.fail_after(SOON_S):
        await eventually_async(lambda: other.known_token(text) is None)
        await eventually_async(
            lambda: all(isinstance(one, Credential) and one.has_ended for one in lasting)
        )
    with pytest.raises(NotAuthenticated):
        await other.authenticate_token(text)
    with pytest.raises(NotAuthenticated):
        await other.authenticate_password("ann", "a long password 1")
    await other.authenticate_password("ann", "a long password 2")


async def test_maintenance_is_switched_for_both(planes: TwoPlanes) -> None:
    """And what the other plane had read before is not in its way."""
    one, other = planes.first.engine.maintenance, planes.second.engine.maintenance
    for is_on in (True, False):
        assert (await other.state()).is_on is not is_on
        await one.set(OPERATOR, is_on=is_on)

        async def switched(is_on: bool = is_on) -> bool:
            return (await other.state()).is_on is is_on

        with anyio.fail_after(SOON_S):
            await eventually_async(switched)


async def test_functions_of_one_plane_are_known_on_the_other(planes: TwoPlanes) -> None:
    """New, paused, deleted and restored ones."""
    one, other = planes.first.engine.functions, planes.second.engine.functions
    now = planes.first.engine.clock.now()
    function = Function(FunctionId("f1"), ME.workspace, "greet", Language.PYTHON, now, now)
    await one.create(ME, function)

    async def known() -> Function | None:
        try:
            return await other.find(ME.workspace, "greet")
        except NotFound:
            return None

    assert await known(), "the store is asked for what nobody has told of yet"
    await one.pause(ME, "greet", paused=True)

    async def is_paused() -> bool:
        return (found := await known()) is not None and found.paused

    await eventually_async(is_paused)
    await one.delete(ME, "greet")

    async def is_gone() -> bool:
        return await known() is None

    await eventually_async(is_gone)
    await one.restore(ME, "f1")
    await eventually_async(known)


async def test_a_function_is_there_at_once_on_a_plane_that_has_not_heard_of_it(
    planes: TwoPlanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For those who look, call and deploy; and for the leader, who starts its calls."""

    async def nothing() -> None:
        """As long as a plane has not got round to it."""

    leader = planes.leader()
    other = planes.second if leader is planes.first else planes.first
    monkeypatch.setattr(leader.engine.functions._known, "load", nothing)
    given = Deployment(bundle=b"def handle(request):\n    return 1\n", language=Language.PYTHON)
    function, version = await other.engine.functions.deploy(ME, "new", given)
    version = await other.engine.functions.built(ME, function.id, version.number, 40)
    assert version.state is BuildState.READY, version.message

    deaf = leader.engine
    assert (await deaf.functions.find(ME.workspace, "new")).live_version == 1
    spec = await deaf.calls.prepare(ME, "new", CallRequest())
    _, result = await deaf.calls.call(ME, spec, 40)
    assert result is not None
    assert result.status == 200
    # This one is bound to a version only when it starts, and by the leader.
    invocations = other.engine.invocations
    prepared = await invocations.prepare(ME, function.id, CallRequest(), CallOrigin())
    call = await invocations.issue(prepared)
    task_id = (await invocations.view(call.id)).task_id
    assert task_id is not None
    assert (await other.engine.tasks.wait(ME, task_id, 40)).state is TaskState.SUCCEEDED
    # No language is given: it is the function's own.
    again, version = await deaf.functions.deploy(ME, "new", replace(given, language=None))
    assert (again.id, version.number) == (function.id, 2)


async def test_a_pause_of_one_plane_holds_on_the_other(planes: TwoPlanes) -> None:
    """For the leader, whichever that is; and so does its end."""
    for one, other in ((planes.first, planes.second), (planes.second, planes.first)):
        await one.engine.groups.set(ME, GroupName("held"), paused=True)
        await anyio.sleep(SOON_S)
        task, _ = await other.engine.tasks.submit(ME, command(group="held"))
        assert (await one.engine.tasks.wait(ME, task.id, 0.5)).state is TaskState.QUEUED
        await other.engine.groups.set(ME, GroupName("held"), paused=False)
        assert (await one.engine.tasks.wait(ME, task.id, 30)).state is TaskState.SUCCEEDED


async def test_a_list_shows_what_the_other_plane_added_and_took_off(planes: TwoPlanes) -> None:
    """To those who look, and in the list that is live."""
    one, other = planes.first.engine.lists, planes.second.engine.lists
    key = ListKey(ME.workspace, GroupName("numbered"))
    await one.open(key, "me", most=10, concurrency_limit=1)
    shown = await other.look(key)
    assert not shown.entries
    spec = command("sleep", "600", group="numbered")
    for _ in range(3):
        await one.add(ME, key, spec)
    await eventually_async(lambda: sorted(shown.entries) == [1, 2, 3])
    assert {entry.status.value for entry in shown.entries.values()} >= {"queued"}
    await one.withdraw(ME, key, 3)
    await eventually_async(lambda: sorted(shown.entries) == [1, 2])
    await other.flush(ME, key, cancel=True)
    assert 1 not in shown.entries
    again = await one.look(key)
    await eventually_async(lambda: 1 not in again.entries)


async def test_calls_are_answered_whichever_plane_is_asked(planes: TwoPlanes) -> None:
    """Wherever they run; one that has ended before anybody waits for it is answered too."""
    functions = planes.first.engine.functions
    source = b"def handle(request):\n    return request.body\n"
    given = Deployment(bundle=source, language=Language.PYTHON)
    function, version = await functions.deploy(ME, "echo", given)
    version = await functions.built(ME, function.id, version.number, 40)
    assert version.state is BuildState.READY, version.message

    async def call(node: Node, body: bytes) -> None:
        calls = node.engine.calls
        spec = await calls.prepare(ME, "echo", CallRequest(body=body))
        with anyio.fail_after(30):
            _, result = await calls.call(ME, spec, 40)
        assert result is not None
        assert result.body == body

    for node in (planes.first, planes.second):
        await call(node, b"first")
    async with anyio.create_task_group() as group:
        for number in range(40):
            node = (planes.first, planes.second)[number % 2]
            group.start_soon(call, node, b"%d" % number)


async def test_a_plane_that_missed_changes_looks_at_everything(
    planes: TwoPlanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its counts, lists, credentials and waits are right afterwards."""
    first, second = planes.first.engine, planes.second.engine
    key = ListKey(ME.workspace, GroupName("numbered"))
    await first.lists.open(key, "me", most=10, concurrency_limit=1)
    shown = await second.lists.look(key)
    token, text = await first.access.create_token(ME, "ci", Role.WRITE)
    await second.access.authenticate_token(text)
    missed = [0, 0]
    for number, node in enumerate((first, second)):

        def note(number: int = number) -> None:
            missed[number] += 1

        node.bus.listen(lambda _changes: None, note)
    with monkeypatch.context() as patch:
        patch.setattr(change_log, "KEPT_S", -1.0)
        task, _ = await first.tasks.submit(ME, command("sleep", "0.3"))
        await first.lists.add(ME, key, command(group="numbered"))
        await first.access.revoke_token(ME, token.id)
        await eventually_async(lambda: min(missed) >= 1)
    assert (await second.tasks.wait(ME, task.id, 30)).state is TaskState.SUCCEEDED
    await eventually_async(lambda: len(shown.entries) == 1)
    await eventually_async(lambda: second.access.known_token(text) is None)

    async def agree() -> bool:
        stored = await first.tasks.counts(ME)
        return all(
            {state: count for state, count in one.items() if count} == stored
            for one in (
                planes.first.wired.counters.by_workspace()[ME.workspace],
                planes.second.wired.counters.by_workspace()[ME.workspace],
            )
        )

    await eventually_async(agree)


async def test_jobs_run_on_both(planes: TwoPlanes) -> None:
    """One that starts at once, one that starts in a moment, one that was put over by the other."""
    first, second = planes.first.engine, planes.second.engine
    group = GroupName("jobs")
    spec = command(group="jobs")
    keys = [JobKey(ME.workspace, group, str(UUID(int=number))) for number in (1, 2)]
    await first.jobs.put(ME, keys[0], JobDefinition(spec, 0))
    soon = after(first.clock.now(), 0.5)
    await second.jobs.put(ME, keys[1], JobDefinition(spec, 0), soon)

    async def ended(key: JobKey) -> bool:
        job = await second.jobs.get(key)
        runs = await first.jobs.executions(job)
        return bool(runs) and all(one.task.state is TaskState.SUCCEEDED for one in runs)

    for key in keys:
        await eventually_async(partial(ended, key), within_s=15)


async def test_lost_connections_cost_a_look(planes: TwoPlanes) -> None:
    """All of them, in the middle of work: what was stored ends, and both planes know everything."""
    nodes = (planes.first, planes.second)
    ids: list[TaskId] = []
    async with anyio.create_task_group() as group:
        stop = anyio.Event()

        async def submit(node: Node) -> None:
            while not stop.is_set():
                try:
                    task, _ = await node.engine.tasks.submit(ME, command())
                except (Unavailable, Overloaded):
                    await anyio.sleep(0.05)
                else:
                    ids.append(task.id)
                    await anyio.sleep(0.02)

        for node in nodes:
            group.start_soon(submit, node)
        for _ in range(3):
            await anyio.sleep(0.4)
            await anyio.to_thread.run_sync(planes.cut_connections)
        await eventually_async(lambda: min(planes.missed) >= 1)
        stop.set()
    assert ids
    for number, task_id in enumerate(ids):
        other = nodes[number % 2].engine
        assert (await other.tasks.wait(ME, task_id, 40)).state is TaskState.SUCCEEDED

    async def agree() -> bool:
        stored = await planes.first.engine.tasks.counts(ME)
        counted = [one.wired.counters.by_workspace()[ME.workspace] for one in nodes]
        return all({state: n for state, n in one.items() if n} == stored for one in counted)

    await eventually_async(agree)
