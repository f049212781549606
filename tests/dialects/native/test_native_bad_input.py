"""Bad input: the right status, and a problem document that says which field and why."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from native_world import NativeWorld

pytestmark = pytest.mark.anyio

GOOD = {"command": ["true"], "start_in_s": 1000}
UNREADABLE: list[tuple[str, bytes, str]] = [
    ("empty", b"", "empty"),
    ("cut off", b'{"command": ["tr', "at byte 16"),
    ("not JSON", b"command=true", "at byte 0"),
    ("more behind it", b'{"command":["x"]} x', "at byte 19"),
    ("not UTF-8", b'{"command":["\xff\xfe"]}', "UTF-8"),
    ("half a surrogate pair", b'{"command":["\\ud800"]}', "not JSON"),
    ("UTF-16", '{"command":["x"]}'.encode("utf-16"), "not"),
    ("not a number", b'{"command":["x"],"metadata":{"a":NaN}}', "not JSON"),
    ("nested deeply", b'{"command":["x"],"metadata":{"a":' + b"[" * 100_000, "nested"),
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"command": []}, "command"),
    ({"command": ""}, "command"),
    ({"command": "  "}, "command"),
    ({"command": [""]}, "command"),
    ({"command": 5}, "command"),
    ({"command": ["a", 5]}, "command.1"),
    ({"command": ["a\0b"]}, "command.0"),
    ({"command": ["x" * 131_073]}, "command.0"),
    ({"command": ["x" * 100_000, "y" * 100_000]}, "command"),
    ({"commands": ["x"]}, "commands"),
    ({"retry": {"max_attempts": 0}}, "retry.max_attempts"),
    ({"retry": {"max_attempts": "3"}}, "retry.max_attempts"),
    ({"retry": {"max_attempts": 1.5}}, "retry.max_attempts"),
    ({"retry": {"tries": 3}}, "retry.tries"),
    ({"retry": {"backoff_min_s": 10, "backoff_max_s": 1}}, "retry.backoff_min_s"),
    ({"priority": 101}, "priority"),
    ({"priority": 10**30}, "priority"),
    ({"priority": True}, "priority"),
    ({"timeout_s": 0}, "timeout_s"),
    ({"timeout_s": -1}, "timeout_s"),
    ({"env": {"1A": "x"}}, "env"),
    ({"env": {"A": 1}}, "env"),
    ({"env": {"A": "a\0"}}, "env"),
    ({"env": {"A": {"secrets": "x"}}}, "env.secrets"),
    ({"cwd": "relative"}, "cwd"),
    ({"cwd": "/a\0"}, "cwd"),
    ({"stdin": "a\0"}, "stdin"),
    ({"stdin": "é" * (2 << 20) + "xx"}, "stdin"),
    ({"user": "no such\nuser"}, "user"),
    ({"group": ""}, "group"),
    ({"group": "x" * 256}, "group"),
    ({"group": "a\nb"}, "group"),
    ({"name": "x" * 256}, "name"),
    ({"resources": {"cpu": 0}}, "resources.cpu"),
    ({"resources": {"memory": "1MiB"}}, "resources.memory"),
    ({"resources": {"memory": "many"}}, "resources.memory"),
    ({"resources": {"memory": 1}}, "resources.memory"),
    ({"resources": {"pids": 0}}, "resources.pids"),
    ({"resources": {"cores": 0}}, "resources.cores"),
    ({"resources": {"cores": 1, "cpu": 1}}, "resources.cores"),
    ({"resources": {"allotted": {}}}, "resources.allotted"),
    ({"placement": {"type": "nearby"}}, "placement.type"),
    ({"placement": {"type": "match_tag"}}, "placement.tag"),
    ({"placement": {"type": "any", "odd": 1}}, "placement.odd"),
    ({"placement": {"type": "max_per_host", "max": 65}}, "placement.max"),
    ({"placement": {"type": "rule", "rule": "open('x')"}}, "placement"),
    ({"placement": {"type": "composite", "policies": []}}, "placement.policies"),
    ({"kill": {"signal": "SIGNOTHING"}}, "kill.signal"),
    ({"kill": {"grace_s": 3601}}, "kill.grace_s"),
    ({"start_at": "tomorrow"}, "start_at"),
    ({"start_at": "2026-12-01T08:00:00"}, "start_at"),
    ({"start_at": "2026-13-01T08:00:00Z"}, "start_at"),
    ({"start_at": "2026-12-01T08:00:00Z", "start_in_s": 5}, "start_in_s"),
    ({"start_in_s": 5, "cron": "* * * * *"}, "cron"),
    ({"cron": "61 * * * *"}, "cron"),
    ({"cron": "* * * * * *"}, "cron"),
    ({"cron": "* * * * *", "timezone": "Mars/Olympus"}, "timezone"),
    ({"catch_up": "some"}, "catch_up"),
    ({"expires_at": 5}, "expires_at"),
    ({"idempotency_key": ""}, "idempotency_key"),
    ({"log_limit": "2TiB"}, "log_limit"),
    ({"labels": {"-a": "x"}}, "labels"),
    ({"labels": {"a": "x" * 256}}, "labels"),
    ({"labels": {f"k{n}": "" for n in range(65)}}, "labels"),
    ({"metadata": {"a": "x" * 65_536}}, "metadata"),
    ({"metadata": []}, "metadata"),
    (
        {"metadata": json.loads("[" * 70 + "]" * 70) and {"a": json.loads("[" * 70 + "]" * 70)}},
        "metadata",
    ),
    ({"webhooks": [{"url": "ftp://x"}]}, "webhooks.0.url"),
    ({"webhooks": [{"url": "https://x", "events": ["born"]}]}, "webhooks.0.events.0"),
    ({"webhooks": [{"url": "https://x", "headers": {"a b": "c"}}]}, "webhooks.0.headers"),
    ({"webhooks": [{"url": "https://x", "headers": {"a": "c\r\nd: e"}}]}, "webhooks.0.headers"),
]


def problem(answer: Any, status: int, kind: str) -> dict[str, Any]:
    """The problem document of an answer, checked for its form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"about:blank#{kind}"
    assert document["status"] == status
    assert document["title"]
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


