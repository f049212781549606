"""Webhooks and mails: who is told what, how often it is tried, what is remembered of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastlane_targets import Target, mail_server, target
from fastlane_world import FastlaneWorld, Json, opened

pytestmark = pytest.mark.anyio

REFUSAL = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
LISTS = ("starts", "succeeds", "fails", "finishes")


@pytest.fixture
async def receiver() -> AsyncIterator[Target]:
    """A target to send to."""
    async with target() as found:
        yield found


def hooks(receiver: Target, **options: Any) -> dict[str, Any]:
    """One webhook for each list, at a path of that name."""
    return {one: [{"url": receiver.url(f"/{one}"), **options}] for one in LISTS}


async def received(world: FastlaneWorld, receiver: Target, count: int) -> list[str]:
    """Paths of the requests, once there are so many."""

    async def look() -> list[str] | None:
        found = [line.split()[1] for line, _, _ in receiver.received]
        return found if len(found) >= count else None

    return sorted(await world.until(look))


async def history(world: FastlaneWorld, enqueued: Json, count: int) -> list[Json]:
    """The dispatches of the newest execution, once there are so many."""

    async def look() -> list[Json] | None:
        execution = (await world.job(enqueued))["executions"][0]
        found: list[Json] = execution["metadata"].get("webhookDispatch", [])
        return found if len(found) >= count else None

    return await world.until(look)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("echo out", ["/finishes", "/starts", "/succeeds"]),
        ("exit 3", ["/fails", "/finishes", "/starts"]),
        ("slow", ["/finishes", "/starts"]),
        ("lost-start", []),
    ],
)
async def test_each_end_tells_its_lists(
    world: FastlaneWorld, receiver: Target, command: str, told: list[str]
) -> None:
    """And a start the list of starts; never anybody else."""
    enqueued = await world.enqueue(command, webhooks=hooks(receiver))
    await world.execution(enqueued)
    marker = await world.enqueue(webhooks={"finishes": [{"url": receiver.url("/marker")}]})
    await world.execution(marker)
    assert await received(world, receiver, len(told) + 1) == sorted([*told, "/marker"])


async def test_a_request_is_just_what_the_contract_says(
    world: FastlaneWorld, receiver: Target
) -> None:
    """POST whatever the entry says, its headers, the execution's object with the job's id."""
    hook = {"url": receiver.url("/x"), "method": "GET", "headers": {"X-Token": "t"}, "retries": 2}
    enqueued = await world.enqueue(
        "echo out",
        webhooks={"succeeds": [hook, {"no": "url"}]},
        metadata={"a": 1},
        envs={"A": "secret value"},
    )
    await world.execution(enqueued)
    await received(world, receiver, 1)
    line, headers, body = receiver.received[0]
    assert line == "POST /x HTTP/1.1"
    assert headers["x-token"] == "t"
    assert "content-type" not in headers
    assert not any(name.startswith("webhook-") for name in headers)
    sent = receiver.bodies()[0]
    assert sent["job_id"] == enqueued["jobId"]
    assert sent["metadata"] == {
        "docker_host": "docker.example",
        "docker_port": 2375,
        "container_id": "c0ffee",
        "custom": {"a": 1},
    }
    assert (sent["status"], sent["exitCode"], sent["log"]) == ("done", 0, "out\n")
    assert sent["executionId"] == enqueued["executionId"]
    assert "taskId" not in sent
    assert b"secret value" not in body
    (entry,) = await history(world, enqueued, 1)
    assert (entry["url"], entry["statusCode"], entry["body"]) == (receiver.url("/x"), 200, "ok")
    assert entry["headers"]["x-answer"] == "yes"
    assert "error" not in entry
    shown = (await world.job(enqueued))["metadata"]["webhooks"]
    assert shown == {"succeeds": [hook, {"no": "url"}]}


async def test_failures_are_tried_again_and_remembered(
    world: FastlaneWorld, receiver: Target
) -> None:
    """So often as the entry says; only the last three stay after a failure."""
    receiver.answers = [REFUSAL] * 5
    enqueued = await world.enqueue(webhooks={"finishes": [{"url": receiver.url(), "retries": 4}]})
    await world.execution(enqueued)
    await received(world, receiver, 5)
    entries = await history(world, enqueued, 3)
    assert [one["statusCode"] for one in entries] == [503, 503, 503]
    assert "503" in entries[0]["error"]
    assert enqueued["jobId"] in entries[0]["body"]
    marker = await world.enqueue(webhooks={"finishes": [{"url": receiver.url("/marker")}]})
    await world.execution(marker)
    await received(world, receiver, 6)
    assert len(receiver.received) == 6


async def test_a_target_down_for_a_while_is_reached_later(world: FastlaneWorld) -> None:
    """Refused connections count as 500, and the message arrives once somebody listens."""
    async with target() as first:
        port, url = first.port, first.url()
    hook = {"url": url, "retries": 12}
    enqueued = await world.enqueue(webhooks={"finishes": [hook]})
    entries = await history(world, enqueued, 2)
    assert entries[0]["statusCode"] == 500
    assert entries[0]["error"]
    async with target(port) as second:
        await received(world, second, 1)

        async def delivered() -> bool:
            last = (await history(world, enqueued, 1))[-1]
            return bool(last["statusCode"] == 200)

        await world.until(delivered)
        assert second.bodies()[0]["job_id"] == enqueued["jobId"]


async def test_redirects_are_followed(world: FastlaneWorld, receiver: Target) -> None:
    """Each target again; credentials do not travel to another host."""
    async with target() as other:
        to_other = (
            f"HTTP/1.1 307 Go\r\nLocation: {other.url('/there')}\r\nContent-Length: 0\r\n\r\n"
        )
        receiver.answers = [
            b"HTTP/1.1 302 Go\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n",
            to_other.encode(),
        ]
        hook = {"url": receiver.url("/first"), "headers": {"Authorization": "x", "X-Mine": "y"}}
        await world.execution(await world.enqueue(webhooks={"finishes": [hook]}))
        await received(world, other, 1)
        assert [line for line, _, _ in receiver.received] == [
            "POST /first HTTP/1.1",
            "GET /again HTTP/1.1",
        ]
        line, headers, _ = other.received[0]
        assert line == "GET /there HTTP/1.1"
        assert (headers.get("authorization"), headers["x-mine"]) == (None, "y")


async def test_urls_that_lead_nowhere_are_remembered_as_failures(world: FastlaneWorld) -> None:
    """They do no harm to the job."""
    bad = [{"url": one} for one in ("no url", "ftp://x/", "http://[", "http://user:pw@x/")]
    enqueued = await world.enqueue(webhooks={"finishes": bad})
    assert (await world.execution(enqueued))["status"] == "done"
    entries = await history(world, enqueued, 3)
    assert {one["statusCode"] for one in entries} == {500}


async def test_every_attempt_tells_for_itself(world: FastlaneWorld, receiver: Target) -> None:
    """Retries send webhooks of their own."""
    enqueued = await world.enqueue("exit 1", retries=1, webhooks=hooks(receiver))
    await world.execution(enqueued, "failed", count=2)
    paths = await received(world, receiver, 6)
    assert paths == ["/fails"] * 2 + ["/finishes"] * 2 + ["/starts"] * 2


async def test_mails_go_to_their_lists(tmp_path: Path) -> None:
    """One for each address, as text and as HTML with links, refused ones not tried again."""
    async with (
        mail_server() as box,
        opened(
            tmp_path, smtp_host="127.0.0.1", smtp_port=box.port, smtp_from="yard@example.org"
        ) as world,
    ):
        notify = {
            "succeeds": ["s@example.org"],
            "fails": ["refuse@example.org", "f@example.org"],
            "finishes": ["e@example.org"],
        }
        for command in ("echo out", "exit 3", "slow"):
            await world.execution(await world.enqueue(command, task="a<b>", notify=notify))

        async def all_there() -> bool:
            return len(box.mails) >= 5

        await world.until(all_there)
        found = {}
        for sender, (recipient,), mail in box.mails:
            assert sender == "yard@example.org"
            assert mail["To"] == recipient
            found[recipient, str(mail["Subject"]).split(" ", 3)[3]] = mail
        assert set(found) == {
            ("s@example.org", "succeeded!"),
            ("e@example.org", "finished with exit code 0!"),
            ("f@example.org", "failed with exit code 3!"),
            ("e@example.org", "finished with exit code 3!"),
            ("e@example.org", "finished with exit code None!"),
        }
        mail = found["s@example.org", "succeeded!"]
        assert mail["Subject"].startswith("[Fastlane] Job a<b>/")
        text, html = mail.iter_parts()
        assert '"status": "done"' in text.get_content()
        assert f"{world.url}/tasks/a%3Cb%3E/jobs/" in html.get_content()
        assert "a<b>" not in html.get_content()


async def test_mails_without_a_server_are_skipped(
    world: FastlaneWorld, receiver: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a line in the log; webhooks go out all the same."""
    enqueued = await world.enqueue(
        notify={"finishes": ["a@example.org"]}, webhooks={"finishes": [{"url": receiver.url()}]}
    )
    await world.execution(enqueued)
    await received(world, receiver, 1)
    assert "fastlane_mail_skipped" in capsys.readouterr().out


