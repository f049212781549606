"""Real work: commands and functions, by the client's wish or the operator's; details and logs."""

import os
from collections.abc import AsyncIterator
from itertools import count

import pytest
from gx_world import QUICK, GxWorld, Space, opened

pytestmark = pytest.mark.anyio

SHOW = "env | grep -E '^(GX_|TASKYARD_DEV|SECRET|MORE)' | sort; env | grep -c -i api_key; cat"
_names = count(1)


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GxWorld]:
    """An installation with work of its own for a type, and functions by name."""
    os.environ["SECRET_OF_THE_SERVER"] = "x"
    sizes = {
        **QUICK,
        "gx.heavy": {"cpu": 1000, "memory_mib": 1 << 24, "limit_s": 600, "simulated_s": 300},
    }
    types = {"gx.medium": {"command": ["/bin/sh", "-c", SHOW], "env": {"MORE": "m"}}}
    functions = {
        "hello": {"command": 'echo "hello $WHO"', "env": {"WHO": "nobody"}},
        "sleep": {"command": ["sleep", "300"]},
        "missing": {"command": ["/nothing/here"]},
    }
    try:
        async with opened(
            tmp_path_factory.mktemp("gx") / "data", sizes=sizes, types=types, functions=functions
        ) as world:
            yield world
    finally:
        del os.environ["SECRET_OF_THE_SERVER"]


@pytest.fixture
def space(world: GxWorld) -> Space:
    """A new workspace."""
    return world.space(f"work-{next(_names)}")


async def test_type_is_mapped_to_a_command(space: Space) -> None:
    """It gets the four variables and its own, none of the service's, and no standard input."""
    number = await space.create("gx.medium", "with\0NUL ü")
    await space.until(lambda seen: seen[number] == "completed")
    assert (await space.logs(number)).decode().splitlines() == [
        f"GX_TASK_ID={number}",
        "GX_TASK_NAME=withNUL ü",
        "GX_TASK_TYPE=gx.medium",
        f"GX_WORKSPACE_ID={space.query['workspace_id']}",
        "MORE=m",
        "0",
    ]
    detail = await space.detail(number)
    assert set(detail) == {
        "id", "name", "type", "status", "createdAt", "startedAt", "finishedAt", "exitCode", "error",
    }  # fmt: skip
    assert (detail["exitCode"], detail["error"]) == (0, None)


@pytest.mark.parametrize("command", ["echo $((6*7))", ["/bin/sh", "-c", "echo 42"]])
async def test_command_of_the_client(space: Space, command: object) -> None:
    """A string goes to the shell, a list does not; it wins over what the type is mapped to."""
    number = await space.create("gx.medium", command=command)
    await space.until(lambda seen: seen[number] == "completed")
    assert await space.logs(number) == b"42\n"


async def test_function_env_and_input(space: Space) -> None:
    """The client's environment is added to the operator's; input is standard input."""
    first = await space.create(function="hello")
    second = await space.create(function="hello", env={"WHO": "wörld"})
    third = await space.create(command="cat; echo $A", env={"A": "1"}, input="über\n")
    await space.until(lambda seen: set(seen.values()) == {"completed"})
    assert await space.logs(first) == b"hello nobody\n"
    assert await space.logs(second) == "hello wörld\n".encode()
    assert await space.logs(third) == "über\n1\n".encode()


async def test_reserved_variables_cannot_be_replaced(space: Space) -> None:
    """What the contract promises to be in the environment is what it says."""
    number = await space.create(command="echo $GX_TASK_ID", env={"GX_TASK_ID": "99"})
    await space.until(lambda seen: seen[number] == "completed")
    assert await space.logs(number) == b"1\n"


async def test_how_work_fails(space: Space) -> None:
    """An exit status other than 0, a time limit, and what cannot be started are all failed."""
    exits = await space.create(command="echo trouble >&2; exit 3")
    late = await space.create("gx.small", command="sleep 300 & sleep 300")
    missing = await space.create(function="missing")
    await space.until(lambda seen: set(seen.values()) == {"failed"})
    assert await space.logs(exits) == b"trouble\n"
    detail = await space.detail(exits)
    assert detail["exitCode"] == 3
    assert detail["error"]
    detail = await space.detail(late)
    assert (detail["exitCode"], detail["status"]) == (None, "failed")
    assert detail["error"]
    detail = await space.detail(missing)
    assert detail["error"]
    assert detail["finishedAt"] is not None


