"""Credentials of the installation: who gives them out, and what they are good for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from access_world import ADMIN_A, LOCAL, A, B, World, template, world
from msgspec.structs import replace

from taskyard.core.access.principals import INSTALLATION, Caller, Credential, Role
from taskyard.core.errors import InvalidInput, NotAllowed, NotFound
from taskyard.services.access.permissions import require, require_installation

pytestmark = pytest.mark.anyio
HERE = replace(LOCAL, installation=Role.ADMIN)
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def template_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store."""
    return template(tmp_path_factory.mktemp("template"))


@pytest.fixture
async def at(template_path: Path, tmp_path: Path) -> AsyncIterator[World]:
    """An open store with its services."""
    async with world(template_path, tmp_path) as opened:
        yield opened


async def made(at: World, role: Role) -> Caller:
    """Somebody with a token of the installation."""
    _, text = await at.access.create_token(HERE, role.word, role, INSTALLATION)
    return await at.access.authenticate_token(text)


async def test_a_token_of_the_installation_belongs_to_no_workspace(at: World) -> None:
    """Its role is one of the installation; in workspaces it may not do a thing."""
    for role in (Role.READ, Role.OPERATE, Role.ADMIN):
        caller = await made(at, role)
        assert (caller.workspace, caller.installation) == (INSTALLATION, role)
        assert caller.is_of_installation
        require_installation(caller, role)
        with pytest.raises(NotAllowed, match="belongs to the installation and to no workspace"):
            require(caller, Role.WRITE)
    with pytest.raises(NotAllowed, match="installation role admin; token operate has operate"):
        require_installation(await made(at, Role.OPERATE), Role.ADMIN)
    with pytest.raises(InvalidInput, match="read, operate or admin"):
        await made(at, Role.WRITE)


async def test_a_user_of_the_installation_signs_in(at: World) -> None:
    """With name and password, as others do."""
    await at.access.add_user(HERE, "oncall", PASSWORD, Role.OPERATE, INSTALLATION)
    caller = await at.access.authenticate_password("oncall", PASSWORD)
    assert (caller.workspace, caller.installation) == (INSTALLATION, Role.OPERATE)


@pytest.mark.parametrize("role", list(Role))
async def test_workspaces_give_out_nothing_of_the_installation(at: World, role: Role) -> None:
    """No role of a workspace is enough, and each attempt is recorded."""
    caller = replace(ADMIN_A, role=role)
    with pytest.raises(NotAllowed, match="taskyard token create NAME --installation"):
        await at.access.create_token(caller, "x", Role.READ, INSTALLATION)
    with pytest.raises(NotAllowed):
        await at.access.add_user(caller, "x", PASSWORD, Role.READ, INSTALLATION)
    with pytest.raises(NotAllowed):
        await at.access.tokens(caller, workspace=INSTALLATION)
    with pytest.raises(NotAllowed):
        await at.audit.page(caller, workspace=INSTALLATION)
    refused = [one.action for one in await at.audit.page(ADMIN_A)]
    assert refused == ["user.add", "token.create"]


async def test_only_admins_of_the_installation_give_out_credentials(at: World) -> None:
    """Of any workspace, whose trail tells of it; lower roles do not."""
    admin, operator = await made(at, Role.ADMIN), await made(at, Role.OPERATE)
    token, text = await at.access.create_token(admin, "boss", Role.ADMIN, B)
    caller = await at.access.authenticate_token(text)
    assert (caller.workspace, caller.role, caller.installation) == (B, Role.ADMIN, None)
    (entry,) = await at.audit.page(admin, workspace=B)
    assert (entry.actor, entry.action, entry.target) == ("token admin", "token.create", token.id)
    await at.access.revoke_token(admin, token.id, B)
    for where in (A, B, INSTALLATION, None):
        with pytest.raises(NotAllowed):
            await at.access.create_token(operator, "x", Role.READ, where)
    with pytest.raises(NotAllowed):
        await at.audit.page(operator, workspace=A)


async def test_the_trail_of_the_installation_is_for_its_credentials(at: World) -> None:
    """All of them see who was given what."""
    for role in (Role.READ, Role.OPERATE, Role.ADMIN):
        caller = await made(at, role)
        newest = (await at.audit.page(caller))[0]
        assert (newest.actor, newest.action) == ("local", "token.create")


async def test_the_end_of_a_credential_is_announced_once(at: World) -> None:
    """To whoever watches it: revoked, removed or changed, and by nobody it does not concern."""
    token, text = await at.access.create_token(ADMIN_A, "ci", Role.WRITE)
    await at.access.add_user(ADMIN_A, "ann", PASSWORD, Role.READ)
    ended: list[str] = []
    held: list[Credential] = []

    def watch(caller: Caller) -> None:
        credential = caller.credential
        assert isinstance(credential, Credential)
        held.append(credential)  # as a stream does: what nobody holds is forgotten
        credential.watch(lambda: ended.append(str(credential)))

    watch(await at.access.authenticate_token(text))
    watch(await at.access.authenticate_password("ann", PASSWORD))
    stranger = replace(ADMIN_A, workspace=B)
    for attempt in (
        at.access.revoke_token(stranger, token.id),
        at.access.remove_user(stranger, "ann"),
        at.access.set_password(stranger, "ann", "another one"),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert ended == []
    await at.access.set_password(ADMIN_A, "ann", "another one")
    assert ended == ["user ann"]
    watch(await at.access.authenticate_password("ann", "another one"))
    await at.access.remove_user(ADMIN_A, "ann")
    await at.access.revoke_token(ADMIN_A, token.id)
    await at.access.revoke_token(ADMIN_A, token.id)
    assert ended == ["user ann", "user ann", f"token {token.id}"]
