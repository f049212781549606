"""Functions that are called on a worker on another machine, which has to fetch and build them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from joined_site import ME, SOON_S, Site, joined_site

from eventually import eventually_async
from taskyard.core.functions.functions import BuildState, CallRequest, CallResult, Language, Version
from taskyard.core.states import Reason, TaskState
from taskyard.core.tasks import Task
from taskyard.services.functions.calls import CallFailed
from taskyard.services.functions.deployments import Deployment

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(180)]

SOURCE = b"""
def handle(request):
    return 'x' * int(request.body or b'3')
"""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A control plane on SQLite that a worker may join."""
    async with joined_site(tmp_path, "far") as site:
        yield site


async def deployed(site: Site, source: bytes = SOURCE) -> Version:
    """A version that the control plane has built."""
    given = Deployment(bundle=source, language=Language.PYTHON)
    functions = site.node.engine.functions
    function, version = await functions.deploy(ME, "far-away", given)
    version = await functions.built(ME, function.id, version.number, SOON_S)
    assert version.state is BuildState.READY, version.message
    return version


async def called(site: Site, body: bytes = b"") -> tuple[Task, CallResult]:
    """A call, and what it answered on the joined worker."""
    calls = site.node.engine.calls
    spec = await calls.prepare(ME, "far-away", CallRequest(body=body))
    task, result = await calls.call(ME, spec, SOON_S)
    assert result is not None
    (attempt,) = await site.attempts(task)
    assert attempt.worker_id == "far"
    return task, result


def build_of(data: Path, version: Version) -> Path:
    """Where a machine keeps what it has built."""
    return data / "functions" / "builds" / version.function_id / str(version.number)


def bundle_of(site: Site, version: Version) -> Path:
    """Where the control plane keeps the source."""
    bundles = site.root / "plane-data" / "functions" / "bundles"
    return bundles / version.bundle[:2] / version.bundle


async def test_is_fetched_built_and_answers(site: Site) -> None:
    """Little and much; it is built once, however many call it."""
    version = await deployed(site)
    worker = await site.worker("far")
    _, small = await called(site)
    assert small.body == b"xxx"
    manifest = build_of(worker.data, version) / "manifest.json"
    built_at = manifest.stat().st_mtime_ns
    task, large = await called(site, b"1000000")
    assert large.body == b"x" * 1_000_000
    # It is not the worker that is asked for it, now or later.
    worker.kill()
    assert (await site.node.engine.calls.result(ME, task.id)).body == large.body
    assert manifest.stat().st_mtime_ns == built_at
    assert worker.said().count("version_built") == 1


async def test_killed_worker_uses_what_it_has_built(site: Site) -> None:
    """Without the source, which is not even there any more."""
    version = await deployed(site)
    worker = await site.worker("far")
    await called(site)
    before = (await site.joined(worker)).incarnation
    worker.kill()
    bundle_of(site, version).unlink()
    worker.start()
    await site.joined(worker, before)
    _, again = await called(site, b"5")
    assert again.body == b"xxxxx"
    assert worker.said().count("version_built") == 1


async def test_damaged_build_is_built_again(site: Site) -> None:
    """From the source, as on a control plane."""
    version = await deployed(site)
    worker = await site.worker("far")
    await called(site)
    before = (await site.joined(worker)).incarnation
    worker.kill()
    (build_of(worker.data, version) / "manifest.json").write_bytes(b"{")
    worker.start()
    await site.joined(worker, before)
    _, again = await called(site)
    assert again.body == b"xxx"
    assert worker.said().count("version_built") == 2


async def failed(site: Site) -> tuple[Any, str]:
    """How a call fails: why, and what is said of it."""
    calls = site.node.engine.calls
    spec = await calls.prepare(ME, "far-away", CallRequest())
    with pytest.raises(CallFailed) as error:
        await calls.call(ME, spec, SOON_S)
    return error.value.reason, str(error.value)


async def test_damaged_source_is_refused(site: Site) -> None:
    """The call fails and says why; nothing of it is built. A newer version runs."""
    version = await deployed(site)
    path = bundle_of(site, version)
    path.write_bytes(path.read_bytes().replace(b"x", b"y"))
    worker = await site.worker("far")
    reason, said = await failed(site)
    assert reason is Reason.START_FAILED
    assert "damaged" in said
    assert not build_of(worker.data, version).exists()
    await deployed(site, SOURCE + b"\n")
    _, result = await called(site)
    assert result.body == b"xxx"


async def test_call_waits_while_its_source_cannot_be_read(site: Site) -> None:
    """Its attempt ends as one through no fault of its own; another one finds the source."""
    version = await deployed(site)
    path = bundle_of(site, version)
    beside = path.with_name("beside")
    path.rename(beside)
    path.mkdir()  # reading it is an error, not an absence
    await site.worker("far")
    calls = site.node.engine.calls
    spec = await calls.prepare(ME, "far-away", CallRequest())
    task, _ = await site.node.engine.tasks.submit(ME, spec)
    await eventually_async(
        lambda: site.attempts(task),
        lambda now: any(one.reason is Reason.RUNTIME_TROUBLE for one in now),
        within_s=SOON_S,
    )
    path.rmdir()
    beside.rename(path)
    done = await site.until(task, "succeeded", "failed")
    assert done.state is TaskState.SUCCEEDED, await site.attempts(task)


async def test_machine_whose_operator_wants_none_takes_no_calls(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait for another worker."""
    await deployed(site)
    monkeypatch.setenv("TASKYARD_PROCESS_FUNCTIONS", "false")
    worker = await site.worker("far")
    assert (await site.joined(worker)).runtimes == ("command", "simulation")
    spec = await site.node.engine.calls.prepare(ME, "far-away", CallRequest())
    task, _ = await site.node.engine.tasks.submit(ME, spec)
    await site.until(await site.submit("true"), "succeeded")
    assert (await site.task(task)).state is TaskState.QUEUED
