"""What stays true when two clients change the same settings at the same time."""

from functools import partial
from typing import Any

import pytest
from dispatching import W1, placement, renewed
from invariants import check_invariants
from msgspec.structs import replace
from racing import Clients, answers, refusals

from fakes.specs import NOW, WS, new_task
from taskyard.core.errors import NotFound
from taskyard.core.ids import GroupName, IncarnationId, WorkerId, WorkspaceName
from taskyard.core.instants import after
from taskyard.core.states import TaskState

pytestmark = pytest.mark.anyio


async def settings(client: Any, name: GroupName) -> tuple[bool, int | None]:
    """Of a group."""
    record = await client.groups.group(WS, name)
    return record.paused, record.concurrency_limit


async def test_two_settings_of_a_group_are_both_kept(clients: Clients) -> None:
    """One pauses it, the other limits it; neither writes back what it read before."""
    for number, one, other in clients.in_turns():
        name = GroupName(f"g{number}")
        answers(
            await clients.race(
                partial(one.groups.set_group, WS, name, paused=True),
                partial(other.groups.set_group, WS, name, concurrency_limit=3),
            )
        )
        assert await settings(one, name) == await settings(other, name) == (True, 3)
        answers(
            await clients.race(
                partial(one.groups.set_group, WS, name, paused=False),
                partial(other.groups.set_group, WS, name, clear_limit=True),
            )
        )
        assert await settings(one, name) == await settings(other, name) == (False, None)


async def test_the_same_setting_is_one_of_the_two(clients: Clients) -> None:
    """Each is told its own; what nobody gave stays."""
    name = GroupName("g")
    await clients.first.groups.set_group(WS, name, paused=True)
    for number, one, other in clients.in_turns():
        limits = [2 * number + 1, 2 * number + 2]
        outcomes = answers(
            await clients.race(
                *(
                    partial(client.groups.set_group, WS, name, concurrency_limit=limit)
                    for client, limit in zip((one, other), limits, strict=True)
                )
            )
        )
        assert [record.concurrency_limit for record in outcomes] == limits
        paused, limit = await settings(one, name)
        assert paused
        assert limit in limits
        told, groups = await other.groups.limits()
        assert told == {}
        assert [(record.name, record.concurrency_limit) for record in groups] == [(name, limit)]


async def test_settings_of_many_groups_in_opposite_orders(clients: Clients) -> None:
    """Nobody waits for the other forever, and everything is set."""
    names = [GroupName(f"g{number}") for number in range(12)]

    async def pause(client: Any) -> None:
        for name in names:
            await client.groups.set_group(WS, name, paused=True)

    async def limit(client: Any) -> None:
        for name in reversed(names):
            await client.groups.set_group(WS, name, concurrency_limit=2)

    answers(
        await clients.race(
            partial(pause, clients.first),
            partial(limit, clients.second),
            partial(limit, clients.first),
            partial(pause, clients.second),
        )
    )
    assert [await settings(clients.first, name) for name in names] == [(True, 2)] * 12


async def test_limits_of_workspaces_are_set_one_by_one(clients: Clients) -> None:
    """Two workspaces at once: each has its own; one of them twice: one of both."""
    for number, one, other in clients.in_turns():
        left, right = WorkspaceName(f"l{number}"), WorkspaceName(f"r{number}")
        answers(
            await clients.race(
                partial(one.groups.set_workspace_limit, left, 5),
                partial(other.groups.set_workspace_limit, right, 7),
                partial(other.groups.set_workspace_limit, left, 6),
            )
        )
        limits, _ = await one.groups.limits()
        assert limits[right] == 7
        assert limits[left] in {5, 6}


async def test_settings_beside_submits(clients: Clients) -> None:
    """A group's counters count what was stored, whatever is set meanwhile."""
    for number, one, other in clients.in_turns():
        name = GroupName(f"g{number}")
        news = [new_task(group=name) for _ in range(5)]
        answers(
            await clients.race(
                partial(one.tasks.submit, news, None),
                partial(other.groups.set_group, WS, name, paused=True),
                partial(other.tasks.submit, [new_task(group=name)], None),
            )
        )
        record = await one.groups.group(WS, name)
        assert (record.paused, record.counts) == (True, {"queued": 6})
    await check_invariants(clients.first)


async def test_counters_of_groups_in_opposite_orders(clients: Clients) -> None:
    """Batches over the same groups, forwards and backwards; cancelled while others are added."""
    groups = [f"g{number}" for number in range(8)]
    for _, one, other in clients.in_turns(4):
        old = [new_task(group=group) for group in groups]
        await one.tasks.submit(old, None)
        answers(
            await clients.race(
                partial(one.tasks.submit, [new_task(group=group) for group in groups], None),
                partial(
                    other.tasks.submit, [new_task(group=group) for group in groups[::-1]], None
                ),
                partial(one.tasks.cancel, WS, [new.id for new in old], NOW, "me"),
                partial(other.tasks.cancel, WS, [new.id for new in old[::-1]], NOW, "you"),
            )
        )
    assert await clients.first.tasks.counts(WS) == {
        TaskState.QUEUED: 4 * 16,
        TaskState.CANCELLED: 4 * 8,
    }
    await check_invariants(clients.second)


async def test_draining_is_what_was_asked_for_last(clients: Clients) -> None:
    """Asked for while its worker joins again: the new incarnation is drained as well."""
    for number, one, other in clients.in_turns():
        life = replace(W1, incarnation=IncarnationId(f"life-{number}"))
        _, record = answers(
            await clients.race(
                partial(one.dispatch.join, life),
                partial(other.dispatch.set_draining, W1.id, draining=True),
            )
        )
        assert record.draining
        (found,) = await one.dispatch.workers()
        assert (found.incarnation, found.state) == (life.incarnation, "draining")
        new = new_task()
        plan = placement(new.id, 0, f"a{number}", incarnation=life.incarnation)
        assert (await other.tasks.submit_placed(new, None, plan)).attempt is None
        await one.dispatch.set_draining(W1.id, draining=False)
    await check_invariants(clients.first)


async def test_a_worker_that_joins_is_known_to_both(clients: Clients) -> None:
    """Joined by one and drained by the other: drained, or not known yet; it is there either way."""
    for number, one, other in clients.in_turns():
        life = replace(W1, id=WorkerId(f"n{number}"), incarnation=IncarnationId(f"l{number}"))
        outcomes = await clients.race(
            partial(one.dispatch.join, life),
            partial(other.dispatch.set_draining, life.id, draining=True),
        )
        assert refusals(outcomes) in ([], [NotFound])
        (found,) = [record for record in await other.dispatch.workers() if record.id == life.id]
        assert found.draining == (not refusals(outcomes))
        assert await renewed(one, life.id, life.incarnation)


async def test_maintenance_has_one_state(complete_clients: Clients) -> None:
    """Switched on by both: both read the same, and since when."""
    clients = complete_clients
    for number, one, other in clients.in_turns():
        moments = [after(NOW, 10 * number + step) for step in (1, 2)]
        await one.maintenance.put(is_on=False, now=after(NOW, 10 * number))
        answers(
            await clients.race(
                partial(one.maintenance.put, is_on=True, now=moments[0]),
                partial(other.maintenance.put, is_on=True, now=moments[1]),
            )
        )
        found = await one.maintenance.read()
        assert found == await other.maintenance.read()
        assert found.is_on
        assert found.changed_at in moments
