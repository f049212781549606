"""Bodies of POST and PUT, field by field: what is taken, what is refused, what is stored."""

import json
from typing import Any
from uuid import uuid4

import pytest
from fastlane_world import FastlaneWorld

pytestmark = pytest.mark.anyio

GOOD = {"image": "busybox:1", "command": "echo hi"}

BAD_BODIES = [
    b"",
    b"  ",
    b"{",
    b"null",
    b'""',
    b"[]",
    b"[1]",
    b"5",
    b"\xff\xfe",
    b'"text"',
    b"true",
]
BAD_FIELDS: list[dict[str, Any]] = [
    {"image": None},
    {"command": None},
    {"image": 5},
    {"image": ""},
    {"image": "two words"},
    {"image": ["x"]},
    {"command": 5},
    {"command": ["ls"]},
    {"command": "echo 'open"},
    {"command": "a\0b"},
    {"envs": {"A_PASSWORD": "***"}},
    {"startIn": "1h", "cron": "* * * * *"},
    {"startIn": "1h", "startAt": 5},
    {"startAt": 0, "cron": ""},
    {"startIn": 5},
    {"startIn": "9999999999999h"},
    {"startAt": "soon"},
    {"startAt": []},
    {"startAt": True},
    {"startAt": 10**15},
    {"startAt": "1e400"},
    {"cron": "x"},
    {"cron": "* * * *"},
    {"cron": "61 * * * *"},
    {"cron": "* * * * * 77"},
    {"cron": "@daily"},
    {"cron": 5},
    {"timeout": "5"},
    {"timeout": True},
    {"timeout": []},
    {"retries": "3"},
    {"retries": 1.5},
    {"retries": True},
    {"retries": 10**9},
    {"expiration": "tomorrow"},
    {"expiration": {}},
    {"envs": []},
    {"envs": "A=1"},
    {"envs": {"": "x"}},
    {"envs": {"A=B": "x"}},
    {"envs": {"A": "x\0"}},
    {"notify": []},
    {"notify": {"fails": "a@b.c"}},
    {"notify": {"fails": [5]}},
    {"notify": {"fails": ["a@b.c\r\nBcc: d@e.f"]}},
    {"notify": {"succeeds": ["a@b.c"] * 33}},
    {"webhooks": 5},
    {"webhooks": {"fails": {}}},
    {"webhooks": {"fails": ["http://x"]}},
    {"webhooks": {"fails": [{"url": 5}]}},
    {"webhooks": {"fails": [{"url": "http://x", "headers": []}]}},
    {"webhooks": {"fails": [{"url": "http://x", "headers": {"a": 5}}]}},
    {"webhooks": {"fails": [{"url": "http://x", "retries": "2"}]}},
    {"additionalDNSEntries": []},
    {"additionalDNSEntries": {"db": 5}},
    {"additionalDNSEntries": {"db": "not an address"}},
    {"additionalDNSEntries": {"d b\n": "10.0.0.1"}},
    {"backoff": 5},
    {"backoff": {"minMs": -1}},
    {"backoff": {"factor": "2"}},
    {"metadata": {"surrogate": "\ud800"}},
    {"envs": {"A": "\ud800"}},
]


async def test_bodies_that_are_no_object_are_refused(world: FastlaneWorld) -> None:
    """400, as a plain sentence, on both routes; no task comes into being."""
    for path in ("/tasks/t", "/tasks/t/", f"/tasks/t/jobs/{uuid4()}", f"/tasks/t/jobs/{uuid4()}/"):
        for body in BAD_BODIES:
            send = world.api.put if "/jobs/" in path else world.api.post
            answer = await send(path, content=body)
            assert answer.status_code == 400, (path, body, answer.text)
            assert answer.headers["content-type"].startswith("text/plain")
    assert (await world.api.get("/tasks")).json()["total"] == 0


async def test_values_that_cannot_be_used_are_refused(world: FastlaneWorld) -> None:
    """400 and a sentence; nothing is stored, not even the task."""
    for fields in BAD_FIELDS:
        body = json.dumps({**GOOD, **fields}).encode()
        for answer in (
            await world.api.post("/tasks/t", content=body),
            await world.api.put(f"/tasks/t/jobs/{uuid4()}", content=body),
        ):
            assert answer.status_code == 400, (fields, answer.text)
            assert answer.headers["content-type"].startswith("text/plain")
            assert answer.text
    assert (await world.api.get("/tasks")).json()["total"] == 0
    assert not world.worker.ran


