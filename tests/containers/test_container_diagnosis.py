"""Whose fault it is that nothing starts: by status and by trying out, not by words."""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from container_harness import ContainerHarness

from engines import RealEngine
from taskyard.core.access.container_rule import ContainerRule
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import ContainerFile, Volume
from taskyard.runtimes.engine.diagnosis import (
    Probe,
    reason_of_files,
    reason_of_os_error,
    reason_of_refusal,
)
from taskyard.runtimes.engine.errors import EngineRefused, EngineUnreachable

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.xdist_group("containers")]

PROBE = Probe("p", "busybox", "none", {})
NOT_FOUND = "OCI runtime attempted to invoke a command that was not found"
Answer = EngineRefused | EngineUnreachable | None


class WordEngine:
    """Answers as a test says, by the end of the path."""

    def __init__(self, **answers: Answer) -> None:
        self.calls: list[str] = []
        self._answers = answers

    async def call(self, method: str, path: str, **_: Any) -> Any:
        """See ``EngineClient``."""
        self.calls.append(f"{method} {path}")
        found = self._answers.get(path.rpartition("/")[2].partition("?")[0])
        if found is not None:
            raise found

    async def put(self, _container: str, _archive: bytes) -> None:
        """See ``EngineClient``."""
        await self.call("PUT", "/put")

    async def remove(self, container: str) -> None:
        """See ``EngineClient``."""
        self.calls.append(f"DELETE {container}")


async def judged(
    error: EngineRefused, answers: Mapping[str, Answer], probe: Probe = PROBE
) -> Reason:
    """What is made of a refusal."""
    engine: Any = WordEngine(**answers)
    return await reason_of_refusal(engine, error, probe)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        *((status, Reason.START_FAILED) for status in (400, 403, 404, 406)),
        *((status, Reason.RUNTIME_TROUBLE) for status in (408, 423, 425, 429)),
    ],
)
async def test_below_500_the_status_tells(status: int, reason: Reason) -> None:
    """And nothing is tried out."""
    engine: Any = WordEngine()
    assert await reason_of_refusal(engine, EngineRefused(status, "x"), PROBE) is reason
    assert engine.calls == []


@pytest.mark.parametrize(
    "words",
    ["network sandbox: no such file or directory", "executable file not found", "no space left"],
)
@pytest.mark.parametrize("status", [409, 500, 503])
async def test_words_do_not_count(words: str, status: int) -> None:
    """The same sentence is the engine's trouble or the work's fault, by what the engine can do."""
    error = EngineRefused(status, words)
    works = {"start": EngineRefused(400, "no such program")}
    assert await judged(error, works) is Reason.START_FAILED
    podman = {"start": EngineRefused(500, "x", NOT_FOUND)}
    assert await judged(error, podman) is Reason.START_FAILED
    troubles: tuple[Mapping[str, Answer], ...] = (
        {"create": EngineRefused(500, "x")},
        {"start": EngineRefused(500, "x")},
        {"create": EngineUnreachable("gone")},
    )
    for trouble in troubles:
        assert await judged(error, trouble) is Reason.RUNTIME_TROUBLE


async def test_what_is_tried_out_is_removed() -> None:
    """Whatever came of it."""
    for answer in (None, EngineRefused(500, "x"), EngineUnreachable("gone")):
        engine: Any = WordEngine(start=answer)
        await reason_of_refusal(engine, EngineRefused(500, "x"), PROBE)
        assert engine.calls[-1] == "DELETE p"


@pytest.mark.parametrize(
    ("network", "path"),
    [("team", "GET /networks/team"), ("container:db", "GET /containers/db/json")],
)
async def test_a_network_that_is_not_there_is_the_works_fault(network: str, path: str) -> None:
    """It is looked up."""
    probe = Probe("p", "busybox", network, {})
    missing = EngineRefused(404, "x")
    engine: Any = WordEngine(team=missing, json=missing, create=EngineRefused(500, "x"))
    error = EngineRefused(500, "x")
    assert await reason_of_refusal(engine, error, probe) is Reason.START_FAILED
    assert engine.calls == [path]
    trouble = await judged(error, {"create": EngineRefused(500, "x")}, probe)
    assert trouble is Reason.RUNTIME_TROUBLE