async def test_what_was_owed_survives_a_restart(tmp_path: Path, receiver: Target) -> None:
    """A retry's back-off, a delay, a cron rule, and a message that was not delivered."""
    hook = {"finishes": [{"url": receiver.url(), "retries": 50}]}
    receiver.answers = [REFUSAL]
    options: dict[str, Any] = {"webhook_backoff_min_ms": 20, "webhook_backoff_factor": 1}
    async with opened(tmp_path, **options) as world:
        told = await world.enqueue("echo told", webhooks=hook)
        await world.execution(told)
        backing_off = await world.enqueue("exit 1", retries=1, backoff={"minMs": 1500, "factor": 1})
        await world.execution(backing_off, "enqueued", count=2)
        delayed = await world.enqueue("echo later", startIn="2s")
        cron = await world.enqueue("echo cron", cron="* * * * * *")
        await received(world, receiver, 2)
    receiver.answers = [b"HTTP/1.1 204 Fine\r\n\r\n"]
    seen = len(receiver.received)
    async with opened(tmp_path, **options) as world:
        await received(world, receiver, seen + 1)
        assert (await world.execution(backing_off, "failed", count=2))["status"] == "failed"
        assert (await world.execution(delayed, "done"))["log"] == "later\n"
        await world.execution(cron, "done", count=2)
        assert (await world.job(backing_off))["executionCount"] == 2
        assert (await world.job(delayed))["executionCount"] == 1
        # What a server that is killed has not kept is told.
        log = (await world.execution(told))["log"]
        assert log == "told\n" or "5 bytes of stdout of attempt 1 are gone" in log
