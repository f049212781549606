"""What every store promises of endpoints, triggers, schedules, tags, nodes and builds."""

from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import Mock

import pytest
from function_records import OTHER, created, deployed, invocation, version
from msgspec.structs import replace
from resource_records import endpoint, one_of_each, schedule, tag, trigger
from rivals import Rivals, winner

from fakes.clock import VirtualClock
from fakes.specs import NOW, WS
from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import Conflict, InvalidInput, NotFound
from taskyard.core.functions.functions import BuildState, Function, FunctionId
from taskyard.core.functions.resources import (
    Endpoint,
    FunctionResource,
    Node,
    Schedule,
    Tag,
    Trigger,
)
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import after
from taskyard.services.functions.resources import FunctionResources

pytestmark = pytest.mark.anyio
LATER = after(NOW, 60)


@pytest.fixture
async def functions(store: Any) -> list[Function]:
    """Two functions of one workspace, and one of another."""
    return [
        await created(store, 1),
        await created(store, 2),
        await created(store, 3, workspace=OTHER),
    ]


async def listed(
    store: Any, kind: type[FunctionResource], workspace: WorkspaceName = WS, **members: Any
) -> tuple[list[str], int]:
    """The ids on a page, and how many there are in all."""
    values: dict[str, Any] = {"function_id": None, "timezone": None, "offset": 0, "limit": 10}
    found, total = await store.function_resources.page(kind, workspace, **(values | members))
    return [one.id for one in found], total


async def test_entries_are_found_as_they_were_given(store: Any, functions: list[Function]) -> None:
    """By kind and id, of one workspace or of any."""
    entries = one_of_each(*functions[:2])
    for one in entries:
        await store.function_resources.add(one)
    for one in entries:
        for workspace in (WS, None):
            assert await store.function_resources.get(type(one), "same", workspace) == one
        with pytest.raises(NotFound) as caught:
            await store.function_resources.get(type(one), "same", OTHER)
        assert (caught.value.kind, caught.value.key) == (type(one).__name__.lower(), "same")
        with pytest.raises(NotFound):
            await store.function_resources.get(type(one), "another", None)
        assert await listed(store, type(one)) == (["same"], 1)
        assert await listed(store, type(one), OTHER) == ([], 0)


async def test_an_id_is_given_once(store: Any, functions: list[Function]) -> None:
    """In each kind and workspace; what was there stays as it was."""
    for one in one_of_each(*functions[:2]):
        await store.function_resources.add(one)
        with pytest.raises(Conflict):
            await store.function_resources.add(one)
    with pytest.raises(Conflict):
        await store.function_resources.add(tag("same", color="blue"), LATER)
    assert (await store.function_resources.get(Tag, "same", WS)).color == "red"
    await store.function_resources.add(endpoint("same", functions[2]))
    assert await store.function_resources.next_due() is None


async def test_pages_come_newest_first(store: Any, functions: list[Function]) -> None:
    """All of a workspace, of a function, or of a time zone; each is counted in all."""
    one, two, foreign = functions
    for name, of in (("a", one), ("b", two), ("c", one), ("d", one), ("e", foreign)):
        zone = "Europe/Berlin" if name in "ad" else "UTC"
        await store.function_resources.add(schedule(name, of, timezone=zone))
    assert await listed(store, Schedule, limit=3) == (["d", "c", "b"], 4)
    assert await listed(store, Schedule, limit=3, offset=3) == (["a"], 4)
    assert await listed(store, Schedule, function_id=one.id, limit=2) == (["d", "c"], 3)
    assert await listed(store, Schedule, timezone="Europe/Berlin") == (["d", "a"], 2)
    assert await listed(store, Schedule, timezone="UTC", function_id=one.id) == (["c"], 1)
    assert await listed(store, Schedule, OTHER) == (["e"], 1)
    assert await listed(store, Schedule, OTHER, function_id=one.id) == ([], 0)
    assert await listed(store, Endpoint) == ([], 0)


async def test_everything_is_walked_through_oldest_first(store: Any) -> None:
    """Behind a position, which stays what it is when others go."""
    for name in ("c", "a", "b"):
        await store.function_resources.add(tag(name))
    await store.function_resources.add(tag("d", workspace=OTHER))
    await store.function_resources.add(Node("n", WS, NOW))
    walk = store.function_resources.oldest_first
    found = await walk(Tag, WS, 0, 10)
    assert [one.id for _, one in found] == ["c", "a", "b"]
    assert await walk(Tag, WS, 0, 2) == found[:2]
    await store.function_resources.remove(found[0][1])
    assert await walk(Tag, WS, found[0][0], 10) == found[1:]
    assert await walk(Tag, WS, found[2][0], 10) == []


