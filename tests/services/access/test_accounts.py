"""Tokens, users, who is asking, and who may do what."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from access_world import ADMIN_A, LOCAL, A, World, template, world
from argon2 import extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import (
    NotAuthenticated,
    NotFound,
    Overloaded,
)
from taskyard.core.ids import WorkspaceName
from taskyard.ports.access import StoredUser
from taskyard.services.access.passwords import Passwords

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse"


def basic(name: str, password: str) -> str:
    """An Authorization header."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def template_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store."""
    return template(tmp_path_factory.mktemp("template"))


@pytest.fixture
async def at(template_path: Path, tmp_path: Path) -> AsyncIterator[World]:
    """An open store with its services."""
    async with world(template_path, tmp_path) as opened:
        yield opened


async def test_a_created_token_lets_its_holder_in(at: World) -> None:
    """The text of a token is shown once, and names workspace, role and actor from then on."""
    token, text = await at.access.create_token(ADMIN_A, "ci", Role.WRITE)
    assert text.startswith(f"ty_{token.id}_")
    assert len(text) == 3 + 8 + 1 + 43
    assert at.access.known(f"Bearer {text}") is None
    caller = await at.access.authenticate(f"bearer  {text} ", "192.0.2.7")
    assert caller == Caller("token ci", A, Role.WRITE, "192.0.2.7", f"token {token.id}")
    assert at.access.known(f"Bearer {text}", "192.0.2.8") == Caller(
        "token ci", A, Role.WRITE, "192.0.2.8", f"token {token.id}"
    )


async def test_a_token_is_stored_as_a_hash_only(at: World) -> None:
    """Nothing of the secret part is found in the files of the store."""
    _, text = await at.access.create_token(ADMIN_A, "ci", Role.WRITE)
    secret = text.encode()[-43:]
    for file in at.path.parent.iterdir():
        assert secret not in file.read_bytes()


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer dev",
        "Bearer ty_short",
        "Bearer ty_aaaaaaaa_" + "x" * 43,
        "Bearer \u00e4\ud800",
        "Digest abc",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        basic("nobody", PASSWORD),
        basic("admin", "admin"),
        "Basic " + "A" * 5000,
        "Bearer " + "A" * 100_000,
    ],
)
async def test_a_credential_that_is_none_is_refused(at: World, header: str | None) -> None:
    """Whatever the header says: not authenticated, never a defect; also without --dev defaults."""
    with pytest.raises(NotAuthenticated):
        await at.access.authenticate(header, "192.0.2.7")
    if header is not None:
        assert at.access.known(header) is None


async def test_a_token_with_another_secret_is_refused(at: World) -> None:
    """The id alone opens nothing."""
    token, text = await at.access.create_token(ADMIN_A, "ci", Role.WRITE)
    await at.access.authenticate(f"Bearer {text}")
    flipped = "A" if text[-1] != "A" else "B"
    with pytest.raises(NotAuthenticated):
        await at.access.authenticate(f"Bearer {text[:-1]}{flipped}")
    with pytest.raises(NotAuthenticated):
        await at.access.authenticate(f"Bearer ty_{token.id}_" + "x" * 43)


async def test_a_revoked_token_is_out_at_once(at: World) -> None:
    """Revoking ends the fast path too, and can be repeated."""
    token, text = await at.access.create_token(ADMIN_A, "ci", Role.WRITE)
    await at.access.authenticate(f"Bearer {text}")
    revoked = await at.access.revoke_token(ADMIN_A, token.id)
    assert revoked.revoked_at == at.clock.now()
    assert at.access.known(f"Bearer {text}") is None
    with pytest.raises(NotAuthenticated, match="revoked"):
        await at.access.authenticate(f"Bearer {text}")
    at.clock.advance(5)
    assert await at.access.revoke_token(ADMIN_A, token.id) == revoked