async def test_files_that_are_refused() -> None:
    """An engine that takes none at all is in trouble."""
    for status, takes, reason in (
        (403, True, Reason.START_FAILED),
        (500, True, Reason.START_FAILED),
        (500, False, Reason.RUNTIME_TROUBLE),
        (429, True, Reason.RUNTIME_TROUBLE),
    ):
        engine: Any = WordEngine(put=None if takes else EngineRefused(500, "x"))
        found = await reason_of_files(engine, EngineRefused(status, "no such file"), "c", b"")
        assert found is reason


def test_errors_of_this_machine_are_told_apart_by_number() -> None:
    """What is not there, and what cannot be had now."""
    for number in (errno.ENOENT, errno.ELOOP, errno.EACCES, errno.ENOTDIR):
        assert reason_of_os_error(OSError(number, "x")) is Reason.START_FAILED
    for number in (errno.EIO, errno.EMFILE, errno.ENOMEM, errno.ESTALE, errno.ENOSPC):
        assert reason_of_os_error(OSError(number, "x")) is Reason.RUNTIME_TROUBLE


X = ContainerFile("/loop/x", "YQ==")
Y = ContainerFile("/etc/passwd/x", "YQ==")


@pytest.mark.parametrize(
    "work",
    [
        {"network": "container:there-is-none"},
        {"network": "there-is-none"},
        {"args": ("/no/such/program",)},
        {"args": ("/etc/passwd",)},
        {"user": "nobody-knows"},
        {"user": "root:nobody-knows"},
        {"cwd": "/etc/passwd"},
        {"cwd": "/loop/x"},
        {"read_only": False, "files": (Y,)},
        {"read_only": False, "files": (X,)},
        {"volumes": (Volume("VOLUME", "/loop/x"),)},
    ],
)
async def test_what_never_starts_fails_as_such(
    engine: RealEngine, tmp_path: Path, work: dict[str, Any]
) -> None:
    """At once, on either engine, and nothing of what was tried out is left.

    Some engines follow a loop nowhere and start: what counts is that it is not taken for trouble.
    """
    rule = ContainerRule(networks=("container:there-is-none", "there-is-none"))
    (tmp_path / "volume").mkdir()
    harness = ContainerHarness(tmp_path, engine, rule=rule, volumes=(str(tmp_path),))
    await harness.open()
    if "volumes" in work:
        work = {"volumes": (Volume(str(tmp_path / "volume"), "/loop/x"),)}
    try:
        ended = await harness.run(**{"args": ("true",), **work})
        started = "/loop" in str(work) and ended.state is AttemptState.SUCCEEDED
        assert started or ended.reason is Reason.START_FAILED, ended
        assert not any("probe" in name for name in harness.names())
    finally:
        await harness.close()


async def test_an_engine_that_recovers_costs_the_task_nothing(
    harness: ContainerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails once for a moment is tried once more."""
    call, refused = harness.runtime.engine.call, []

    async def fails_once(method: str, path: str, **more: Any) -> Any:
        is_own = path.endswith(("/create", "/start")) and "probe" not in path
        if is_own and path not in refused:
            refused.append(path)
            raise EngineRefused(500, "network: no such file")
        return await call(method, path, **more)

    monkeypatch.setattr(harness.runtime.engine, "call", fails_once)
    ended = await harness.run("echo all of it")
    assert len(refused) == 2
    assert ended.state is AttemptState.SUCCEEDED
    assert await harness.output(ended) == b"all of it\n"


async def test_an_engine_in_trouble_is_not_the_tasks_fault(
    harness: ContainerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it says."""
    call = harness.runtime.engine.call

    async def full(method: str, path: str, **more: Any) -> Any:
        if path.endswith("/create"):
            raise EngineRefused(500, "executable file not found: network invalid")
        return await call(method, path, **more)

    monkeypatch.setattr(harness.runtime.engine, "call", full)
    ended = await harness.run("true")
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.RUNTIME_TROUBLE)