async def test_some_are_found_by_their_ids(store: Any) -> None:
    """Those that are there, once each."""
    for name in ("a", "b", "c"):
        await store.function_resources.add(tag(name))
    await store.function_resources.add(tag("d", workspace=OTHER))
    some = store.function_resources.some
    found = await some(Tag, WS, ["c", "a", "a", "d", "none"])
    assert sorted(one.id for one in found) == ["a", "c"]
    assert await some(Tag, WS, []) == []
    assert await some(Node, WS, ["a"]) == []


async def test_an_entry_is_replaced_as_a_whole(store: Any, functions: list[Function]) -> None:
    """One that is not there stays so; another workspace's is not touched."""
    made = schedule("s", functions[0])
    await store.function_resources.add(made, NOW)
    foreign = schedule("s", functions[2])
    await store.function_resources.add(foreign, NOW)
    changed = replace(made, description="D", timezone="Asia/Tokyo", active=False)
    await store.function_resources.replace(changed)
    assert await store.function_resources.get(Schedule, "s", WS) == changed
    assert await store.function_resources.get(Schedule, "s", OTHER) == foreign
    assert await store.function_resources.due(LATER, 10) == [(NOW, foreign)]
    await store.function_resources.replace(tag("none"), LATER)
    assert await listed(store, Tag) == ([], 0)
    assert await listed(store, Schedule, timezone="Asia/Tokyo") == (["s"], 1)


async def test_an_entry_is_removed_alone(store: Any, functions: list[Function]) -> None:
    """Once and for all; removing it again changes nothing."""
    entries = one_of_each(*functions[:2])
    for one in entries:
        await store.function_resources.add(one, NOW if isinstance(one, Schedule) else None)
    foreign = tag("same", workspace=OTHER)
    await store.function_resources.add(foreign)
    while entries:
        gone = entries.pop()
        for _ in range(2):
            await store.function_resources.remove(gone)
        with pytest.raises(NotFound):
            await store.function_resources.get(type(gone), "same", WS)
        for one in entries:
            assert await store.function_resources.get(type(one), "same", WS) == one
    assert await store.function_resources.get(Tag, "same", None) == foreign
    assert await store.function_resources.next_due() is None


async def test_resources_end_with_their_function(store: Any, functions: list[Function]) -> None:
    """Also triggers that lead to it, and what is put aside; tags, nodes and builds stay."""
    one, two, _ = functions
    for entry in one_of_each(one, two):
        await store.function_resources.add(entry, NOW if isinstance(entry, Schedule) else None)
    await store.function_resources.add(trigger("to", two, one))
    await store.function_resources.add(trigger("kept", two, two))
    await store.parking.park("schedule", "same", WS, "no reason", NOW)
    await store.function_resources.remove_of_function(one.id)
    found = {kind: await listed(store, kind) for kind in (Endpoint, Trigger, Schedule, Tag, Node)}
    assert found == {
        Endpoint: ([], 0),
        Trigger: (["kept"], 1),
        Schedule: ([], 0),
        Tag: (["same"], 1),
        Node: (["same"], 1),
    }
    assert await store.function_resources.followed() == {two.id}
    assert await store.function_resources.next_due() is None
    assert await store.parking.parked(WS, 10) == []


async def test_what_hangs_on_a_deleted_function_is_hidden(
    store: Any, functions: list[Function]
) -> None:
    """Until it is restored."""
    one, two, _ = functions
    made = endpoint("e", one)
    await store.function_resources.add(made)
    await store.function_resources.add(endpoint("kept", two))
    await store.functions.set_deleted(WS, one.id, True, NOW)
    for workspace in (WS, None):
        with pytest.raises(NotFound):
            await store.function_resources.get(Endpoint, "e", workspace)
    assert await listed(store, Endpoint) == (["kept"], 1)
    await store.functions.set_deleted(WS, one.id, False, NOW)
    assert await store.function_resources.get(Endpoint, "e", None) == made
    assert await listed(store, Endpoint) == (["kept", "e"], 2)


