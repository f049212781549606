"""What every function store promises of functions: their names, changes and ends."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from function_records import OTHER, created, deployed, function, version
from msgspec.structs import replace
from rivals import Rivals, winner

from fakes.specs import NOW, WS
from taskyard.core.errors import Conflict, InvalidInput, NotFound
from taskyard.core.functions.functions import Function, FunctionId, Language, Limits
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import after
from taskyard.ports.functions import FunctionChange

pytestmark = pytest.mark.anyio
LATER = after(NOW, 60)


async def change(store: Any, of: Function, **members: Any) -> Function:
    """Change a function a minute later."""
    changed: Function = await store.functions.change(
        of.workspace, of.id, FunctionChange(**members), LATER
    )
    return changed


async def delete(store: Any, of: Function) -> Function:
    """Delete a function a minute later."""
    deleted: Function = await store.functions.set_deleted(of.workspace, of.id, True, LATER)
    return deleted


async def restore(store: Any, of: Function) -> Function:
    """Restore a function two minutes later."""
    at = after(LATER, 60)
    restored: Function = await store.functions.set_deleted(of.workspace, of.id, False, at)
    return restored


async def names(store: Any, workspace: WorkspaceName = WS, **members: Any) -> list[str]:
    """Of the functions that are listed."""
    values: dict[str, Any] = {"after": None, "limit": 10}
    found = await store.functions.functions(workspace, **(values | members))
    return [one.name for one in found]


async def test_a_function_is_found_by_name_and_id(store: Any) -> None:
    """As it was given; a name goes before an id."""
    given = function(
        title="T",
        description="D",
        tags=("x", "y"),
        limits=Limits(timeout_s=3, cpu_millis=100, memory_bytes=5, privileged=True),
        paused=True,
    )
    assert await store.functions.create(given) == given
    assert await store.functions.function(WS, given.name) == given
    assert await store.functions.function(WS, given.id) == given
    namesake = await created(store, 2, name=given.id)
    assert await store.functions.function(WS, given.id) == namesake
    assert await store.functions.function(WS, namesake.id) == namesake


async def test_many_functions_are_looked_up_at_once(store: Any) -> None:
    """By name or id, each in its place; deleted ones and others' are not there."""
    first, second, gone = [await created(store, number) for number in (1, 2, 3)]
    elsewhere = await created(store, 4, first.name, workspace=OTHER)
    await delete(store, gone)
    for image in ("", "busybox", "busybox"):
        await store.functions.add_version(replace(version(second), image=image))
    keys = [second.name, "none", first.id, gone.id, gone.name, elsewhere.id, first.name, second.id]
    found = await store.functions.look_up([*((WS, key) for key in keys), (OTHER, first.name)])
    names = [one and (one.function.id, set(one.images)) for one in found]
    bare, images = (first.id, set[int]()), (second.id, {2, 3})
    assert names == [images, None, bare, None, None, None, bare, images, (elsewhere.id, set[int]())]
    assert await store.functions.look_up([]) == []


async def test_a_name_is_given_once_in_a_workspace(store: Any) -> None:
    """Another workspace's does not count, nor does a deleted function's."""
    first = await created(store, 1, "f")
    with pytest.raises(Conflict):
        await created(store, 2, "f")
    await created(store, 3, "f", workspace=OTHER)
    await delete(store, first)
    second = await created(store, 4, "f")
    assert await store.functions.function(WS, "f") == second
    assert (await store.functions.function(WS, first.id)).name == "f"
    with pytest.raises(Conflict):
        await restore(store, first)
    assert (await store.functions.function(WS, first.id)).deleted_at is not None


async def test_an_id_is_given_once(store: Any) -> None:
    """Whatever the name, the workspace, and whether its function is deleted."""
    first = await created(store, 1)
    for members in ({"name": "another"}, {"workspace": OTHER}):
        with pytest.raises(Conflict):
            await store.functions.create(replace(first, **members))
    await delete(store, first)
    with pytest.raises(Conflict):
        await store.functions.create(replace(first, name="another"))
    assert await names(store) == []


