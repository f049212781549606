"""What stays true when two clients give out, use, change and take away access at the same time."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from racing import Clients, answers, refusals

from fakes.specs import NOW
from taskyard.core.access.principals import AuditEntry, Role, Token, User
from taskyard.core.errors import Conflict, NotFound
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant, after

pytestmark = pytest.mark.anyio
A, B = WorkspaceName("a"), WorkspaceName("b")


@pytest.fixture
def clients(complete_clients: Clients) -> Clients:
    """Every adapter that keeps tokens, users and secrets."""
    return complete_clients


def entry(action: str, target: str, workspace: WorkspaceName = A) -> AuditEntry:
    """An entry as a service makes it."""
    return AuditEntry(0, NOW, "user root", workspace, action, target)


def token(name: str, workspace: WorkspaceName = A) -> Token:
    """A valid token."""
    return Token(name, "ci", workspace, Role.WRITE, NOW)


async def told(client: Any, target: str, *workspaces: WorkspaceName) -> list[str]:
    """What the audit trail tells of one object, oldest first."""
    found: list[AuditEntry] = []
    for workspace in workspaces or (A,):
        found += await client.access.audit(workspace, None, 1000)
    found.sort(key=lambda one: one.number)
    return [one.action for one in found if one.target == target]


async def check_trail(client: Any) -> None:
    """Numbers of the audit trail are given once, across workspaces."""
    numbers: list[int] = []
    for workspace in (A, B):
        numbers += [one.number for one in await client.access.audit(workspace, None, 10_000)]
    assert len(set(numbers)) == len(numbers)


async def test_a_token_id_is_given_once(clients: Clients) -> None:
    """The other client hears that it is taken, and leaves no trace; the digest is the winner's."""
    for number, one, other in clients.in_turns():
        name = f"t{number}"
        outcomes = await clients.race(
            partial(one.access.add_token, token(name, A), b"a" * 32, entry("a", name, A)),
            partial(other.access.add_token, token(name, B), b"b" * 32, entry("b", name, B)),
        )
        assert refusals(outcomes) == [Conflict]
        found = await one.access.find_token(name)
        winner = "b" if isinstance(outcomes[0], Conflict) else "a"
        assert (found.token.workspace, found.digest) == (winner, winner.encode() * 32)
        assert await told(other, name, A, B) == [winner]
    await check_trail(clients.first)


async def test_a_token_is_revoked_once(clients: Clients) -> None:
    """Both hear the moment that holds, and one line of the trail tells it."""
    for number, one, other in clients.in_turns():
        name = f"t{number}"
        await one.access.add_token(token(name), b"d" * 32, entry("add", name))
        outcomes = answers(
            await clients.race(
                partial(one.access.revoke_token, A, name, after(NOW, 1), entry("revoke", name)),
                partial(other.access.revoke_token, A, name, after(NOW, 2), entry("revoke", name)),
            )
        )
        assert outcomes[0] == outcomes[1]
        assert (await one.access.find_token(name)).token == outcomes[0]
        assert await told(other, name) == ["add", "revoke"]
    await check_trail(clients.first)


async def test_a_use_does_not_bring_a_revoked_token_back(clients: Clients) -> None:
    """Noted beside the revocation: both stay. Once it is answered, both clients see it revoked."""
    for number, one, other in clients.in_turns():
        name, used = f"t{number}", after(NOW, 5)
        await one.access.add_token(token(name), b"d" * 32, entry("add", name))
        answers(
            await clients.race(
                partial(one.access.revoke_token, A, name, NOW, entry("revoke", name)),
                partial(other.access.note_uses, {name: used}),
            )
        )
        for client in (one, other):
            found = (await client.access.find_token(name)).token
            assert (found.revoked_at, found.last_used_at) == (NOW, used)
    await check_trail(clients.first)


async def test_the_last_use_is_the_latest(clients: Clients) -> None:
    """Whoever notes it first, of many tokens at once and in opposite orders."""
    names = [f"t{number}" for number in range(6)]
    for name in names:
        await clients.first.access.add_token(token(name), b"d" * 32, entry("add", name))
    for number, one, other in clients.in_turns():
        early, late = after(NOW, 10 * number), after(NOW, 10 * number + 5)
        answers(
            await clients.race(
                partial(one.access.note_uses, dict.fromkeys(names, late)),
                partial(other.access.note_uses, dict.fromkeys(reversed(names), early)),
            )
        )
        for name in names:
            assert (await other.access.find_token(name)).token.last_used_at == late


