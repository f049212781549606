"""What a store remembers of attempts must not outlive what others do to them."""

from functools import partial
from typing import Any

import pytest
from dispatching import TOKEN, placement
from invariants import check_invariants
from racing import Clients

from fakes.specs import NOW, WS, new_task
from taskyard.core.attempts import Ended, Started
from taskyard.core.ids import AttemptId
from taskyard.core.instants import after
from taskyard.core.states import AttemptState, TaskState

pytestmark = pytest.mark.anyio
LATER = after(NOW, 2)


async def test_ends_are_decided_by_what_others_did_meanwhile(clients: Clients) -> None:
    """A kill is in the history of a task that succeeds all the same; a loss fences the end."""
    for number, one, other in clients.in_turns():
        killed, lost = [await _placed(one, f"{name}{number}") for name in "kl"]
        await other.tasks.cancel(WS, [killed], LATER, "somebody")
        await other.dispatch.apply([_ended(f"l{number}", AttemptState.LOST)], LATER, [0.5])
        reports = [_ended(f"{name}{number}") for name in "kl"]
        changes, refused = await one.dispatch.apply(reports, LATER, [0.5, 0.5])
        assert [(change.task_id, change.kind) for change in changes] == [
            (killed, "started"),
            (killed, "succeeded"),
        ]
        assert refused == [TOKEN]
        assert await _numbered(one, killed) == [
            (1, "submitted"),
            (2, "assigned"),
            (3, "kill_requested"),
            (4, "started"),
            (5, "succeeded"),
        ]
        history = await _numbered(one, lost)
        assert [kind for _, kind in history[-2:]] == ["requeued", "refused"]
        assert [count for count, _ in history] == list(range(1, len(history) + 1))
    await check_invariants(clients.first)


async def test_one_that_fails_costs_the_others_of_its_batch_nothing(clients: Clients) -> None:
    """Also if all of them end attempts that are remembered."""
    for number, one, other in clients.in_turns():
        names = [f"{name}{number}" for name in "abc"]
        tasks = [await _placed(one, name) for name in names]
        await other.dispatch.apply([_ended(names[1])], LATER, [0.5])
        results = await clients.race(
            *(partial(one.dispatch.apply, [_ended(name)], LATER, [0.5]) for name in names),
            partial(one.tasks.submit, [new_task(idempotency_key=f"key{number}")], None),
            partial(other.tasks.submit, [new_task(idempotency_key=f"key{number}")], None),
        )
        assert not [result for result in results if isinstance(result, BaseException)]
        for task_id in tasks:
            task = await other.tasks.task(WS, task_id)
            assert task.state is TaskState.SUCCEEDED
            kinds = [kind for _, kind in await _numbered(one, task_id)]
            assert kinds == ["submitted", "assigned", "started", "succeeded"]
    await check_invariants(clients.first)


async def test_a_start_told_before_is_not_forgotten(clients: Clients) -> None:
    """An end says when the work began, too; the start that was stored before holds."""
    for number, one, _ in clients.in_turns():
        task_id = await _placed(one, f"s{number}")
        began = Started(AttemptId(f"s{number}"), TOKEN, NOW)
        await one.dispatch.apply([began], NOW, [0.5])
        changes, refused = await one.dispatch.apply([_ended(f"s{number}")], LATER, [0.5])
        assert ([change.kind for change in changes], refused) == (["succeeded"], [])
        (attempt,) = await one.tasks.attempts(WS, task_id)
        assert attempt.started_at == NOW


async def _placed(client: Any, name: str) -> Any:
    new = new_task()
    stored = await client.tasks.submit_placed(new, None, placement(new.id, 0, AttemptId(name)))
    assert stored.attempt is not None
    return new.id


def _ended(name: str, state: AttemptState = AttemptState.SUCCEEDED) -> Ended:
    return Ended(AttemptId(name), TOKEN, LATER, state, started_at=after(NOW, 1))


async def _numbered(client: Any, task_id: Any) -> list[tuple[int, str]]:
    events = await client.tasks.events(WS, task_id, 0, 100)
    return [(event.number, event.kind) for event in events]