async def test_triggers_are_found_by_what_they_follow(
    store: Any, functions: list[Function]
) -> None:
    """Oldest first; not by where they lead."""
    one, two, foreign = functions
    entries = [trigger("b", one, two), trigger("a", one, one), trigger("c", two, one)]
    assert await store.function_resources.followed() == set()
    for entry in entries:
        await store.function_resources.add(entry)
    await store.function_resources.add(schedule("s", foreign))
    assert await store.function_resources.triggers(one.id, NOW) == entries[:2]
    assert await store.function_resources.triggers(foreign.id, NOW) == []
    assert await store.function_resources.followed() == {one.id, two.id}
    await store.function_resources.remove(entries[2])
    assert await store.function_resources.followed() == {one.id}


async def test_schedules_are_due_at_their_moment(store: Any, functions: list[Function]) -> None:
    """The earliest first, of all workspaces; those without one never are."""
    one, _, foreign = functions
    entries = [schedule("a", one), schedule("b", foreign), schedule("c", one)]
    for number, entry in enumerate(entries):
        await store.function_resources.add(entry, after(LATER, -number))
    await store.function_resources.add(schedule("idle", one, active=False))
    due = store.function_resources.due
    assert await store.function_resources.next_due() == after(LATER, -2)
    assert await due(after(LATER, -3), 10) == []
    assert await due(LATER, 2) == [(after(LATER, -2), entries[2]), (after(LATER, -1), entries[1])]
    assert [one.id for _, one in await due(LATER, 10)] == ["c", "b", "a"]
    await store.function_resources.replace(entries[2], after(LATER, 1))
    assert [one.id for _, one in await due(LATER, 10)] == ["b", "a"]


async def test_schedules_of_one_id_are_due_each_for_itself(
    store: Any, functions: list[Function]
) -> None:
    """Ids are given once in a workspace, and not more."""
    mine, foreign = schedule("s", functions[0]), schedule("s", functions[2])
    await store.function_resources.add(mine, NOW)
    await store.function_resources.add(foreign, LATER)
    found = await store.function_resources.due(LATER, 10)
    assert found == [(NOW, mine), (LATER, foreign)]
    await store.function_resources.replace(foreign, NOW)
    assert await store.invocations.fire(mine, NOW, LATER, None) is None
    assert await store.function_resources.due(NOW, 10) == [(NOW, foreign)]


async def test_builds_that_have_not_ended_are_counted(
    store: Any, functions: list[Function]
) -> None:
    """Of one workspace, and of functions that are there; when they began is known by version."""
    one, two, foreign = functions
    for of in (one, one, two, foreign):
        await store.functions.add_version(version(of))
    await deployed(store, one)
    await store.functions.set_build(one.id, 2, BuildState.BUILDING, LATER)
    assert await store.function_resources.pending_builds(WS) == 3
    assert await store.function_resources.pending_builds(OTHER) == 1
    await store.functions.set_deleted(WS, two.id, True, NOW)
    assert await store.function_resources.pending_builds(WS) == 2
    began = store.function_resources.build_began
    assert await began(one.id, 2) == LATER
    for function_id, number in ((one.id, 1), (one.id, 9), (FunctionId("f" * 24), 1)):
        assert await began(function_id, number) is None


async def test_what_cannot_be_stored_is_refused(store: Any) -> None:
    """Nothing of it is left."""
    for bad in (tag("\ud800"), tag("a", color="\ud800")):
        with pytest.raises(InvalidInput):
            await store.function_resources.add(bad)
    assert await listed(store, Tag) == ([], 0)


async def test_entries_outlive_the_store(
    store: Any, functions: list[Function], reopen: Callable[[], Awaitable[Any]]
) -> None:
    """Another store on the same data has them, in the same order."""
    made = schedule("s", functions[0])
    await store.function_resources.add(made, NOW)
    await store.function_resources.add(tag("b"))
    await store.function_resources.add(tag("a"))
    again = await reopen()
    assert await again.function_resources.due(NOW, 10) == [(NOW, made)]
    assert await listed(again, Tag) == (["a", "b"], 2)


async def test_one_of_two_gets_an_id(store: Any, rivals: Rivals) -> None:
    """The other one meets a conflict; what is stored is the winner's."""
    outcomes = await rivals.race(
        lambda one: one.function_resources.add(tag("t", color="red")),
        lambda one: one.function_resources.add(tag("t", color="blue")),
    )
    assert winner(outcomes, Conflict) is None
    color = (await store.function_resources.get(Tag, "t", WS)).color
    assert color == ("red" if outcomes[0] is None else "blue")
    assert await listed(store, Tag) == (["t"], 1)