async def test_a_user_name_is_given_once(clients: Clients) -> None:
    """Across workspaces, as a login names none."""
    for number, one, other in clients.in_turns():
        name = f"ann{number}"
        outcomes = await clients.race(
            partial(one.access.add_user, User(name, A, Role.READ, NOW), "a", entry("a", name, A)),
            partial(
                other.access.add_user, User(name, B, Role.ADMIN, NOW), "b", entry("b", name, B)
            ),
        )
        assert refusals(outcomes) == [Conflict]
        winner = "b" if isinstance(outcomes[0], Conflict) else "a"
        found = await one.access.find_user(name)
        assert (found.user.workspace, found.password_hash) == (winner, winner)
        assert await told(other, name, A, B) == [winner]
    await check_trail(clients.first)


async def test_a_user_is_removed_once(clients: Clients) -> None:
    """The other client finds nobody, and nothing is told of it."""
    for number, one, other in clients.in_turns():
        name = f"ann{number}"
        await one.access.add_user(User(name, A, Role.READ, NOW), "hash", entry("add", name))
        outcomes = await clients.race(
            partial(one.access.remove_user, A, name, entry("remove", name)),
            partial(other.access.remove_user, A, name, entry("remove", name)),
        )
        assert refusals(outcomes) == [NotFound]
        assert await told(one, name) == ["add", "remove"]
    assert await clients.first.access.users(A, None, 10) == []
    await check_trail(clients.first)


async def test_a_password_does_not_bring_a_removed_user_back(clients: Clients) -> None:
    """Changed before the removal or refused after it; the user is gone either way."""
    for number, one, other in clients.in_turns():
        name = f"ann{number}"
        await one.access.add_user(User(name, A, Role.READ, NOW), "hash", entry("add", name))
        outcomes = await clients.race(
            partial(one.access.remove_user, A, name, entry("remove", name)),
            partial(other.access.set_password, A, name, "new", entry("password", name)),
        )
        assert refusals(outcomes) in ([], [NotFound])
        assert outcomes[0] is None
        assert await other.access.find_user(name) is None
        changed = ["password"] if outcomes[1] is None else []
        assert await told(one, name) == ["add", *changed, "remove"]
    await check_trail(clients.first)


async def test_a_password_is_one_of_the_two(clients: Clients) -> None:
    """That of the change which the trail tells last."""
    name = "ann"
    await clients.first.access.add_user(User(name, A, Role.READ, NOW), "hash", entry("add", name))
    for number, one, other in clients.in_turns():
        answers(
            await clients.race(
                partial(one.access.set_password, A, name, f"{number}x", entry(f"{number}x", name)),
                partial(
                    other.access.set_password, A, name, f"{number}y", entry(f"{number}y", name)
                ),
            )
        )
        trail = await told(one, name)
        assert sorted(trail[-2:]) == [f"{number}x", f"{number}y"]
        assert (await one.access.find_user(name)).password_hash == trail[-1]
    await check_trail(clients.first)


async def test_a_secret_is_created_once(clients: Clients) -> None:
    """One creates it, the other replaces it; the value is that of the latter."""
    for number, one, other in clients.in_turns():
        name = f"s{number}"
        created = answers(
            await clients.race(
                partial(one.access.put_secret, A, name, b"x", NOW, entry("x", name)),
                partial(other.access.put_secret, A, name, b"y", NOW, entry("y", name)),
            )
        )
        assert sorted(created) == [False, True]
        last = b"y" if created[0] else b"x"
        assert await one.access.sealed(A, [name]) == {name: last}
        assert (await told(other, name))[-1] == last.decode()
    assert len(await clients.second.access.secrets(A, None, 100)) == 12
    await check_trail(clients.first)