async def test_what_cannot_be_read_is_malformed(world: NativeWorld) -> None:
    """400, saying where, and nothing is stored."""
    for name, body, said in UNREADABLE:
        answer = await world.api.post("/tasks", content=body)
        assert said in problem(answer, 400, "malformed-body")["detail"], name
    assert (await world.api.get("/tasks/counts")).json() == {"counts": {}}


async def test_what_breaks_a_rule_is_named(world: NativeWorld) -> None:
    """422 with the field's path, and nothing is stored."""
    for change, field in WRONG:
        answer = await world.api.post("/tasks", json={"command": ["true"], **change})
        document = problem(answer, 422, "invalid-input")
        assert document["errors"][0]["field"] == field, (str(change)[:80], document)
        assert document["errors"][0]["problem"]
    assert (await world.api.get("/tasks/counts")).json() == {"counts": {}}


async def test_missing_and_wrongly_shaped_bodies_are_refused(world: NativeWorld) -> None:
    """No command, an array, a string: each a 422."""
    without = problem(await world.api.post("/tasks", json={}), 422, "invalid-input")
    needed = "is required, unless there is an image"
    assert without["errors"] == [{"field": "command", "problem": needed}]
    for body in ("[]", '"text"', "null", "5"):
        problem(await world.api.post("/tasks", content=body), 422, "invalid-input")


async def test_last_of_doubled_members_counts(world: NativeWorld) -> None:
    """RFC 8259 leaves it open; here the last one wins."""
    answer = await world.api.post("/tasks", content=b'{"command":"a","start_in_s":9,"command":"b"}')
    assert answer.json()["command"] == "b"


async def test_huge_numbers_in_metadata_stay_or_are_refused(world: NativeWorld) -> None:
    """An integer beyond 64 bits is kept exactly; one beyond all measure is refused."""
    body = b'{"command":"a","start_in_s":9,"metadata":{"n":%s}}'
    kept = await world.api.post("/tasks", content=body % b"123456789012345678901234567890")
    assert b"123456789012345678901234567890" in kept.content
    read = await world.api.get(f"/tasks/{kept.json()['id']}")
    assert read.json() == kept.json()
    for number in (b"1" * 5000, b"1e400"):
        problem(await world.api.post("/tasks", content=body % number), 422, "invalid-input")