async def test_changes_leave_out_what_they_do_not_name(store: Any) -> None:
    """And answer with the function as it is then."""
    made = await created(store, title="T", tags=("x",))
    one = await change(store, made, name="g", description="D", tags=())
    assert one == replace(made, name="g", description="D", tags=(), updated_at=LATER)
    assert await store.functions.function(WS, "g") == one
    await deployed(store, made)
    two = await change(
        store,
        made,
        title="",
        limits=Limits(timeout_s=1),
        language=Language.GO,
        live_version=1,
        paused=True,
    )
    assert (two.title, two.limits, two.language) == ("", Limits(timeout_s=1), Language.GO)
    assert (two.live_version, two.last_version, two.paused) == (1, 1, True)
    assert await store.functions.function(WS, made.id) == two
    with pytest.raises(NotFound):
        await store.functions.function(WS, "f1")


async def test_a_function_is_not_renamed_to_a_name_that_is_taken(store: Any) -> None:
    """Nothing of such a change comes about; its own name is no other's."""
    made = await created(store, 1)
    await created(store, 2)
    await created(store, 3, "free", workspace=OTHER)
    with pytest.raises(Conflict):
        await change(store, made, name="f2", title="T")
    assert await store.functions.function(WS, made.id) == made
    assert (await change(store, made, name="f1", title="T")).title == "T"
    assert (await change(store, made, name="free")).name == "free"


async def test_a_deleted_function_is_found_by_id_only(store: Any) -> None:
    """It cannot be changed, deployed or deleted again; restored, it is as before."""
    made = await created(store)
    await deployed(store, made)
    before = await store.functions.function(WS, made.id)
    deleted = await delete(store, made)
    assert deleted == replace(before, updated_at=LATER, deleted_at=LATER)
    assert await store.functions.function(WS, made.id) == deleted
    refused: list[Callable[[], Awaitable[Any]]] = [
        lambda: store.functions.function(WS, made.name),
        lambda: change(store, made, title="T"),
        lambda: delete(store, made),
        lambda: store.functions.add_version(version(made)),
    ]
    for call in refused:
        with pytest.raises(NotFound):
            await call()
    assert await store.functions.function(WS, made.id) == deleted
    restored = await restore(store, made)
    assert restored == replace(before, updated_at=after(LATER, 60))
    assert await restore(store, made) == restored
    assert (await store.functions.version(WS, made.id, 1)).number == 1


async def test_functions_are_listed_in_order_of_id(store: Any) -> None:
    """In pages from either end; deleted ones apart, and each workspace for itself."""
    made = [await created(store, number) for number in (3, 1, 2, 4)]
    await created(store, 5, workspace=OTHER)
    await delete(store, made[3])
    assert await names(store) == ["f1", "f2", "f3"]
    assert await names(store, limit=2) == ["f1", "f2"]
    assert await names(store, after=made[2].id) == ["f3"]
    assert await names(store, newest_first=True, limit=2) == ["f3", "f2"]
    assert await names(store, newest_first=True, after=made[2].id) == ["f1"]
    assert await names(store, deleted=True) == ["f4"]
    assert await names(store, OTHER) == ["f5"]
    assert {one.name for one in await store.functions.everything()} == {"f1", "f2", "f3", "f5"}


async def test_functions_are_listed_by_tag(store: Any) -> None:
    """Whole tags only."""
    await created(store, 1, tags=("a", "b"))
    await created(store, 2, tags=("ab",))
    await created(store, 3, tags=("b",))
    assert await names(store, tag="b") == ["f1", "f3"]
    assert await names(store, tag="b", limit=1, newest_first=True) == ["f3"]
    assert await names(store, tag="c") == []


