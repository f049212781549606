"""What every function store promises of versions, builds, and what calls leave behind."""

from typing import Any

import pytest
from dispatching import end
from function_records import OTHER, answer, call_task, created, deployed, function, run, version
from msgspec.structs import replace
from rivals import Rivals

from fakes.specs import NOW, WS
from taskyard.core.backoff import RetryPolicy
from taskyard.core.errors import NotFound
from taskyard.core.functions.functions import BuildState, CallResult, FunctionId, Language
from taskyard.core.ids import AttemptId, TaskId
from taskyard.core.instants import after
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.functions import FunctionChange

pytestmark = pytest.mark.anyio
LATER = after(NOW, 60)
UNKNOWN = FunctionId("f" * 24)
OK = CallResult(200, (("content-type", "text/plain"), ("x", "1"), ("x", "2")), b"\x00\xff", 2)


async def test_versions_are_numbered_from_one(store: Any) -> None:
    """As they were given otherwise; the function knows the last one, and that it changed."""
    made = await created(store)
    given = version(made, number=9, created_at=LATER, image="img:1", credentials="secret")
    first = await store.functions.add_version(given)
    assert first == replace(given, number=1)
    assert (await store.functions.add_version(version(made))).number == 2
    assert await store.functions.version(WS, made.id, 1) == first
    found = await store.functions.function(WS, made.id)
    assert (found.last_version, found.live_version) == (2, None)
    with pytest.raises(NotFound):
        await store.functions.add_version(version(function(2)))


async def test_versions_are_listed_newest_first(store: Any) -> None:
    """In pages, below a number; also those of a deleted function."""
    made = await created(store)
    for _ in range(4):
        await store.functions.add_version(version(made))
    await store.functions.set_deleted(WS, made.id, True, LATER)

    async def numbers(before: int | None, limit: int) -> list[int]:
        return [one.number for one in await store.functions.versions(WS, made.id, before, limit)]

    assert await numbers(None, 3) == [4, 3, 2]
    assert await numbers(3, 3) == [2, 1]
    assert await numbers(1, 3) == []
    for number in (0, 5, 1 << 62):
        with pytest.raises(NotFound):
            await store.functions.version(WS, made.id, number)
        with pytest.raises(NotFound):
            await store.functions.build_log(WS, made.id, number)


async def test_a_build_goes_from_state_to_state(store: Any) -> None:
    """Log, message and times are those of the present one; what is not told of it stays."""
    made = await created(store)
    await store.functions.add_version(version(made))
    build = store.functions.set_build
    assert await store.functions.build_log(WS, made.id, 1) is None
    await build(made.id, 1, BuildState.BUILDING, NOW)
    assert await store.function_resources.build_began(made.id, 1) == NOW
    await build(made.id, 1, BuildState.FAILED, LATER, log="L", message="M")
    found = await store.functions.version(WS, made.id, 1)
    assert (found.state, found.finished_at, found.message) == (BuildState.FAILED, LATER, "M")
    assert await store.functions.build_log(WS, made.id, 1) == "L"
    await build(made.id, 1, BuildState.BUILDING, after(LATER, 1))
    found = await store.functions.version(WS, made.id, 1)
    assert (found.state, found.finished_at, found.message) == (BuildState.BUILDING, None, None)
    assert await store.function_resources.build_began(made.id, 1) == after(LATER, 1)
    await build(made.id, 1, BuildState.READY, after(LATER, 2), log="L2", digest="sha256:1")
    found = await store.functions.version(WS, made.id, 1)
    assert (found.finished_at, found.digest) == (after(LATER, 2), "sha256:1")
    await build(made.id, 1, BuildState.RETIRED, after(LATER, 3))
    assert await store.functions.version(WS, made.id, 1) == replace(found, state=BuildState.RETIRED)
    assert await store.functions.build_log(WS, made.id, 1) == "L2"
    assert (await store.functions.function(WS, made.id)).live_version is None


