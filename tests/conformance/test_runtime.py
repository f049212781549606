"""What every runtime promises, tried on each there is."""

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from engines import IMAGE, RealEngine, real_engine
from taskyard.core.attempts import Ended, Started
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.states import ENDED_ATTEMPT, AttemptState, Reason
from taskyard.core.tasks import Command, Container, Volume, Work
from taskyard.ports.runtime import Assignment, KillOrder, Runtime
from taskyard.runtimes.command.runtime import CommandRuntime
from taskyard.runtimes.container.runtime import ContainerRuntime
from taskyard.runtimes.engine.settings import ContainerSettings
from taskyard.server.clock import SystemClock

pytestmark = pytest.mark.anyio

DEADLINE_S = 20.0


class Ear:
    """A listener that can be waited on."""

    def __init__(self) -> None:
        self.heard: list[Started | Ended] = []
        self._news = anyio.Event()

    def started(self, event: Started) -> None:
        """Keep it."""
        self._take(event)

    def ended(self, event: Ended) -> None:
        """Keep it."""
        self._take(event)

    def _take(self, event: Started | Ended) -> None:
        self.heard.append(event)
        self._news.set()
        self._news = anyio.Event()

    async def first(self, kind: type[Started | Ended], attempt_id: AttemptId) -> Started | Ended:
        """Wait for the first report of a kind on an attempt."""
        with anyio.fail_after(DEADLINE_S):
            while True:
                for event in self.heard:
                    if isinstance(event, kind) and event.attempt_id == attempt_id:
                        return event
                await self._news.wait()

    async def end(self, attempt_id: AttemptId) -> Ended:
        """Wait for the end of an attempt."""
        event = await self.first(Ended, attempt_id)
        assert isinstance(event, Ended)
        return event


class Bench:
    """A runtime to be tried; a new one takes its place with :meth:`restart`."""

    def __init__(self, root: Path, kind: str, engine: RealEngine | None) -> None:
        self.root = root
        self.kind = kind
        self._engine = engine
        self.ear = Ear()
        self.runtime: Runtime = self._make()

    def _make(self) -> Runtime:
        if self._engine is not None:
            settings = ContainerSettings(
                engine=self._engine.url, network="none", volumes=(str(self.root),)
            )
            return ContainerRuntime(self.root / "containers", settings, SystemClock())
        return CommandRuntime(
            self.root / "supervisor", use_cgroups=self.kind == "command", linger_s=0.2
        )

    def _work(self, script: str) -> Work:
        if self._engine is None:
            return Command(shell=script)
        here = Volume(str(self.root), str(self.root))
        return Container(image=IMAGE, args=("sh", "-c", script), volumes=(here,))

    async def restart(self) -> None:
        """Close the runtime and open another one."""
        await self.runtime.close()
        self.ear = Ear()
        self.runtime = self._make()
        await self.runtime.open(self.ear)

    def assignment(self, script: str) -> tuple[Assignment, Path]:
        """Work in the form this runtime executes, and a directory for it."""
        assignment = Assignment(
            attempt_id=AttemptId(str(uuid4())),
            task_id=TaskId("task"),
            workspace=WorkspaceName("default"),
            group="group",
            number=1,
            lease_token=LeaseToken("lease"),
            assigned_at=Instant(0),
            work=self._work(script),
            resources=Resources(),
            timeout_s=None,
            kill_signal="SIGTERM",
            kill_grace_s=5.0,
            log_limit_bytes=1 << 20,
        )
        directory = self.root / assignment.attempt_id
        directory.mkdir()
        return assignment, directory

    async def start(self, script: str) -> tuple[Assignment, Path]:
        """Start such work."""
        assignment, directory = self.assignment(script)
        await self.runtime.start(assignment, directory)
        return assignment, directory


