"""Tokens, users, who is asking, and who may do what."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from access_world import ADMIN_A, ADMIN_B, LOCAL, A, B, World, template, world
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskyard.core.access import Caller, Role
from taskyard.core.errors import (
    Conflict,
    InvalidInput,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Overloaded,
    TaskyardError,
)
from taskyard.core.ids import WorkspaceName
from taskyard.ports.access import StoredUser
from taskyard.services.access import require

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
    monkeypatch.setattr("taskyard.services.authentication.TOKENS_REMEMBERED", 2)
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
    # One that is remembered needs no verifying, whoever guesses from there.
    assert at.access.known(basic("ann", PASSWORD), "192.0.2.7") is not None


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
        "token dev", default, Role.ADMIN, credential="token dev"
    )
    assert at.access.known(basic("admin", "admin")) == Caller(
        "user admin", default, Role.ADMIN, credential="user admin"
    )
    assert (await at.access.authenticate(basic("guest", "guest"))).role is Role.READ
    with pytest.raises(NotAuthenticated):
        await at.access.authenticate(basic("admin", "guest"))
    assert await at.store.find_user("admin") is None
    assert await at.access.tokens(LOCAL) == []


@pytest.mark.parametrize("role", [Role.READ, Role.WRITE, Role.OPERATE])
async def test_only_an_admin_changes_access_and_refusals_are_recorded(
    at: World, role: Role
) -> None:
    """The refusal says which role is needed, and is in the audit trail."""
    low = Caller("token ci", A, role, "192.0.2.9")
    with pytest.raises(NotAllowed, match="role admin"):
        await at.access.create_token(low, "x", Role.READ)
    with pytest.raises(NotAllowed):
        await at.access.revoke_token(low, "abcdefgh")
    with pytest.raises(NotAllowed):
        await at.access.add_user(low, "ann", PASSWORD, Role.READ)
    with pytest.raises(NotAllowed):
        await at.access.set_password(low, "ann", PASSWORD)
    with pytest.raises(NotAllowed):
        await at.access.remove_user(low, "ann")
    for listing in (at.access.tokens, at.access.users):
        with pytest.raises(NotAllowed):
            await listing(low)
    with pytest.raises(NotAllowed):
        await at.audit.page(low)
    trail = await at.audit.page(ADMIN_A)
    assert [(entry.action, entry.outcome, entry.actor) for entry in trail] == [
        ("user.remove", "refused", "token ci"),
        ("user.set_password", "refused", "token ci"),
        ("user.add", "refused", "token ci"),
        ("token.revoke", "refused", "token ci"),
        ("token.create", "refused", "token ci"),
    ]
    assert trail[0].address == "192.0.2.9"


async def test_an_admin_stays_in_its_workspace(at: World) -> None:
    """Another workspace may not be named, and its objects look like unknown ones."""
    token, text = await at.access.create_token(ADMIN_A, "ci", Role.READ)
    await at.access.add_user(ADMIN_A, "ann", PASSWORD, Role.READ)
    with pytest.raises(NotAllowed, match="own workspace"):
        await at.access.create_token(ADMIN_B, "ci", Role.READ, A)
    with pytest.raises(NotFound) as theirs:
        await at.access.revoke_token(ADMIN_B, token.id)
    with pytest.raises(NotFound) as unknown:
        await at.access.revoke_token(ADMIN_B, "zzzzzzzz")
    assert str(theirs.value).replace(token.id, "") == str(unknown.value).replace("zzzzzzzz", "")
    with pytest.raises(NotFound):
        await at.access.remove_user(ADMIN_B, "ann")
    with pytest.raises(NotFound):
        await at.access.set_password(ADMIN_B, "ann", "stolen password")
    assert await at.access.tokens(ADMIN_B) == []
    assert await at.access.users(ADMIN_B) == []
    assert (await at.access.authenticate(f"Bearer {text}")).workspace == A


async def test_the_local_caller_may_name_any_workspace(at: World) -> None:
    """The command line on the machine itself sets up workspaces."""
    token, _ = await at.access.create_token(LOCAL, "ci", Role.ADMIN, B)
    assert token.workspace == B
    await at.access.add_user(LOCAL, "bob", PASSWORD, Role.ADMIN, B)
    assert [user.name for user in await at.access.users(ADMIN_B)] == ["bob"]
    assert {entry.actor for entry in await at.audit.page(ADMIN_B)} == {"local"}
    await at.access.revoke_token(LOCAL, token.id, B)
    await at.access.remove_user(LOCAL, "bob", B)


async def test_a_user_name_is_taken_once_in_all_workspaces(at: World) -> None:
    """Whoever signs in gives only a name."""
    await at.access.add_user(ADMIN_A, "ann", PASSWORD, Role.READ)
    with pytest.raises(Conflict):
        await at.access.add_user(ADMIN_B, "ann", PASSWORD, Role.READ)


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a\n", "ä", "a/b", "a\0"])
async def test_a_name_that_breaks_the_rule_is_refused(at: World, name: str) -> None:
    """1 to 64 plain characters, for tokens and users."""
    with pytest.raises(InvalidInput, match="name"):
        await at.access.create_token(ADMIN_A, name, Role.READ)
    with pytest.raises(InvalidInput, match="name"):
        await at.access.add_user(ADMIN_A, name, PASSWORD, Role.READ)


@pytest.mark.parametrize("password", ["", "short12", "x" * 257, "\ud800 surrogate"])
async def test_a_password_that_breaks_the_rule_is_refused(at: World, password: str) -> None:
    """8 to 256 characters."""
    with pytest.raises(InvalidInput, match="password"):
        await at.access.add_user(ADMIN_A, "ann", password, Role.READ)


@pytest.mark.parametrize("expires_in_s", [0, -1, 1e12, float("nan"), float("inf")])
async def test_an_absurd_expiry_is_refused(at: World, expires_in_s: float) -> None:
    """From a second to ten years."""
    with pytest.raises(InvalidInput, match="expires_in_s"):
        await at.access.create_token(ADMIN_A, "ci", Role.READ, expires_in_s=expires_in_s)


def test_require_names_the_role() -> None:
    """A role includes those below it."""
    require(ADMIN_A, Role.READ)
    with pytest.raises(NotAllowed, match="role operate; token x has write"):
        require(Caller("token x", A, Role.WRITE), Role.OPERATE)


CALLERS = st.builds(
    Caller,
    actor=st.sampled_from(["token x", "user y", "local"]),
    workspace=st.sampled_from([A, B]),
    role=st.sampled_from(list(Role)),
)
STEPS = st.lists(
    st.tuples(
        CALLERS,
        st.sampled_from(["create", "revoke", "add", "remove"]),
        st.sampled_from([None, A, B]),
        st.sampled_from(list(Role)),
        st.integers(0, 3),
    ),
    max_size=25,
)


class Model:
    """What should be the case, written down beside the service."""

    def __init__(self, at: World) -> None:
        self.at = at
        self.tokens: list[tuple[str, str, WorkspaceName, Role]] = []
        self.revoked: set[str] = set()
        self.users: dict[str, WorkspaceName] = {}

    async def step(
        self, caller: Caller, action: str, workspace: WorkspaceName | None, role: Role, pick: int
    ) -> None:
        """Try it, and see that it is allowed exactly if it should be."""
        where = workspace or caller.workspace
        allowed = caller.role is Role.ADMIN and (
            caller.actor == "local" or where == caller.workspace
        )
        try:
            await getattr(self, action)(caller, workspace, where, role, pick)
        except NotAllowed:
            assert not allowed
        except TaskyardError:
            assert allowed
        else:
            assert allowed

    async def create(
        self,
        caller: Caller,
        workspace: WorkspaceName | None,
        where: WorkspaceName,
        role: Role,
        _pick: int,
    ) -> None:
        """A token, which belongs where it was asked for."""
        token, text = await self.at.access.create_token(caller, "t", role, workspace)
        self.tokens.append((token.id, text, where, role))

    async def revoke(
        self,
        caller: Caller,
        workspace: WorkspaceName | None,
        where: WorkspaceName,
        _role: Role,
        pick: int,
    ) -> None:
        """One of the tokens, which has to be of that workspace."""
        token_id = self.tokens[pick][0] if pick < len(self.tokens) else "zzzzzzzz"
        await self.at.access.revoke_token(caller, token_id, workspace)
        assert (token_id, where) in {(one[0], one[2]) for one in self.tokens}
        self.revoked.add(token_id)

    async def add(
        self,
        caller: Caller,
        workspace: WorkspaceName | None,
        where: WorkspaceName,
        role: Role,
        pick: int,
    ) -> None:
        """A user whose name nobody has."""
        await self.at.access.add_user(caller, f"user{pick}", PASSWORD, role, workspace)
        assert f"user{pick}" not in self.users
        self.users[f"user{pick}"] = where

    async def remove(
        self,
        caller: Caller,
        workspace: WorkspaceName | None,
        where: WorkspaceName,
        _role: Role,
        pick: int,
    ) -> None:
        """A user of that workspace."""
        await self.at.access.remove_user(caller, f"user{pick}", workspace)
        assert self.users.pop(f"user{pick}") == where

    async def compare(self) -> None:
        """Exactly the valid tokens get in, each where it belongs; users are where they belong."""
        for token_id, text, where, role in self.tokens:
            try:
                seen = await self.at.access.authenticate(f"Bearer {text}")
            except NotAuthenticated:
                assert token_id in self.revoked
            else:
                assert token_id not in self.revoked
                assert (seen.workspace, seen.role) == (where, role)
        for where in (A, B):
            listed = {user.name for user in await self.at.store.users(where, None, 100)}
            assert listed == {name for name, its in self.users.items() if its == where}


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_walls_and_roles_hold_whatever_is_tried(
    template_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[Caller, str, WorkspaceName | None, Role, int]],
) -> None:
    """Only admins change anything, only in their workspace unless local; see :class:`Model`."""

    async def play() -> None:
        async with world(template_path, tmp_path_factory.mktemp("walls")) as at:
            model = Model(at)
            for step in steps:
                await model.step(*step)
                await model.compare()

    anyio.run(play)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(), st.binary().map(lambda data: data.decode("latin-1"))))
async def test_arbitrary_text_is_never_known(at: World, text: str) -> None:
    """The fast path answers None, and raises nothing, whatever a peer sends."""
    for scheme in ("", "Bearer ", "Basic "):
        assert at.access.known(scheme + text) is None
