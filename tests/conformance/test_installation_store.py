"""What every store promises of what workspaces share: user ids, the list of them, their output."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from dispatching import TOKEN, W1, placement
from invariants import check_invariants

from fakes.specs import NOW, WS, new_task
from fakes.stores import COMPLETE_STORES, opened_as
from taskyard.core.access.principals import INSTALLATION, AuditEntry, Role, Token, User
from taskyard.core.attempts import Ended, StreamSize
from taskyard.core.errors import Conflict
from taskyard.core.ids import AttemptId, TaskId, WorkspaceName
from taskyard.core.instants import after
from taskyard.core.states import AttemptState
from taskyard.core.tasks import NewTask

pytestmark = pytest.mark.anyio
A, B, C = WorkspaceName("a"), WorkspaceName("b"), WorkspaceName("c")
ENTRY = AuditEntry(0, NOW, "user root", A, "test")


@pytest.fixture(params=COMPLETE_STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """An empty store of each kind, with a worker."""
    store: Any = await opened_as(request.param, tmp_path)
    await store.dispatch.join(W1)
    yield store
    await check_invariants(store)
    await store.close()


async def wrote(store: Any, workspace: str, name: str, **sizes: Any) -> NewTask:
    """A task whose attempt has ended, and what it has written."""
    new = new_task(workspace=workspace)
    await store.tasks.submit_placed(new, None, placement(new.id, 0, name))
    report = Ended(AttemptId(name), TOKEN, NOW, AttemptState.SUCCEEDED, **sizes)
    await store.dispatch.apply([report], NOW, [0.5])
    return new


async def test_a_workspace_keeps_its_user_id(store: Any) -> None:
    """Also when the range is another one by now; nobody else gets it."""
    users = store.workspace_users
    assert await users.user_id(A, 1000, 1002) == 1000
    assert await users.user_id(B, 1000, 1002) == 1001
    assert await users.user_id(A, 1000, 1002) == 1000
    assert await users.user_id(A, 5000, 6000) == 1000


async def test_user_ids_go_up_from_all_that_were_given_out(store: Any) -> None:
    """Never to one in a gap below, which may have been somebody's; not beyond the range either."""
    users = store.workspace_users
    assert await users.user_id(A, 2000, 2001) == 2000
    assert await users.user_id(B, 1000, 2001) == 2001
    for _ in range(2):
        with pytest.raises(Conflict, match="work_user_range"):
            await users.user_id(C, 1000, 2001)
    assert await users.user_id(A, 1000, 2001) == 2000
    assert await users.user_id(C, 1000, 2002) == 2002


async def test_workspaces_are_those_somebody_can_use(store: Any) -> None:
    """By a valid token, a user or a task; each once, and never the installation itself."""
    expiry = after(NOW, 10)
    access = store.access
    for name, workspace in (("t1", A), ("t2", INSTALLATION)):
        one = Token(name, "ci", workspace, Role.READ, NOW)
        await access.add_token(one, b"d" * 32, ENTRY)
    expiring = Token("t3", "ci", B, Role.READ, NOW, expires_at=expiry)
    await access.add_token(expiring, b"d" * 32, ENTRY)
    await access.add_user(User("ann", C, Role.READ, NOW), "hash", ENTRY)
    await access.add_user(User("amy", A, Role.READ, NOW), "hash", ENTRY)
    tell = store.workspace_users.workspaces
    assert await tell(NOW) == {A: False, B: False, C: False}
    assert await tell(expiry) == {A: False, C: False}
    await access.remove_user(C, "ann", ENTRY)
    await access.remove_user(A, "amy", ENTRY)
    assert await tell(expiry) == {A: False}
    await access.revoke_token(A, "t1", NOW, ENTRY)
    assert await tell(expiry) == {}


async def test_a_workspace_is_there_while_it_has_a_task(store: Any) -> None:
    """In any state; gone with the last of them."""
    new = new_task(workspace="a")
    await store.tasks.submit([new], None)
    tell = store.workspace_users.workspaces
    assert await tell(NOW) == {A: False}
    await store.tasks.cancel(A, [new.id], NOW, "me")
    assert await tell(NOW) == {A: False}
    await store.tasks.delete(A, [new.id], NOW)
    assert await tell(NOW) == {}


async def test_output_is_added_up_by_workspace_and_task(store: Any) -> None:
    """What is kept of both streams and of their order; not what was dropped."""
    first = await wrote(
        store, "a", "x", stdout=StreamSize(5, 70), stderr=StreamSize(2, 0), order_bytes=10
    )
    await wrote(store, "a", "y", stdout=StreamSize(100, 0))
    theirs = await wrote(store, "b", "z", stderr=StreamSize(1, 0))
    totals = await store.output.totals()
    assert (totals[A], totals[B]) == (117, 1)
    assert await store.output.of_task(first.id) == 17
    assert await store.output.of_task(theirs.id) == 1
    assert await store.output.of_task(TaskId("unknown")) == 0


async def test_output_that_is_gone_does_not_count(store: Any) -> None:
    """Deleted by its owner, or taken by retention."""
    deleted = await wrote(store, "a", "x", stdout=StreamSize(5, 0))
    await wrote(store, "b", "y", stdout=StreamSize(7, 0))
    await store.tasks.delete(A, [deleted.id], NOW)
    assert await store.output.of_task(deleted.id) == 0
    assert (await store.output.totals()).get(A, 0) == 0
    await store.dispatch.prune(after(NOW, 9), after(NOW, 9), None, 10)
    assert (await store.output.totals()).get(B, 0) == 0


async def test_attempts_are_known_until_their_task_is_deleted(store: Any) -> None:
    """Of any number of ids, whatever they look like."""
    first = await wrote(store, "a", "x", stdout=StreamSize(5, 0))
    second = await wrote(store, "b", "y")
    (one,) = await store.tasks.attempts(A, first.id)
    (two,) = await store.tasks.attempts(B, second.id)
    odd = [AttemptId(text) for text in ("", "'", "]", "ä", *map(str, range(2000)))]
    assert await store.output.known([]) == set()
    assert await store.output.known([*odd, one.id, two.id, one.id]) == {one.id, two.id}
    await store.tasks.delete(A, [first.id], NOW)
    assert await store.output.known([one.id, two.id]) == {two.id}


async def test_what_runs_counts_once_it_has_ended(store: Any) -> None:
    """A report that is told twice counts once."""
    new = new_task()
    await store.tasks.submit_placed(new, None, placement(new.id, 0))
    assert await store.output.of_task(new.id) == 0
    ended = Ended(AttemptId("a"), TOKEN, NOW, AttemptState.SUCCEEDED, stdout=StreamSize(5, 0))
    for _ in range(2):
        await store.dispatch.apply([ended], NOW, [0.5])
    assert await store.output.of_task(new.id) == 5
    assert (await store.output.totals())[WS] == 5
