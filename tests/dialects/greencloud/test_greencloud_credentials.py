"""Guesses at accounts' keys and tokens, and waiting that ends with its credential."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import anyio
import pytest
from greencloud_world import Account, GreenCloudWorld, opened

from eventually import eventually_async
from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.services.access.accounts import LOCAL
from taskyard.services.access.login_throttle import FREE_TOKENS_OF_ADDRESS, FREE_TRIES_OF_SHARED

pytestmark = pytest.mark.anyio
HERE = Caller(LOCAL, INSTALLATION, Role.ADMIN, installation=Role.ADMIN)
SLOW: Final = "import time\ndef handle(event, context):\n    time.sleep(20)\n    return b''\n"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[GreenCloudWorld]:
    """A served engine of our own, since guesses are remembered."""
    async with opened(tmp_path / "data") as world:
        yield world


async def exchanged(world: GreenCloudWorld, key: str) -> int:
    """What an API key is answered."""
    answer = await world.nobody.http.post("/v1/auth/apiKey", json={"key": key})
    return answer.status_code


async def test_guesses_at_keys_are_slowed_down(world: GreenCloudWorld) -> None:
    """429 after some free ones; who used the right one from there before goes on."""
    assert await exchanged(world, "acme-key") == 200
    statuses = [await exchanged(world, f"key {n}") for n in range(FREE_TRIES_OF_SHARED + 2)]
    assert statuses == [401] * FREE_TRIES_OF_SHARED + [429] * 2
    assert await exchanged(world, "acme-key") == 200
    assert await exchanged(world, "rival-key") == 429
    await world.yard.engine.audit.write_refusals()
    trail = await world.yard.engine.audit.page(HERE, workspace=INSTALLATION)
    assert [(one.action, one.detail, one.count) for one in trail] == [
        ("greencloud.authenticate", "wrong key", FREE_TRIES_OF_SHARED)
    ]


async def test_guesses_at_tokens_are_slowed_down(world: GreenCloudWorld) -> None:
    """An account's own may be short, so it has to have been right from there before."""
    await world.acme.got("/v1/function/list")
    answers = []
    for n in range(FREE_TOKENS_OF_ADDRESS + 2):
        headers = {"authorization": f"Bearer ty_aaaaaaaa_{n:043}"}
        answer = await world.nobody.http.get("/v1/function/list", headers=headers)
        answers.append(answer.status_code)
    assert set(answers[: FREE_TOKENS_OF_ADDRESS - 1]) == {401}
    assert answers[-1] == 429
    await world.acme.got("/v1/function/list")
    assert (await world.rival.http.get("/v1/function/list")).status_code == 429
    assert (await world.dev.http.get("/v1/function/list")).status_code == 200


async def test_waiting_ends_with_the_token(world: GreenCloudWorld) -> None:
    """401 within a second of its end, though the task goes on."""
    access = world.yard.engine.access
    workspace = (await access.authenticate_token("dev")).workspace
    token, text = await access.create_token(HERE, "gc", Role.WRITE, workspace)
    mine = Account(world.url, f"Bearer {text}")
    async with mine.http, anyio.create_task_group() as tasks:
        function_id = await mine.deployed(SLOW)
        answered: list[int] = []
        done = anyio.Event()

        async def call() -> None:
            path = f"/v1/task/{function_id}"
            answer = await mine.http.post(path, headers={"prefer": "wait=15"})
            answered.append(answer.status_code)
            done.set()

        tasks.start_soon(call)
        await eventually_async(
            lambda: world.native.got("/tasks"), lambda tasks: bool(tasks["items"])
        )
        await access.revoke_token(HERE, token.id, workspace)
        with anyio.fail_after(1):
            await done.wait()
        assert answered == [401]