async def test_the_newest_version_is_the_live_one(store: Any) -> None:
    """In whichever order builds end; the function speaks its language."""
    made = await created(store)
    for language in (Language.PYTHON, Language.GO, Language.RUBY):
        await store.functions.add_version(version(made, language=language))
    seen = []
    for number in (2, 1, 3):
        await store.functions.set_build(made.id, number, BuildState.READY, LATER, goes_live=True)
        found = await store.functions.function(WS, made.id)
        seen.append((found.live_version, found.language))
    assert seen == [(2, Language.GO), (2, Language.GO), (3, Language.RUBY)]


async def test_the_end_of_an_unknown_build_changes_nothing(store: Any) -> None:
    """Neither of a version that is not there, nor of a function."""
    made = await created(store)
    await deployed(store, made)
    before = await store.functions.function(WS, made.id)
    await store.functions.set_build(made.id, 2, BuildState.READY, LATER, goes_live=True)
    await store.functions.set_build(UNKNOWN, 1, BuildState.READY, LATER, goes_live=True)
    assert await store.functions.function(WS, made.id) == before
    assert [one.number for one in await store.functions.versions(WS, made.id, None, 9)] == [1]


async def test_what_is_not_built_is_found(store: Any) -> None:
    """Of all workspaces, oldest first."""
    mine, foreign = await created(store, 1), await created(store, 2, workspace=OTHER)
    for of, at in ((mine, 3), (foreign, 1), (mine, 2), (mine, 4), (mine, 5)):
        await store.functions.add_version(version(of, created_at=after(NOW, at)))
    await store.functions.set_build(mine.id, 2, BuildState.BUILDING, LATER)
    await store.functions.set_build(mine.id, 3, BuildState.READY, LATER)
    await store.functions.set_build(mine.id, 4, BuildState.FAILED, LATER)
    found = [(name, one.number) for name, one in await store.functions.unbuilt()]
    assert found == [(OTHER, 1), (WS, 2), (WS, 1)]
    assert await store.function_resources.pending_builds(WS) == 2
    assert await store.function_resources.pending_builds(OTHER) == 1


async def test_a_version_is_built_by_one(store: Any) -> None:
    """Who has it goes on; another one may when its time is over; nobody once it has ended."""
    made = await created(store, 1)
    await store.functions.add_version(version(made))

    async def claims(builder: str, now: int, until: int, number: int = 1) -> bool:
        moments = after(NOW, now), after(NOW, until)
        answer: bool = await store.functions.claim_build(made.id, number, builder, *moments)
        return answer

    assert await claims("a", 0, 10)
    assert not await claims("b", 9, 20)
    assert await claims("a", 9, 20)
    assert not await claims("b", 19, 30)
    await store.functions.set_build(made.id, 1, BuildState.BUILDING, LATER)
    assert await claims("b", 20, 30)
    assert not await claims("a", 21, 31)
    assert not await claims("a", 0, 10, number=2)
    await store.functions.set_build(made.id, 1, BuildState.READY, LATER)
    assert not await claims("b", 22, 32)
    assert not await claims("c", 100, 200)


async def test_bundles_and_images_are_known(store: Any) -> None:
    """Also those of deleted functions, which can be restored."""
    mine, foreign = await created(store, 1), await created(store, 2, workspace=OTHER)
    assert await store.functions.bundles() == frozenset()
    await store.functions.add_version(version(mine, bundle="a"))
    await store.functions.add_version(version(mine, bundle="b", image="img"))
    await store.functions.add_version(version(foreign, bundle="a", image="img"))
    await store.functions.set_deleted(WS, mine.id, True, LATER)
    assert await store.functions.bundles() == {"a", "b"}
    assert await store.functions.image_versions() == {(mine.id, 2), (foreign.id, 1)}


async def test_versions_are_in_use_while_calls_are_bound_to_them(store: Any) -> None:
    """Calls that wait and calls that run; not those that ended, or take the live one."""
    made, foreign = await created(store, 1), await created(store, 2)
    calls = [call_task(made, bound=number) for number in (1, 2, 2, 3, None)]
    await store.tasks.submit([*calls, call_task(foreign, bound=7)], None)
    assert await store.functions.in_use(made) == {1, 2, 3}
    await run(store, WS, calls[0].id)
    await answer(store, calls[1], OK)
    await store.tasks.cancel(WS, [calls[3].id], NOW, "me")
    assert await store.functions.in_use(made) == {1, 2}
    assert await store.functions.in_use(foreign) == {7}


