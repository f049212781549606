"""Who may change access, by which rules, and what never lets anybody in."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from access_world import ADMIN_A, ADMIN_B, LOCAL, A, B, World, template, world
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import (
    Conflict,
    InvalidInput,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    TaskyardError,
)
from taskyard.core.ids import WorkspaceName
from taskyard.services.access.permissions import require

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