async def test_body_over_the_limit_is_refused_announced_or_not(world: NativeWorld) -> None:
    """413 for ten million bytes, with a length and in chunks; the connection stays usable."""
    large = b'{"command":"' + b"x" * 10_000_000 + b'"}'
    problem(await world.api.post("/tasks", content=large), 413, "body-too-large")

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(large), 65_536):
            yield large[at : at + 65_536]

    problem(await world.api.post("/tasks", content=pieces()), 413, "body-too-large")
    assert (await world.api.get("/me")).status_code == 200


async def test_chunked_body_is_read(world: NativeWorld) -> None:
    """A body in many small pieces is one body."""

    async def pieces() -> AsyncIterator[bytes]:
        for byte in json.dumps(GOOD).encode():
            yield bytes([byte])

    assert (await world.api.post("/tasks", content=pieces())).status_code == 201


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/tasks?limit=0", "limit"),
        ("/tasks?limit=501", "limit"),
        ("/tasks?limit=ten", "limit"),
        ("/tasks?limit=1&limit=2", "limit"),
        ("/tasks?sate=queued", "sate"),
        ("/tasks?state=sleeping", "state.0"),
        ("/tasks?cursor=abc", "cursor"),
        ("/tasks?cursor=%00", "cursor"),
        ("/tasks?created_after=yesterday", "created_after"),
        ("/tasks?label=novalue", "label.0"),
        ("/tasks?label=a:1&label=a:2", "label"),
        ("/tasks?order=random", "order"),
        ("/me?x=1", "x"),
        ("/tasks?" + "&".join(f"a{n}=1" for n in range(100)), None),
    ],
)
async def test_bad_query_is_malformed(shared: NativeWorld, path: str, field: str | None) -> None:
    """400, naming the parameter."""
    document = problem(await shared.api.get(path), 400, "malformed-body")
    if field is not None:
        assert document["errors"][0]["field"] == field


async def test_tampered_and_borrowed_cursors_are_refused(world: NativeWorld) -> None:
    """A cursor of one list is none for another, and a changed one is none at all."""
    for _ in range(2):
        await world.submit(start_in_s=99)
    cursor = (await world.api.get("/tasks?limit=1")).json()["next_cursor"]
    assert (await world.api.get("/tasks", params={"cursor": cursor})).status_code == 200
    changed = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    for wrong in (changed, cursor + "A", cursor[1:]):
        problem(await world.api.get("/tasks", params={"cursor": wrong}), 400, "malformed-body")
    problem(await world.api.get("/groups", params={"cursor": cursor}), 400, "malformed-body")


@pytest.mark.parametrize(
    "path",
    [
        "/tasks/nothing",
        "/tasks/%00",
        "/tasks/%F0%9F%92%A9",
        "/tasks/0199f3a2-7c1e-7d3a-9b8e-3f2d1c0b4a59",
        "/tasks/0199f3a2-7c1e-7d3a-9b8e-3f2d1c0b4a59/attempts",
        "/tasks/0199f3a2-7c1e-7d3a-9b8e-3f2d1c0b4a59/events",
        "/tasks/0199f3a2-7c1e-7d3a-9b8e-3f2d1c0b4a59/why",
        "/tasks/0199f3a2-7c1e-7d3a-9b8e-3f2d1c0b4a59/wait",
        "/tasks/0199f3a2-7c1e-7d3a-9b8e-3f2d1c0b4a59/webhooks",
        "/tasks/0199f3a2-7c1e-7d3a-9b8e-3f2d1c0b4a59/logs/stdout",
        "/tasks/0199f3a2-7c1e-7d3a-9b8e-3f2d1c0b4a59/logs/follow",
        "/webhooks/deliveries/none",
        "/nothing/here",
    ],
)
async def test_unknown_things_are_not_found(shared: NativeWorld, path: str) -> None:
    """404 as a problem document."""
    problem(await shared.api.get(path), 404, "not-found")


async def test_wrong_method_says_which_are_right(world: NativeWorld) -> None:
    """405 with Allow."""
    answer = await world.api.put("/tasks", json={})
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST, OPTIONS"
    problem(await world.api.request("TRACE", "/me"), 405, "method-not-allowed")


