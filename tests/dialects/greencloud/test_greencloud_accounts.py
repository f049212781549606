"""Signing in with a password, tokens that are renewed, and what an account says of itself."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx2
import pytest
from argon2 import PasswordHasher
from greencloud_world import ACCOUNTS, GreenCloudWorld, Json, opened

pytestmark = pytest.mark.anyio
# As little work as there can be: these tests are not about how hard a password is to guess.
HASHED = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("a good password")
ADA = {
    "key": "ada-key",
    "email": "Ada@example.com",
    "password_hash": HASHED,
    "name": "Ada",
    "surname": "Lovelace",
    "quota": 500,
}
LOGIN = {"email": "ada@example.com", "password": "a good password"}
DAY_S = 86_400


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GreenCloudWorld]:
    """A served engine of our own, whose clock is moved; one of its accounts has a password."""
    data = tmp_path_factory.mktemp("accounts") / "data"
    async with opened(data, accounts={**ACCOUNTS, "ada": ADA}) as world:
        yield world


async def signed_in(world: GreenCloudWorld) -> Json:
    """New tokens."""
    answer = await world.nobody.http.post("/v1/auth/login", json=LOGIN)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    assert set(found) == {"expiresIn", "accessToken", "refreshToken"}
    assert found["expiresIn"] == 3590
    return found


async def refreshed(world: GreenCloudWorld, token: object) -> httpx2.Response:
    """What a refresh token is exchanged for."""
    return await world.nobody.http.post("/v1/auth/refresh", json={"refreshToken": token})


async def status(world: GreenCloudWorld, token: str) -> int:
    """What a token is answered."""
    headers = {"authorization": f"Bearer {token}"}
    return (await world.nobody.http.get("/v1/function/list", headers=headers)).status_code


async def test_signing_in(world: GreenCloudWorld) -> None:
    """Gives access for an hour, and a refresh token that is good once, for 90 days."""
    first = await signed_in(world)
    assert await status(world, first["accessToken"]) == 200
    assert await status(world, first["refreshToken"]) == 401
    not_for_that = await refreshed(world, first["accessToken"])
    assert (not_for_that.status_code, not_for_that.json()["error"]) == (401, "NEEDS_LOGIN")
    world.clock.shift_s += 3601
    assert await status(world, first["accessToken"]) == 401
    world.clock.shift_s += 89 * DAY_S
    second = await refreshed(world, first["refreshToken"])
    assert set(second.json()) == set(first)
    assert await status(world, second.json()["accessToken"]) == 200
    again = await refreshed(world, first["refreshToken"])
    assert (again.status_code, again.json()["error"]) == (401, "NEEDS_LOGIN")
    world.clock.shift_s += 91 * DAY_S
    late = await refreshed(world, second.json()["refreshToken"])
    assert (late.status_code, late.json()["error"]) == (401, "NEEDS_LOGIN")
    forged = first["refreshToken"].replace("gr.ada.", "gp.ada.")
    assert await status(world, forged) == 401


async def test_a_refresh_token_is_used_once(world: GreenCloudWorld) -> None:
    """However many try it at the same time."""
    token = (await signed_in(world))["refreshToken"]
    statuses: list[int] = []

    async def use() -> None:
        statuses.append((await refreshed(world, token)).status_code)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(use)
    assert sorted(statuses) == [200, *[401] * 7]


async def test_what_is_refused(world: GreenCloudWorld) -> None:
    """Wrong pairs all alike, and bodies that are none; whoever guesses has to wait."""
    http = world.nobody.http
    for path, body, fields in (
        ("login", {}, {"email", "password"}),
        ("login", {"email": "x", "password": 1}, {"password"}),
        ("refresh", {}, {"refreshToken"}),
        ("refresh", {"refreshToken": None}, {"refreshToken"}),
    ):
        answer = await http.post(f"/v1/auth/{path}", json=body)
        assert (answer.status_code, set(answer.json()["fields"])) == (400, fields)
    for token in ("", "x", "gr.ada.9999999999.x.y", "gr.nobody.9999999999.x.y", "g" * 9000):
        assert (await refreshed(world, token)).status_code == 401
    said = set()
    for email, password in (
        ("nobody@example.com", "a good password"),
        ("ada@example.com", "wrong"),
        ("ada@example.com", "x" * 10_000),
        ("ada@example.com", ""),
        ("", ""),
    ):
        answer = await http.post("/v1/auth/login", json={"email": email, "password": password})
        assert (answer.status_code, answer.json()["error"]) == (401, "INVALID_CREDENTIALS")
        said.add(answer.text)
    assert len(said) == 1
    bob = {"email": "bob@example.com", "password": "x"}
    for _ in range(5):
        assert (await http.post("/v1/auth/login", json=bob)).status_code == 401
    for base in (world.url, f"{world.main_url}/greencloud"):
        slowed = await http.post(f"{base}/v1/auth/login", json=bob)
        assert (slowed.status_code, slowed.json()["error"]) == (429, "TOO_MANY_REQUESTS")
        assert int(slowed.headers["retry-after"]) >= 1


async def test_who_somebody_is(world: GreenCloudWorld) -> None:
    """What the operator wrote down; tokens of the engine have no account."""
    token = (await signed_in(world))["accessToken"]
    headers = {"authorization": token}
    ada = (await world.nobody.http.get("/v1/user", headers=headers)).json()
    assert len(ada.pop("id")) == 24
    assert ada == {
        "email": "Ada@example.com",
        "name": "Ada",
        "surname": "Lovelace",
        "twofa": False,
        "apiKey": "ada-key",
        "bundle": {"name": "default", "quota": 500, "price": 0},
    }
    rival, again = [await world.rival.got("/v1/user") for _ in range(2)]
    assert rival == again
    assert (rival["email"], rival["apiKey"], rival["bundle"]["quota"]) == ("", "rival-key", -1)
    dev = await world.dev.got("/v1/user")
    assert (dev["apiKey"], dev["name"]) == ("", "token dev")
    assert dev["id"] != rival["id"]


async def test_a_new_password_ends_what_the_old_one_gave(tmp_path: Path) -> None:
    """Tokens outlive a restart, and not their password; those for the key are left alone."""
    async with opened(tmp_path / "data", accounts={"ada": ADA}) as world:
        kept, used = await signed_in(world), await signed_in(world)
        assert (await refreshed(world, used["refreshToken"])).status_code == 200
        key = {"key": "ada-key"}
        other = (await world.nobody.http.post("/v1/auth/apiKey", json=key)).json()["accessToken"]
    async with opened(tmp_path / "data", accounts={"ada": ADA}) as world:
        assert await status(world, kept["accessToken"]) == 200
        assert (await refreshed(world, used["refreshToken"])).status_code == 401
        assert (await refreshed(world, kept["refreshToken"])).status_code == 200
    changed = {**ADA, "password_hash": PasswordHasher(1, 8, 1).hash("another one")}
    async with opened(tmp_path / "data", accounts={"ada": changed}) as world:
        assert await status(world, kept["accessToken"]) == 401
        assert (await refreshed(world, kept["refreshToken"])).status_code == 401
        assert await status(world, other) == 200
        assert (await world.nobody.http.post("/v1/auth/login", json=LOGIN)).status_code == 401