async def test_a_revocation_while_the_store_is_read_is_seen(
    at: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up that began before the revocation does not let the token in afterwards."""
    token, text = await at.access.create_token(ADMIN_A, "ci", Role.WRITE)
    find = at.store.find_token
    looked, revoked = anyio.Event(), anyio.Event()

    async def slow(token_id: str) -> object:
        found = await find(token_id)
        looked.set()
        await revoked.wait()
        return found

    monkeypatch.setattr(at.store, "find_token", slow)

    async def revoke() -> None:
        await looked.wait()
        await at.access.revoke_token(ADMIN_A, token.id)
        revoked.set()

    async with anyio.create_task_group() as both:
        both.start_soon(revoke)
        with pytest.raises(NotAuthenticated, match="revoked"):
            await at.access.authenticate(f"Bearer {text}")
    assert at.access.known(f"Bearer {text}") is None


async def test_a_token_expires_to_the_second(at: World) -> None:
    """Expiry is looked at each time, remembered or not."""
    _, text = await at.access.create_token(ADMIN_A, "ci", Role.WRITE, expires_in_s=60)
    await at.access.authenticate(f"Bearer {text}")
    at.clock.advance(59)
    assert at.access.known(f"Bearer {text}") is not None
    at.clock.advance(1)
    assert at.access.known(f"Bearer {text}") is None
    with pytest.raises(NotAuthenticated, match="expired"):
        await at.access.authenticate(f"Bearer {text}")


async def test_last_use_is_kept_to_the_hour(at: World) -> None:
    """Using a token writes at most once an hour, and the listing shows it before that."""
    token, text = await at.access.create_token(ADMIN_A, "ci", Role.WRITE)
    await at.access.authenticate(f"Bearer {text}")
    hour = at.clock.now() - at.clock.now() % 3_600_000_000
    (listed,) = await at.access.tokens(ADMIN_A)
    assert listed.last_used_at == hour
    await at.access.write_uses()
    stored = await at.store.find_token(token.id)
    assert stored is not None
    assert stored.token.last_used_at == hour
    at.access.known(f"Bearer {text}")
    await at.access.write_uses()
    assert at.access._authentication._uses == {}


async def test_remembered_tokens_are_bounded(at: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest makes room and is looked up again when it comes back."""
    monkeypatch.setattr("taskyard.services.access.authentication.TOKENS_REMEMBERED", 2)
    texts = [(await at.access.create_token(ADMIN_A, f"t{n}", Role.READ))[1] for n in range(3)]
    for text in texts:
        await at.access.authenticate(f"Bearer {text}")
    assert at.access.known(f"Bearer {texts[0]}") is None
    assert (await at.access.authenticate(f"Bearer {texts[0]}")).actor == "token t0"


async def test_a_known_token_costs_microseconds(at: World) -> None:
    """The fast path stays one: far below a store's round trip."""
    _, text = await at.access.create_token(ADMIN_A, "ci", Role.WRITE)
    header = f"Bearer {text}"
    await at.access.authenticate(header)
    best = 1.0
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(1000):
            at.access.known(header, "192.0.2.7")
        best = min(best, (time.perf_counter() - began) / 1000)
    assert best < 20e-6


async def test_a_user_signs_in(at: World) -> None:
    """Name and password lead to the user's workspace and role; the second time without argon2."""
    await at.access.add_user(ADMIN_A, "ann", PASSWORD, Role.OPERATE)
    header = basic("ann", PASSWORD)
    assert at.access.known(header) is None
    caller = await at.access.authenticate(header, "192.0.2.7")
    assert caller == Caller("user ann", A, Role.OPERATE, "192.0.2.7", "user ann")
    assert at.access.known(header, "192.0.2.7") == caller
    assert at.access.known(basic("ann", PASSWORD + "!")) is None


async def test_passwords_are_hashed_at_full_cost_unless_a_test_says_otherwise() -> None:
    """What is stored tells how it was made: argon2id as RFC 9106 recommends it."""
    stored = await Passwords().hash(PASSWORD)
    assert extract_parameters(stored) == RFC_9106_LOW_MEMORY


async def test_a_changed_password_and_a_removed_user_are_out_at_once(at: World) -> None:
    """What was remembered is forgotten with the change."""
    await at.access.add_user(ADMIN_A, "ann", PASSWORD, Role.WRITE)
    await at.access.authenticate(basic("ann", PASSWORD))
    await at.access.set_password(ADMIN_A, "ann", "another one")
    assert at.access.known(basic("ann", PASSWORD)) is None
    with pytest.raises(NotAuthenticated):
        await at.access.authenticate(basic("ann", PASSWORD))
    await at.access.authenticate(basic("ann", "another one"))
    await at.access.remove_user(ADMIN_A, "ann")
    with pytest.raises(NotAuthenticated):
        await at.access.authenticate(basic("ann", "another one"))
    with pytest.raises(NotFound):
        await at.access.remove_user(ADMIN_A, "ann")


async def test_guessing_is_slowed_down(at: World) -> None:
    """After five wrong passwords there are pauses that double; others are not held up."""
    await at.access.add_user(ADMIN_A, "ann", PASSWORD, Role.WRITE)
    for n in range(5):
        with pytest.raises(NotAuthenticated):
            await at.access.authenticate(basic("ann", f"wrong {n}"), "192.0.2.7")
    with pytest.raises(Overloaded) as refused:
        await at.access.authenticate(basic("ann", PASSWORD), "192.0.2.7")
    assert refused.value.retry_after_s == 1
    await at.access.authenticate(basic("ann", PASSWORD), "192.0.2.8")
    at.clock.advance(1)
    with pytest.raises(NotAuthenticated):
        await at.access.authenticate(basic("ann", "wrong"), "192.0.2.7")
    with pytest.raises(Overloaded) as refused:
        await at.access.authenticate(basic("ann", "wrong"), "192.0.2.7")
    assert refused.value.retry_after_s == 2
    # Where it came from before it is known, whoever guesses elsewhere; there it would be a guess.
    assert at.access.known(basic("ann", PASSWORD), "192.0.2.8") is not None
    assert at.access.known(basic("ann", PASSWORD), "192.0.2.7") is None


async def test_trying_one_password_on_many_users_is_slowed_down(at: World) -> None:
    """An address has a limit of its own."""
    refusals = 0
    for n in range(60):
        try:
            await at.access.authenticate(basic(f"user{n}", "password1"), "192.0.2.7")
        except Overloaded:
            refusals += 1
        except NotAuthenticated:
            pass
    assert refusals == 10


async def test_many_first_requests_with_one_password_verify_it_once(
    at: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty connections of one client cost one hashing and do not count as guessing."""
    await at.access.add_user(ADMIN_A, "ann", PASSWORD, Role.WRITE)
    looks = 0
    find = at.store.find_user

    async def counting(name: str) -> StoredUser | None:
        nonlocal looks
        looks += 1
        return await find(name)

    monkeypatch.setattr(at.store, "find_user", counting)
    callers = await asyncio.gather(
        *(at.access.authenticate(basic("ann", PASSWORD), "192.0.2.7") for _ in range(40))
    )
    assert {caller.actor for caller in callers} == {"user ann"}
    assert looks == 1
    wrong = await asyncio.gather(
        *(at.access.authenticate(basic("ann", "wrong!!!"), "192.0.2.7") for _ in range(40)),
        return_exceptions=True,
    )
    assert {type(error) for error in wrong} == {NotAuthenticated}
    assert looks == 2


async def test_dev_credentials_exist_only_after_install_dev(at: World) -> None:
    """--dev has a token and two users, in memory, and stores nothing."""
    at.access.install_dev()
    default = WorkspaceName("default")
    assert at.access.known("Bearer dev") == Caller(
        "token dev", default, Role.ADMIN, credential="token dev", installation=Role.OPERATE
    )
    assert at.access.known(basic("admin", "admin")) == Caller(
        "user admin", default, Role.ADMIN, credential="user admin", installation=Role.OPERATE
    )
    assert (await at.access.authenticate(basic("guest", "guest"))).role is Role.READ
    with pytest.raises(NotAuthenticated):
        await at.access.authenticate(basic("admin", "guest"))
    assert await at.store.find_user("admin") is None
    assert await at.access.tokens(LOCAL) == []