async def test_head_answers_with_headers_alone(world: NativeWorld) -> None:
    """The same headers as GET, no body."""
    answer = await world.api.head("/me")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) > 0
    assert answer.content == b""


async def test_request_id_of_the_caller_is_kept_if_harmless(world: NativeWorld) -> None:
    """An odd one is replaced."""
    mine = await world.api.get("/tasks/x", headers={"X-Request-ID": "abc-1"})
    assert mine.json()["request_id"] == "abc-1"
    odd = await world.api.get("/tasks/x", headers={"X-Request-ID": "a b<script>"})
    assert odd.json()["request_id"] not in {"a b<script>", ""}


async def test_too_many_waiting_tasks_are_refused_with_a_time(world: NativeWorld) -> None:
    """429 with Retry-After in whole seconds."""
    world.wired.engine.tasks._load._limit = 1
    assert (await world.api.post("/tasks", json=GOOD)).status_code == 201
    answer = await world.api.post("/tasks", json=GOOD)
    problem(answer, 429, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1


async def test_defect_is_answered_with_its_request_id_and_nothing_else(
    world: NativeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 without a trace of what went wrong inside."""

    def broken(_caller: object) -> None:
        raise ZeroDivisionError("secret inside")

    monkeypatch.setattr("taskyard.dialects.native.routes_workers.role_word", broken)
    document = problem(await world.api.get("/me"), 500, "internal")
    assert "secret inside" not in json.dumps(document)


@pytest.mark.parametrize(
    ("member", "field"),
    [
        ({"image": "Not An Image"}, "image"),
        ({"image": "busybox:"}, "image"),
        ({"image": "busybox@sha256:short"}, "image"),
        ({"image": ""}, "image"),
        ({"image": "busybox", "isolate": True}, "isolate"),
        ({"image": "busybox", "user": "a:"}, "user"),
        ({"image": "busybox", "container": {"network": "-x"}}, "container.network"),
        ({"image": "busybox", "container": {"pull": "maybe"}}, "container.pull"),
        ({"image": "busybox", "container": {"hosts": {"db": "nowhere"}}}, "container.hosts"),
        (
            {"image": "busybox", "container": {"volumes": [{"host": "/a:b", "container": "/c"}]}},
            "container.volumes",
        ),
        ({"image": "b", "command": "ls", "container": {"entrypoint": ["x"]}}, "command"),
        ({"command": "ls", "container": {}}, "container"),
        ({"command": "ls", "user": "nobody:nogroup"}, "user"),
    ],
)
async def test_containers_that_cannot_be_are_refused(
    shared: NativeWorld, member: dict[str, Any], field: str
) -> None:
    """Each with the member that is wrong, and nothing stored."""
    refused = problem(await shared.api.post("/tasks", json=member), 422, "invalid-input")
    assert refused["errors"][0]["field"].startswith(field)


async def test_a_container_is_answered_as_it_was_submitted(world: NativeWorld) -> None:
    """Image, arguments and all the rest; the secret by its name only."""
    how = {
        "entrypoint": ["/bin/echo"],
        "pull": "always",
        "credentials": "registry",
        "network": "none",
        "volumes": [{"host": "/srv", "container": "/data"}],
        "hosts": {"db": "10.0.0.7"},
        "capabilities": ["NET_BIND_SERVICE"],
    }
    body = {"image": "registry:5000/a/b:1", "command": ["x"], "user": "1:2", "container": how}
    task = (await world.api.post("/tasks", json=body)).json()
    assert (task["runtime"], task["image"], task["command"]) == (
        "container",
        "registry:5000/a/b:1",
        ["x"],
    )
    shown = task["container"]
    assert {name: shown[name] for name in how if name != "volumes"} == {
        name: value for name, value in how.items() if name != "volumes"
    }
    assert shown["volumes"] == [{"host": "/srv", "container": "/data", "read_only": True}]
    line = (await world.api.post("/tasks", json={"image": "b", "command": "a | b"})).json()
    assert line["container"]["entrypoint"] == ["/bin/sh", "-c"]
    assert line["command"] == ["a | b"]