async def test_missing_members_are_refused(world: FastlaneWorld) -> None:
    """Image and command have to be there."""
    for body in ({}, {"image": "x"}, {"command": "y"}):
        assert (await world.api.post("/tasks/t", json=body)).status_code == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"startAt": 0},
        {"startIn": ""},
        {"cron": ""},
        {"startIn": None, "startAt": None, "cron": None},
        {"metadata": "text"},
        {"metadata": {}},
        {"metadata": [1]},
        {"unknown": [1]},
        {"timeout": 0},
        {"timeout": -5},
        {"retries": None},
        {"notify": None, "webhooks": None, "envs": None, "additionalDNSEntries": None},
        {"envs": {"N": 5, "L": [1], "O": {"a": 1}, "E": None}},
        {"command": ""},
    ],
    ids=str,
)
async def test_leniency_of_the_original_is_kept(
    shared: FastlaneWorld, fields: dict[str, Any]
) -> None:
    """These count as nothing said, and the job runs now."""
    enqueued = await shared.enqueue(**{"command": "echo hi", **fields})
    assert enqueued["executionId"]
    assert (await shared.execution(enqueued))["status"] == "done"


@pytest.mark.parametrize(
    "fields",
    [
        {"startIn": "abc"},
        {"startIn": "10"},
        {"startIn": "1d"},
        {"startIn": "0s"},
        {"startAt": 5},
        {"startAt": "5"},
        {"startAt": 5.9},
    ],
    ids=str,
)
async def test_a_start_that_is_due_happens_at_once(
    shared: FastlaneWorld, fields: dict[str, Any]
) -> None:
    """As soon as possible, though the answer names no execution yet."""
    enqueued = await shared.enqueue(**fields)
    assert enqueued["executionId"] is None
    assert enqueued["executionUrl"] is None
    found = await shared.execution(enqueued)
    assert found["status"] == "done"
    assert found["requestIPAddress"] is None


async def test_content_type_does_not_matter(world: FastlaneWorld) -> None:
    """Plain ``curl -d`` works."""
    answer = await world.api.post(
        "/tasks/t",
        content=json.dumps(GOOD).encode(),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 200


async def test_command_is_split_and_not_run_by_a_shell(world: FastlaneWorld) -> None:
    """Quotes group, everything else is literal."""
    await world.execution(await world.enqueue("echo 'a b' $X ; > c"))
    work: Any = world.worker.ran[0].work
    assert work.args == ("echo", "a b", "$X", ";", ">", "c")


async def test_container_gets_what_was_asked_for(world: FastlaneWorld) -> None:
    """Real values of variables, hosts, image as submitted; the newest image, plain defaults."""
    await world.execution(
        await world.enqueue(
            envs={"PASSWORD": "real", "N": 5}, additionalDNSEntries={"db.local": "10.0.0.9"}
        )
    )
    work: Any = world.worker.ran[0].work
    assert work.env == {"PASSWORD": "real", "N": "5"}
    assert work.hosts == {"db.local": "10.0.0.9"}
    assert work.image == "busybox:1"
    assert (work.pull, work.privileged_defaults, work.read_only) == ("always", True, False)


@pytest.mark.parametrize(
    "image", ["registry:5000/img:tag", "img@sha256:" + "a" * 64, "a/b/c", "localhost:5000/x"]
)
async def test_image_names_are_shown_as_submitted(world: FastlaneWorld, image: str) -> None:
    """Registries with ports and digests too, on scheduled runs as well."""
    answer = await world.api.post(
        "/tasks/t", json={"image": image, "command": "echo", "startIn": "0s"}
    )
    found = await world.execution(answer.json())
    assert found["image"] == image
    work: Any = world.worker.ran[0].work
    assert work.image == image


async def test_large_bodies_are_refused(world: FastlaneWorld) -> None:
    """413 past the limit of the server."""
    answer = await world.api.post("/tasks/t", content=b"x" * (9 << 20))
    assert answer.status_code == 413


async def test_task_ids_are_any_text(world: FastlaneWorld) -> None:
    """Percent-encoded in URLs; what cannot be stored is refused."""
    answer = await world.api.post("/tasks/Ä%20b%3F%25", json=GOOD)
    assert answer.json()["taskId"] == "Ä b?%"
    assert answer.json()["taskUrl"] == f"{world.url}/tasks/%C3%84%20b%3F%25"
    assert (await world.api.get(answer.json()["taskUrl"])).json()["taskId"] == "Ä b?%"
    for wrong in ("a%2Fb", "a%0Ab", "x" * 256):
        assert (await world.api.post(f"/tasks/{wrong}", json=GOOD)).status_code in {400, 404}
        assert (await world.api.get(f"/tasks/{wrong}")).status_code == 404


async def test_job_ids_are_uuids_in_any_spelling(world: FastlaneWorld) -> None:
    """Normalised; checked before the body."""
    plain = uuid4()
    for text in (str(plain).upper(), plain.hex, f"{{{plain}}}"):
        answer = await world.api.put(f"/tasks/t/jobs/{text}", json=GOOD)
        assert answer.status_code == 200, answer.text
        assert answer.json()["jobId"] == str(plain)
    answer = await world.api.put("/tasks/t/jobs/nonsense", content=b"")
    assert answer.status_code == 400
    assert "UUID" in answer.text
    details = await world.api.get(f"/tasks/t/jobs/{str(plain).upper()}")
    assert details.json()["job"]["executionCount"] == 3