@pytest.fixture(scope="session")
def engines() -> Iterator[Callable[[str], RealEngine]]:
    """Starts container engines when they are needed first."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda kind: stack.enter_context(real_engine(kind)))


_TOGETHER = pytest.mark.xdist_group("containers")


@pytest.fixture(
    params=[
        "command",
        "command without cgroups",
        pytest.param("podman", marks=[pytest.mark.podman, _TOGETHER]),
        pytest.param("docker", marks=[pytest.mark.docker, _TOGETHER]),
    ]
)
async def bench(
    request: pytest.FixtureRequest, tmp_path: Path, engines: Callable[[str], RealEngine]
) -> AsyncIterator[Bench]:
    """An open runtime."""
    kind = request.param
    engine = engines(kind) if kind in {"podman", "docker"} else None
    bench = Bench(tmp_path, kind, engine)
    await bench.runtime.open(bench.ear)
    try:
        yield bench
    finally:
        await bench.runtime.close()
        if engine is not None:
            engine.clear()


async def test_one_started_and_one_ended_with_the_lease(bench: Bench) -> None:
    """Each attempt is reported on twice, in order, under its lease; output is in its files."""
    assignment, directory = await bench.start("echo out; echo err >&2; exit 3")
    ended = await bench.ear.end(assignment.attempt_id)
    assert (ended.state, ended.exit_code) == (AttemptState.FAILED, 3)
    kinds = [type(event) for event in bench.ear.heard]
    assert kinds == [Started, Ended]
    assert {event.lease_token for event in bench.ear.heard} == {"lease"}
    assert (directory / "stdout").read_bytes() == b"out\n"
    assert (directory / "stderr").read_bytes() == b"err\n"


async def test_kill_is_proven(bench: Bench) -> None:
    """A kill ends the attempt as killed, with a report that lists no survivors."""
    assignment, _ = await bench.start("sleep 300 & sleep 300")
    await bench.ear.first(Started, assignment.attempt_id)
    order = KillOrder(assignment.attempt_id, assignment.lease_token, "SIGKILL", 0.0)
    await bench.runtime.kill(order)
    ended = await bench.ear.end(assignment.attempt_id)
    assert (ended.state, ended.reason) == (AttemptState.KILLED, Reason.KILLED)
    assert ended.kill_report is not None
    assert ended.kill_report.survivors == ()


async def test_kill_of_the_unknown_and_the_ended_is_ignored(bench: Bench) -> None:
    """Such an order changes nothing and raises nothing."""
    never, _ = bench.assignment("true")
    done, _ = await bench.start("true")
    await bench.ear.end(done.attempt_id)
    for one in (never, done):
        await bench.runtime.kill(KillOrder(one.attempt_id, one.lease_token, "SIGKILL", 0.0))
    after, _ = await bench.start("true")
    await bench.ear.end(after.attempt_id)
    assert len(bench.ear.heard) == 4


async def test_closing_ends_no_work_and_adopting_takes_it_over(bench: Bench) -> None:
    """Work goes on over a restart, and its true end is reported once."""
    assignment, directory = await bench.start(
        f"while [ ! -e {bench.root}/go ]; do sleep 0.02; done; exit 9"
    )
    started = await bench.ear.first(Started, assignment.attempt_id)
    assert isinstance(started, Started)
    await bench.restart()
    await bench.runtime.adopt(assignment, directory, started.handle)
    (bench.root / "go").touch()
    assert (await bench.ear.end(assignment.attempt_id)).exit_code == 9


async def test_adopting_what_is_over_reports_its_end(bench: Bench) -> None:
    """The end is not forgotten before it is released, whether or not the start was reported."""
    assignment, directory = await bench.start("exit 9")
    await bench.ear.end(assignment.attempt_id)
    await bench.restart()
    await bench.runtime.adopt(assignment, directory, {})
    assert (await bench.ear.end(assignment.attempt_id)).exit_code == 9


async def test_adopting_what_never_began_begins_it(bench: Bench) -> None:
    """No record of a start means it has to be started."""
    assignment, directory = bench.assignment("exit 9")
    await bench.runtime.adopt(assignment, directory, {})
    assert (await bench.ear.end(assignment.attempt_id)).exit_code == 9


async def test_what_cannot_start_ends_and_does_not_raise(bench: Bench) -> None:
    """Trouble with one attempt is that attempt's end."""
    assignment, directory = bench.assignment("true")
    directory.rmdir()
    await bench.runtime.start(assignment, directory)
    assert (await bench.ear.end(assignment.attempt_id)).state in ENDED_ATTEMPT


async def test_released_attempt_is_forgotten(bench: Bench) -> None:
    """Nothing more is heard of it."""
    assignment, _ = await bench.start("true")
    await bench.ear.end(assignment.attempt_id)
    await bench.runtime.release([assignment.attempt_id])
    await bench.runtime.release([assignment.attempt_id])
    other, _ = await bench.start("true")
    await bench.ear.end(other.attempt_id)
    assert len(bench.ear.heard) == 4


async def test_opening_and_closing_twice_is_fine(bench: Bench) -> None:
    """Both tolerate being called again."""
    await bench.runtime.open(bench.ear)
    await bench.runtime.close()
    await bench.runtime.close()
