"""Pulling images from a registry, with all that may go wrong."""

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
from container_harness import ContainerHarness

from eventually import eventually_async
from registry import Registry, registry
from taskyard.core.attempts import StreamSize
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import PullPolicy

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120), pytest.mark.xdist_group("containers")]

MARK = "cat /mark"


@pytest.fixture
def public() -> Iterator[Registry]:
    """Anybody may pull from it."""
    with registry() as found:
        yield found


@pytest.fixture
def private() -> Iterator[Registry]:
    """Wants to know who pulls."""
    with registry("harness:hunter2") as found:
        yield found


def fresh() -> str:
    """What no engine can have yet."""
    return f"img-{uuid4().hex[:12]}"


async def test_an_image_is_pulled_and_run(harness: ContainerHarness, public: Registry) -> None:
    """Progress stands in the standard error, before what the container says itself."""
    name = fresh()
    public.push(f"deep/{name}", "v1.2", name)
    image = f"{public.host}/deep/{name}:v1.2"
    ended = await harness.run(f"{MARK}; echo own >&2", image=image)
    assert ended.state is AttemptState.SUCCEEDED, ended
    assert await harness.output(ended) == name.encode()
    said = (await harness.output(ended, "stderr")).decode()
    lines = said.splitlines()
    assert lines[0] == f"[taskyard: pulling {image}]"
    assert lines[-2:] == [f"[taskyard: pulled {image}]", "own"]
    assert len(lines) > 3, said
    assert ended.stderr == StreamSize(len(said), 0)


async def test_a_digest_names_one_image_for_ever(
    harness: ContainerHarness, public: Registry
) -> None:
    """Also after the tag has moved on; a tag beside the digest changes nothing."""
    name = fresh()
    digest = public.push(name, "latest", f"{name} old")
    public.push(name, "latest", f"{name} new")
    for image in (f"{name}@{digest}", f"{name}:latest@{digest}"):
        ended = await harness.run(MARK, image=f"{public.host}/{image}")
        assert await harness.output(ended) == f"{name} old".encode(), ended
    ended = await harness.run(MARK, image=f"{public.host}/{name}")
    assert await harness.output(ended) == f"{name} new".encode(), ended


async def test_pull_policies_decide_when_a_registry_is_asked(
    harness: ContainerHarness, public: Registry
) -> None:
    """Never: not at all. Missing: once. Always: every time, so that new images are seen."""
    name = fresh()
    public.push(name, "latest", "old")
    image = f"{public.host}/{name}"
    never = await harness.run(MARK, image=image, pull=PullPolicy.NEVER)
    assert (never.state, never.reason) == (AttemptState.FAILED, Reason.START_FAILED)
    assert public.pulled == []
    first = await harness.run(MARK, image=image, pull=PullPolicy.MISSING)
    assert await harness.output(first) == b"old", first
    asked = len(public.pulled)
    public.push(name, "latest", "new")
    second = await harness.run(MARK, image=image, pull=PullPolicy.MISSING)
    assert await harness.output(second) == b"old"
    assert await harness.output(second, "stderr") == b""
    assert len(public.pulled) == asked
    third = await harness.run(MARK, image=image, pull=PullPolicy.ALWAYS)
    assert await harness.output(third) == b"new", third


async def test_a_tag_that_is_not_there_is_the_tasks_own_fault(
    harness: ContainerHarness, public: Registry
) -> None:
    """The message names the image and what the registry said."""
    image = f"{public.host}/{fresh()}:none"
    ended = await harness.run(MARK, image=image)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED)
    assert image in (ended.message or "")
    assert "manifest unknown" in (ended.message or "")


async def test_a_registry_gets_the_credentials_it_wants(
    harness: ContainerHarness, private: Registry
) -> None:
    """And they stand in no log."""
    name = fresh()
    private.push(name, "latest", name)
    text = json.dumps({"username": "harness", "password": "hunter2"})
    ended = await harness.run(MARK, image=f"{private.host}/{name}", registry_credentials=text)
    assert await harness.output(ended) == name.encode(), ended
    assert b"hunter2" not in await harness.output(ended, "stderr")


@pytest.mark.parametrize("password", [None, "hunter3"])
async def test_wrong_and_missing_credentials_say_so(
    harness: ContainerHarness, private: Registry, password: str | None
) -> None:
    """Without showing them."""
    name = fresh()
    private.push(name, "latest", name)
    text = None
    if password is not None:
        text = json.dumps({"username": "harness", "password": password})
    ended = await harness.run(MARK, image=f"{private.host}/{name}", registry_credentials=text)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED)
    assert "credentials" in (ended.message or "")
    assert "hunter" not in (ended.message or "")
    assert b"hunter" not in await harness.output(ended, "stderr")


async def test_a_registry_that_stalls_is_not_waited_for_for_ever(
    harness: ContainerHarness, public: Registry
) -> None:
    """The limit is the task's own, and the next try begins afresh."""
    name = fresh()
    public.push(name, "latest", name)
    public.stalls.set()
    image = f"{public.host}/{name}"
    ended = await harness.run(MARK, image=image, pull_timeout_s=1.0)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED)
    assert "within 1 s" in (ended.message or "")
    assert "pull_timeout_s" in (ended.message or "")
    public.stalls.clear()
    again = await harness.run(MARK, image=image)
    assert await harness.output(again) == name.encode(), again


async def test_a_kill_ends_a_pull(harness: ContainerHarness, public: Registry) -> None:
    """Nobody waits for the registry, and nothing is left behind."""
    name = fresh()
    public.push(name, "latest", name)
    public.stalls.set()
    assignment = await harness.start(MARK, image=f"{public.host}/{name}")
    await eventually_async(lambda: bool(public.pulled))
    report = await harness.kill(assignment)
    assert report.survivors == ()
    assert (await harness.ended(assignment)).state is AttemptState.KILLED
    assert harness.names() == set()
