"""One entry that cannot be dealt with stops no loop: it is put aside, and the others go on.

Of each kind there are two entries. One is spoiled behind the store's back, as by a machine that
lost a time zone or a damaged page; then the loop's turn comes.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bad_entries import BROKEN, CASES, GROUP, LATER, SOON, Node

from fakes.specs import NOW, WS
from fakes.stores import opened
from taskyard.core.errors import Conflict, InvalidInput
from taskyard.core.ids import TaskId
from taskyard.core.instants import after
from taskyard.core.states import TaskState
from taskyard.ports.store import TaskQuery
from taskyard.services.tasks.validation import check_spec
from taskyard.store.sql.parking import RETRY_S

pytestmark = pytest.mark.anyio


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """An open, empty store."""
    store = await opened(tmp_path)
    yield Node(store, tmp_path)
    await store.close()


@pytest.mark.parametrize("case", CASES)
async def test_one_bad_entry_stops_no_loop(node: Node, case: str) -> None:
    """The others are dealt with; what cannot be is listed with its reason."""
    scene, sql = CASES[case]
    key = await scene(node, sql)
    parked = await node.parked()
    assert list(parked) == ([key] if key else [])
    if key:
        words = "'Gone/Away' is not a known time zone" if "no zone" in case else "it cannot be read"
        assert words in parked[key]


async def test_what_can_be_read_again_goes_on(node: Node) -> None:
    """After a while by itself, with every firing that it owes; and it is parked no more."""
    case = CASES["a recurring task, no zone"]
    bad = TaskId(await case[0](node, case[1]))
    events = [one.kind for one in await node.store.tasks.events(WS, bad, 0, 99)]
    assert events == ["submitted", "parked"]
    node.spoil("UPDATE tasks SET spec = replace(spec, 'Gone/Away', 'UTC') WHERE id = ?", bad)
    at = after(node.clock.now(), RETRY_S + 1)
    await node.store.dispatch.due(at, 1000)
    page = await node.store.tasks.list_tasks(TaskQuery(workspace=WS, schedule_id=bad, limit=50))
    assert len(page.tasks) == 11
    assert min(one.due_at or 0 for one in page.tasks) == SOON
    assert not await node.parked()


async def test_at_each_start_everything_is_tried_again(node: Node, tmp_path: Path) -> None:
    """Whoever mended the machine need not wait."""
    case = CASES["a recurring task, no zone"]
    bad = TaskId(await case[0](node, case[1]))
    node.spoil("UPDATE tasks SET spec = replace(spec, 'Gone/Away', 'UTC') WHERE id = ?", bad)
    await node.store.close()
    again = await opened(tmp_path)
    try:
        await again.dispatch.due(LATER, 1000)
        query = TaskQuery(workspace=WS, schedule_id=bad)
        assert len((await again.tasks.list_tasks(query)).tasks) == 1
        assert not await again.parking.parked(WS, 99)
    finally:
        await again.close()


async def test_what_cannot_be_read_can_be_looked_at_and_removed(node: Node) -> None:
    """It is listed among the others, where it belongs; it can be cancelled, then deleted."""
    bad, good = await node.both(group="mail", start_at=SOON)
    node.spoil(BROKEN, bad.id)
    page = await node.store.tasks.list_tasks(TaskQuery(workspace=WS))
    assert {one.id for one in page.tasks} == {bad.id, good.id}
    shown = await node.store.tasks.task(WS, bad.id)
    assert (shown.spec.group, shown.state) == ("mail", "scheduled")
    with pytest.raises(InvalidInput):
        check_spec(shown.spec)  # as whoever would run it again does
    with pytest.raises(Conflict):
        await node.store.tasks.reschedule(WS, bad.id, LATER, NOW, "me")
    await node.store.tasks.cancel(WS, [bad.id], NOW, "me")
    counts = await node.store.tasks.counts(WS, GROUP)
    assert counts == {TaskState.SCHEDULED: 1, TaskState.CANCELLED: 1}
    await node.store.tasks.delete(WS, [bad.id], NOW)
    assert await node.store.tasks.counts(WS, GROUP) == {TaskState.SCHEDULED: 1}


async def test_who_cancels_what_is_parked_is_rid_of_it(node: Node) -> None:
    """It is not tried again, nor listed."""
    case = CASES["a recurring task, no zone"]
    bad = TaskId(await case[0](node, case[1]))
    await node.store.tasks.cancel(WS, [bad], LATER, "me")
    assert not await node.parked()