async def test_a_result_is_what_the_last_attempt_answered(store: Any) -> None:
    """None before, and of a call that did not answer; of others it is unknown."""
    made = await created(store)
    call = call_task(made, retry=RetryPolicy(2, 0.0))
    await store.tasks.submit([call], None)
    assert await store.functions.result(WS, call.id) is None
    name = await run(store, WS, call.id)
    assert await store.functions.result(WS, call.id) is None
    bad = CallResult(500, (), None, 1 << 30)
    await end(store, AttemptState.FAILED, name, reason=Reason.FUNCTION_ERROR, result=bad)
    assert await store.functions.result(WS, call.id) == (AttemptId(name), bad)
    await store.dispatch.due(LATER, 10)
    again = await run(store, WS, call.id, 2)
    assert await store.functions.result(WS, call.id) is None
    await end(store, AttemptState.SUCCEEDED, again, result=OK)
    assert await store.functions.result(WS, call.id) == (AttemptId(again), OK)
    silent = call_task(made)
    await store.tasks.submit([silent], None)
    await answer(store, silent, None)
    assert await store.functions.result(WS, silent.id) is None
    for workspace, task_id in ((OTHER, call.id), (WS, TaskId("unknown"))):
        with pytest.raises(NotFound):
            await store.functions.result(workspace, task_id)


async def test_a_function_keeps_what_its_last_call_told_it_to(store: Any) -> None:
    """None leaves it as it is, nothing makes it forget; others keep their own."""
    made, other = await created(store, 1), await created(store, 2)
    kept = []
    for blob in (b"\x00one", None, b"two", b"", None):
        call = call_task(made)
        await store.tasks.submit([call], None)
        await answer(store, call, OK, blob)
        kept.append(await store.functions.blob(made.id))
    assert kept == [b"\x00one", b"\x00one", b"two", None, None]
    assert await store.functions.blob(other.id) is None
    assert await store.functions.blob(UNKNOWN) is None


async def test_versions_stored_at_once_have_numbers_of_their_own(
    store: Any, rivals: Rivals
) -> None:
    """Without a gap."""
    made = await created(store)
    for number in (1, 3, 5):
        outcomes = await rivals.race(lambda one: one.functions.add_version(version(made)))
        assert {one.number for one in outcomes} == {number, number + 1}
    assert (await store.functions.function(WS, made.id)).last_version == 6


async def test_builds_that_end_at_once_leave_the_newest_live(store: Any, rivals: Rivals) -> None:
    """Whichever is told first."""
    made = await created(store)
    for language in (Language.GO, Language.RUBY):
        await store.functions.add_version(version(made, language=language))

    def built(number: int) -> Any:
        state = BuildState.READY
        return lambda one: one.functions.set_build(made.id, number, state, LATER, goes_live=True)

    await rivals.race(built(1), built(2))
    found = await store.functions.function(WS, made.id)
    assert (found.live_version, found.language) == (2, Language.RUBY)
    assert await store.functions.unbuilt() == []


async def test_a_change_undoes_no_build(store: Any, rivals: Rivals) -> None:
    """What goes live meanwhile stays live."""
    made = await created(store)
    await store.functions.add_version(version(made, language=Language.GO))
    ready = BuildState.READY
    await rivals.race(
        lambda one: one.functions.set_build(made.id, 1, ready, LATER, goes_live=True),
        lambda one: one.functions.change(WS, made.id, FunctionChange(title="T"), LATER),
    )
    found = await store.functions.function(WS, made.id)
    assert (found.title, found.live_version, found.language) == ("T", 1, Language.GO)


async def test_a_version_comes_before_the_end_of_its_function(store: Any, rivals: Rivals) -> None:
    """Or is refused, and uses no number up."""
    made = await created(store)
    added, _ = await rivals.race(
        lambda one: one.functions.add_version(version(made)),
        lambda one: one.functions.set_deleted(WS, made.id, True, LATER),
    )
    found = await store.functions.versions(WS, made.id, None, 9)
    refused = isinstance(added, Exception)
    assert not refused or type(added) is NotFound
    assert len(found) == (0 if refused else 1)
    assert (await store.functions.function(WS, made.id)).last_version == len(found)