async def test_simulation_ends_at_its_time_limit_too(world: GxWorld, space: Space) -> None:
    """Work that a client wants on a huge type still fits on the largest worker."""
    number = await space.create("gx.heavy", command=["true"])
    await space.until(lambda seen: seen[number] == "completed")
    assert world.yard.engine.dispatch.workers()


async def test_detail_of_each_status(space: Space) -> None:
    """Times are null until they happened."""
    for _ in range(7):
        await space.create("gx.tiny", function="sleep")
    await space.until(lambda seen: seen[6] == "running")
    queued = await space.detail(7)
    members = ("status", "startedAt", "finishedAt", "exitCode", "error")
    assert [queued[one] for one in members] == ["queued", None, None, None, None]
    assert await space.logs(7) == b""
    running = await space.detail(1)
    assert [running[one] for one in ("status", "finishedAt", "exitCode", "error")] == [
        "running", None, None, None,
    ]  # fmt: skip
    for path in ("/tasks/8", "/tasks/8/logs", "/tasks/0"):
        assert (await space.http.get(path, params=space.query)).status_code == 404
    for path in ("/tasks/abc", "/tasks/-1/logs"):
        answer = await space.http.get(path, params=space.query)
        assert (answer.status_code, answer.json()) == (400, {"message": "invalid task id"})
    await space.flush(cancel="true")
    for path in ("/tasks/1", "/tasks/1/logs"):
        assert (await space.http.get(path, params=space.query)).status_code == 404
    await space.until(lambda seen: seen == {7: "running"})
    await space.flush(cancel="true")


async def test_logs_are_interleaved_and_the_last_mebibyte(space: Space) -> None:
    """Both streams in the order of writing; of more than 1 MiB, the end."""
    mixed = await space.create(command="for i in 1 2 3; do echo o$i; echo e$i >&2; done")
    long = await space.create(command="head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end")
    await space.until(lambda seen: set(seen.values()) == {"completed"})
    assert await space.logs(mixed) == b"o1\ne1\no2\ne2\no3\ne3\n"
    logs = await space.logs(long)
    assert len(logs) == 1 << 20
    assert logs.endswith(b"xx\nend\n")


async def test_logs_that_are_no_text(space: Space) -> None:
    """Whatever was written, the answer is UTF-8."""
    number = await space.create(command="printf '\\377\\376a\\303'")
    await space.until(lambda seen: seen[number] == "completed")
    assert (await space.logs(number)).decode() == "\ufffd\ufffda\ufffd"


async def test_what_is_not_allowed(space: Space) -> None:
    """Containers and unknown functions here; nothing is created."""
    for body, member in (
        ({"image": "busybox"}, "image"),
        ({"function": "nothing"}, "function"),
        ({"image": "busybox", "function": "hello"}, "image"),
    ):
        answer = await space.post({"name": "a", "type": "gx.tiny", **body})
        assert (answer.status_code, answer.json()) == (400, {"message": f"{member} is not allowed"})
    bodies: tuple[dict[str, object], ...] = (
        {"command": "true", "function": "hello"},
        {"command": []},
        {"command": ""},
        {"command": "a\0b"},
        {"command": "true", "env": {"A=B": "c"}},
        {"command": "true", "env": {"A": "c\0"}},
        {"command": "true", "env": {"": "c"}},
    )
    for bad in bodies:
        answer = await space.post({"name": "a", "type": "gx.tiny", **bad})
        assert (answer.status_code, answer.json()) == (400, {"message": "invalid request body"})
    assert await space.tasks() == []
    assert await space.create() == 1


async def test_operator_decides_about_commands(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where clients may not bring their own, functions still work."""
    functions = {"hello": {"command": ["echo", "hello"]}}
    directory = tmp_path_factory.mktemp("gx") / "data"
    async with opened(directory, allow_command=False, functions=functions) as world:
        space = world.space("w")
        for command in ("true", ["true"], []):
            answer = await space.post({"name": "a", "type": "gx.tiny", "command": command})
            assert (answer.status_code, answer.json()) == (
                400,
                {"message": "command is not allowed"},
            )
        assert await space.create(function="hello") == 1
        await space.until(lambda seen: seen[1] == "completed")
        assert await space.logs(1) == b"hello\n"