async def test_functions_of_others_are_unknown(store: Any) -> None:
    """Whatever is asked of them."""
    made = await created(store)
    await deployed(store, made)
    foreign = replace(made, workspace=OTHER)
    functions = store.functions
    refused: list[Callable[[], Awaitable[Any]]] = [
        lambda: functions.function(OTHER, made.id),
        lambda: functions.function(OTHER, made.name),
        lambda: change(store, foreign, title="T"),
        lambda: delete(store, foreign),
        lambda: restore(store, foreign),
        lambda: functions.version(OTHER, made.id, 1),
        lambda: functions.versions(OTHER, made.id, None, 10),
        lambda: functions.build_log(OTHER, made.id, 1),
        lambda: functions.function(WS, "unknown"),
        lambda: functions.add_version(replace(version(made), function_id=FunctionId("f" * 24))),
    ]
    for call in refused:
        with pytest.raises(NotFound):
            await call()
    assert (await functions.function(WS, made.id)).title == ""


async def test_a_name_that_is_no_text_is_refused(store: Any) -> None:
    """It is the caller's fault, when looked for and when given."""
    made = await created(store)
    refused: list[Callable[[], Awaitable[Any]]] = [
        lambda: store.functions.function(WS, "\ud800"),
        lambda: created(store, 2, "\ud800"),
        lambda: change(store, made, name="\ud800"),
        lambda: change(store, made, title="\ud800"),
    ]
    for call in refused:
        with pytest.raises(InvalidInput):
            await call()
    assert await names(store) == ["f1"]


async def test_functions_outlive_the_store(
    store: Any, reopen: Callable[[], Awaitable[Any]]
) -> None:
    """Another store on the same data has them, and their versions count on."""
    made = await created(store)
    await deployed(store, made)
    before = await store.functions.function(WS, made.id)
    again = await reopen()
    assert await again.functions.everything() == [before]
    assert await deployed(again, made) == 2


async def test_one_of_two_gets_a_new_name(store: Any, rivals: Rivals) -> None:
    """The other one meets a conflict, and leaves nothing."""
    outcomes = await rivals.race(lambda one: created(one, 1, "f"), lambda one: created(one, 2, "f"))
    assert await store.functions.everything() == [winner(outcomes, Conflict)]


async def test_one_of_two_gets_a_new_id(store: Any, rivals: Rivals) -> None:
    """Also under different names."""
    outcomes = await rivals.race(lambda one: created(one, 1, "f"), lambda one: created(one, 1, "g"))
    assert await store.functions.everything() == [winner(outcomes, Conflict)]


async def test_one_of_two_takes_the_name_of_the_other(store: Any, rivals: Rivals) -> None:
    """By renaming, creating or restoring."""
    first, second = await created(store, 1), await created(store, 2)
    outcomes = await rivals.race(
        lambda one: change(one, first, name="f"), lambda one: change(one, second, name="f")
    )
    assert (await store.functions.function(WS, "f")).id == winner(outcomes, Conflict).id
    gone = await created(store, 3)
    await delete(store, gone)
    outcomes = await rivals.race(
        lambda one: restore(one, gone), lambda one: created(one, 4, gone.name)
    )
    assert (await store.functions.function(WS, gone.name)).id == winner(outcomes, Conflict).id


async def test_changes_of_different_members_both_count(store: Any, rivals: Rivals) -> None:
    """Neither undoes the other."""
    made = await created(store)
    await rivals.race(
        lambda one: change(one, made, title="T", tags=("x",)),
        lambda one: change(one, made, description="D", paused=True),
    )
    found = await store.functions.function(WS, made.id)
    assert (found.title, found.tags, found.description, found.paused) == ("T", ("x",), "D", True)


async def test_a_function_is_deleted_once(store: Any, rivals: Rivals) -> None:
    """The other one finds it gone."""
    made = await created(store)
    outcomes = await rivals.race(lambda one: delete(one, made))
    assert winner(outcomes, NotFound).deleted_at == LATER
    assert await names(store, deleted=True) == ["f1"]


async def test_a_change_does_not_bring_back_a_deleted_function(store: Any, rivals: Rivals) -> None:
    """It comes before the end, or is refused."""
    made = await created(store)
    _, changed = await rivals.race(
        lambda one: delete(one, made), lambda one: change(one, made, title="T")
    )
    found = await store.functions.function(WS, made.id)
    assert found.deleted_at == LATER
    refused = isinstance(changed, Exception)
    assert not refused or type(changed) is NotFound
    assert found.title == ("" if refused else "T")