async def test_a_change_brings_nothing_back(store: Any, rivals: Rivals) -> None:
    """An entry that is removed meanwhile is gone, whoever comes first."""
    await store.function_resources.add(tag("t"))
    outcomes = await rivals.race(
        lambda one: one.function_resources.replace(tag("t", color="blue"), NOW),
        lambda one: one.function_resources.remove(tag("t")),
    )
    assert outcomes[0] in {True, False}
    assert outcomes[1] is None
    assert await listed(store, Tag) == ([], 0)
    assert await store.function_resources.next_due() is None


async def test_a_schedule_fires_once(store: Any, functions: list[Function], rivals: Rivals) -> None:
    """Whoever looks at the same time; it is due next at the moment that was given."""
    made = schedule("s", functions[0])
    await store.function_resources.add(made, NOW)
    numbers = iter("12")

    async def fire(one: Any) -> Any:
        call = invocation(functions[0], f"call-{next(numbers)}", schedule_id="s")
        return await one.invocations.fire(made, NOW, LATER, call)

    fired = [one for one in await rivals.race(fire) if one is not None]
    assert [one.kind for one in fired] == ["submitted"]
    counts = await store.invocations.counts(WS, NOW, NOW)
    assert (counts.total, counts.open) == (1, 1)
    assert await store.function_resources.due(LATER, 10) == [(LATER, made)]


async def test_a_replaced_schedule_fires_by_its_new_rule(
    store: Any, functions: list[Function], rivals: Rivals
) -> None:
    """By the old one just before that at most."""
    made = schedule("s", functions[0])
    await store.function_resources.add(made, NOW)
    changed = replace(made, cron="5 * * * *")
    fired, _ = await rivals.race(
        lambda one: one.invocations.fire(made, NOW, LATER, invocation(functions[0], "call-1")),
        lambda one: one.function_resources.replace(changed, after(LATER, 5)),
    )
    next_at = after(LATER, 5)
    assert await store.function_resources.due(next_at, 10) == [(next_at, changed)]
    assert (await store.invocations.counts(WS, NOW, NOW)).total == (0 if fired is None else 1)


async def test_a_removed_schedule_is_not_there_again(
    store: Any, functions: list[Function], rivals: Rivals
) -> None:
    """It fires just before, or not at all."""
    made = schedule("s", functions[0])
    await store.function_resources.add(made, NOW)
    await rivals.race(
        lambda one: one.invocations.fire(made, NOW, LATER, None),
        lambda one: one.function_resources.remove(made),
    )
    assert await store.function_resources.next_due() is None
    assert await listed(store, Schedule) == ([], 0)


async def test_one_of_two_changes_is_made(store: Any, rivals: Rivals) -> None:
    """Of what both have read; the other one is told to look again."""
    was = tag("t")
    await store.function_resources.add(was)
    changed = [replace(was, name="new"), replace(was, color="blue")]
    outcomes = await rivals.race(
        lambda one: one.function_resources.replace(changed[0], None, was),
        lambda one: one.function_resources.replace(changed[1], None, was),
    )
    assert sorted(outcomes) == [False, True]
    made = changed[outcomes.index(True)]
    assert await store.function_resources.get(Tag, "t", WS) == made
    assert await store.function_resources.replace(was, None, made)
    await store.function_resources.remove(was)
    assert not await store.function_resources.replace(made, None, was)
    assert not await store.function_resources.replace(made)


async def test_two_changes_at_once_are_both_kept(store: Any, rivals: Rivals) -> None:
    """Each of a part of it, by two who have read the same."""
    was = tag("t")
    await store.function_resources.add(was)

    async def change(client: Any, **members: str) -> None:
        resources = FunctionResources(
            client.function_resources, Mock(), Mock(), Mock(), VirtualClock()
        )
        caller = Caller("me", WS, Role.WRITE)
        await resources.replace(caller, replace(was, **members), was)

    await rivals.race(lambda one: change(one, name="new"), lambda one: change(one, color="blue"))
    assert await store.function_resources.get(Tag, "t", WS) == replace(
        was, name="new", color="blue"
    )