async def test_a_secret_is_deleted_or_replaced(clients: Clients) -> None:
    """Deleted, and then created again; or replaced, and then deleted."""
    for number, one, other in clients.in_turns():
        name = f"s{number}"
        await one.access.put_secret(A, name, b"old", NOW, entry("add", name))
        deleted, created = answers(
            await clients.race(
                partial(one.access.delete_secret, A, name, entry("delete", name)),
                partial(other.access.put_secret, A, name, b"new", NOW, entry("put", name)),
            )
        )
        assert deleted is None
        assert await other.access.sealed(A, [name]) == ({name: b"new"} if created else {})
        order = ["delete", "put"] if created else ["put", "delete"]
        assert await told(one, name) == ["add", *order]
    await check_trail(clients.first)


async def test_every_entry_of_the_trail_has_its_number(clients: Clients) -> None:
    """Appended alone or with what they tell of, by both at once; none is lost, none twice."""

    async def append(client: Any, names: Sequence[str]) -> list[int]:
        return [await client.access.append(entry("seen", name)) for name in names]

    names = [[f"{client}{number}" for number in range(40)] for client in "xy"]
    calls: list[Any] = [
        partial(append, clients.first, names[0]),
        partial(append, clients.second, names[1]),
    ]
    for number in range(20):
        client = clients.second if number % 2 else clients.first
        name = f"s{number}"
        calls.append(partial(client.access.put_secret, B, name, b"x", NOW, entry("put", name, B)))
    outcomes = answers(await clients.race(*calls))
    kept = await clients.second.access.audit(A, None, 1000)
    assert sorted(one.number for one in kept) == sorted([*outcomes[0], *outcomes[1]])
    assert sorted(one.target for one in kept) == sorted([*names[0], *names[1]])
    assert len(await clients.first.access.audit(B, None, 1000)) == 20
    await check_trail(clients.first)


async def test_refused_attempts_are_counted_by_both(clients: Clients) -> None:
    """What one adds to an entry's count does not take away what the other added."""
    first = await clients.first.access.append(entry("refused", "x"))
    second = await clients.first.access.append(entry("refused", "y"))
    for _, one, other in clients.in_turns():
        answers(
            await clients.race(
                partial(one.access.recount, {first: 2, second: 1}),
                partial(other.access.recount, {second: 3, first: 5}),
            )
        )
    trail = await clients.second.access.audit(A, None, 10)
    assert {one.target: one.count for one in trail} == {"x": 1 + 12 * 7, "y": 1 + 12 * 4}


async def test_the_first_signing_key_is_everybodys(clients: Clients) -> None:
    """Both make one, and both are answered the one that is kept."""
    for number, one, other in clients.in_turns():
        workspace = WorkspaceName(f"w{number}")
        kept = answers(
            await clients.race(
                partial(one.webhooks.add_signing_key, workspace, b"x", NOW),
                partial(other.webhooks.add_signing_key, workspace, b"y", NOW),
            )
        )
        assert kept[0] == kept[1]
        assert await one.webhooks.signing_key(workspace) == kept[0]


async def test_user_ids_belong_to_one_workspace(clients: Clients) -> None:
    """The same one is asked for twice at once, others beside it; none is given out twice."""
    first, last = 1000, 1019
    calls = []
    for number in range(20):
        for client in (clients.first, clients.second):
            name = WorkspaceName(f"w{number}")
            calls.append(partial(client.workspace_users.user_id, name, first, last))
    given = answers(await clients.race(*calls))
    assert given[::2] == given[1::2]
    assert sorted(given[::2]) == list(range(first, last + 1))
    late = WorkspaceName("late")
    outcomes = await clients.race(
        partial(clients.first.workspace_users.user_id, late, first, last),
        partial(clients.second.workspace_users.user_id, late, first, last),
    )
    assert refusals(outcomes) == [Conflict, Conflict]


async def test_what_is_valid_is_told_after_a_revocation(clients: Clients) -> None:
    """A workspace whose only token was revoked is gone for both clients once that is answered."""
    for number, one, other in clients.in_turns():
        workspace, name = WorkspaceName(f"w{number}"), f"t{number}"
        await one.access.add_token(token(name, workspace), b"d" * 32, entry("add", name))
        moment = Instant(NOW + number)
        answers(
            await clients.race(
                partial(one.access.revoke_token, workspace, name, moment, entry("revoke", name)),
                partial(other.workspace_users.workspaces, moment),
            )
        )
        for client in (one, other):
            assert workspace not in await client.workspace_users.workspaces(moment)
