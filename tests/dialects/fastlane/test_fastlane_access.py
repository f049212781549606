"""Who may take hosts out of rotation, and what guesses cost."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from fastlane_world import FastlaneWorld, opened

from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.ids import WorkspaceName
from taskyard.services.access.accounts import LOCAL
from taskyard.services.access.login_throttle import FREE_TRIES_OF_SHARED

pytestmark = pytest.mark.anyio
HERE = Caller(LOCAL, INSTALLATION, Role.ADMIN, installation=Role.ADMIN)
PATH: Final = "/docker-executor/blacklist"
HOST: Final = {"host": "docker.example:2375"}
AUTH: Final = ("ana", "s:ecret")
CREDENTIALS: Final = {"basic_auth_username": AUTH[0], "basic_auth_password": AUTH[1]}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[FastlaneWorld]:
    """A server that asks for credentials, and is not for development."""
    async with opened(tmp_path, dev=False, **CREDENTIALS) as world:
        yield world


async def bearer(world: FastlaneWorld, role: Role, workspace: WorkspaceName) -> dict[str, str]:
    """The header of a new token."""
    _, text = await world.wired.engine.access.create_token(HERE, "t", role, workspace)
    return {"authorization": f"Bearer {text}"}


def is_draining(world: FastlaneWorld) -> bool:
    """Whether the one worker takes nothing new."""
    (here,) = [record for record, _ in world.wired.engine.workers.present()]
    return here.draining


async def test_hosts_are_of_the_installation(world: FastlaneWorld) -> None:
    """The credentials of the settings are not enough, nor a token of a workspace."""
    refused = await world.api.post(PATH, json=HOST, auth=AUTH)
    assert refused.status_code == 403
    admin = await bearer(world, Role.ADMIN, WorkspaceName("default"))
    assert (await world.api.post(PATH, json=HOST, headers=admin)).status_code == 401
    assert not is_draining(world)
    operator = await bearer(world, Role.OPERATE, INSTALLATION)
    assert (await world.api.post(PATH, json=HOST, headers=operator)).status_code == 200
    assert is_draining(world)
    # That one route is all it opens.
    assert (await world.api.get("/tasks", headers=operator)).status_code == 401
    watcher = await bearer(world, Role.READ, INSTALLATION)
    assert (await world.api.delete(PATH, headers=watcher)).status_code in {400, 403}
    assert is_draining(world)


@pytest.mark.parametrize("more", [CREDENTIALS, {"anonymous": True}])
async def test_the_operator_may_open_it(tmp_path: Path, more: dict[str, Any]) -> None:
    """With ``installation``, every caller of the dialect may."""
    encoded = base64.b64encode(b"ana:s:ecret").decode()
    headers = {"authorization": f"Basic {encoded}"} if "basic_auth_username" in more else {}
    async with opened(tmp_path, dev=False, installation=True, **more) as world:
        assert (await world.api.post(PATH, json=HOST, headers=headers)).status_code == 200
        assert is_draining(world)


async def test_an_open_server_keeps_hosts_to_the_installation(tmp_path: Path) -> None:
    """Everybody submits; who has a credential of the installation says so on that route."""
    async with opened(tmp_path, dev=False, anonymous=True) as world:
        assert (await world.api.get("/tasks")).status_code == 200
        for headers in ({}, {"authorization": "Basic !!!"}, {"authorization": "Bearer nope"}):
            answer = await world.api.post(PATH, json=HOST, headers=headers)
            assert answer.status_code == 403, headers
        operator = await bearer(world, Role.OPERATE, INSTALLATION)
        assert (await world.api.post(PATH, json=HOST, headers=operator)).status_code == 200


async def test_guesses_are_slowed_down(world: FastlaneWorld) -> None:
    """After some free ones 429, right or not; who was let in before goes on. All are recorded."""
    assert (await world.api.get("/tasks", auth=AUTH)).status_code == 200
    for _ in range(2 * FREE_TRIES_OF_SHARED):
        answer = await world.api.get("/tasks", headers={"authorization": "Basic !!!"})
        assert answer.status_code == 401  # what cannot be read was no guess
    statuses = [
        (await world.api.get("/tasks", auth=("ana", f"guess {n}"))).status_code
        for n in range(FREE_TRIES_OF_SHARED + 2)
    ]
    assert statuses == [401] * FREE_TRIES_OF_SHARED + [429] * 2
    assert (await world.api.get("/tasks", auth=AUTH)).status_code == 200
    admin = Caller("user admin", WorkspaceName("default"), Role.ADMIN)
    await world.wired.engine.audit.write_refusals()
    (entry,) = await world.wired.engine.audit.page(admin)
    assert (entry.action, entry.outcome) == ("fastlane.authenticate", "refused")
    assert entry.count == FREE_TRIES_OF_SHARED


async def test_a_right_guess_looks_like_a_wrong_one_during_a_pause(world: FastlaneWorld) -> None:
    """From where the right one was never used, the pause does not tell which it is."""
    for n in range(FREE_TRIES_OF_SHARED + 1):
        await world.api.get("/tasks", auth=("ana", f"guess {n}"))
    answer = await world.api.get("/tasks", auth=AUTH)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    encoded = base64.b64encode(b"ana:s:ecret").decode()
    again = await world.api.get("/tasks", headers={"authorization": f"Basic  {encoded}"})
    assert again.status_code == 429
