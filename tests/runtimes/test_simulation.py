"""The simulation runtime: what every runtime promises, as far as a timer can, and its own end."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from fakes.listener import RecordingListener
from taskyard.core.attempts import Ended, Started
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkspaceName
from taskyard.core.instants import Instant, after
from taskyard.core.resources import Resources
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import Command, Simulation, Work
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.runtimes.simulation.runtime import METHOD, SimulationRuntime
from taskyard.server.clock import SystemClock

pytestmark = pytest.mark.anyio

NOWHERE = Path("/nothing/here")


class Clock(SystemClock):
    """The real one, turned forward."""

    passed_s = 0.0

    def now(self) -> Instant:
        """See the port."""
        return after(super().now(), self.passed_s)


class Bench:
    """A runtime to be tried; a new one takes its place with :meth:`restart`."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ear = RecordingListener()
        self.runtime = SimulationRuntime(self.clock)
        self._count = 0

    async def restart(self) -> None:
        """Close the runtime and open another one."""
        await self.runtime.close()
        self.ear = RecordingListener()
        self.runtime = SimulationRuntime(self.clock)
        await self.runtime.open(self.ear)

    def assignment(
        self,
        duration_s: float,
        timeout_s: float | None = None,
        assigned_at: Instant | None = None,
        work: Work | None = None,
    ) -> Assignment:
        """A simulation."""
        self._count += 1
        return Assignment(
            attempt_id=AttemptId(f"attempt-{self._count}"),
            task_id=TaskId("task"),
            workspace=WorkspaceName("default"),
            group="group",
            number=1,
            lease_token=LeaseToken(f"lease-{self._count}"),
            assigned_at=self.clock.now() if assigned_at is None else assigned_at,
            work=work or Simulation(duration_s),
            resources=Resources(slots=0),
            timeout_s=timeout_s,
            kill_signal="SIGTERM",
            kill_grace_s=5.0,
            log_limit_bytes=0,
        )

    async def start(self, duration_s: float, **more: Any) -> Assignment:
        """Start one."""
        made = self.assignment(duration_s, **more)
        await self.runtime.start(made, NOWHERE)
        return made

    async def end(self, one: Assignment) -> Ended:
        """Wait for its end."""
        await self.ear.until(lambda: one.attempt_id in self.ear.ends)
        (ended,) = self.ear.ends[one.attempt_id]
        return ended

    def starts(self, one: Assignment) -> list[Started]:
        """What was said of its start."""
        return self.ear.starts.get(one.attempt_id, [])

    async def kill(self, one: Assignment) -> None:
        """Order its end."""
        await self.runtime.kill(KillOrder(one.attempt_id, one.lease_token, "SIGTERM", 60.0))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """An open runtime."""
    bench = Bench()
    await bench.runtime.open(bench.ear)
    yield bench
    await bench.runtime.close()


async def test_one_started_and_one_ended_with_the_lease(bench: Bench) -> None:
    """It ends well, exactly its time after it was placed."""
    one = await bench.start(0.05)
    ended = await bench.end(one)
    (started,) = bench.starts(one)
    assert (started.lease_token, started.at) == (one.lease_token, one.assigned_at)
    assert started.handle
    assert (ended.state, ended.exit_code, ended.reason) == (AttemptState.SUCCEEDED, 0, None)
    assert (ended.lease_token, ended.started_at) == (one.lease_token, one.assigned_at)
    assert ended.at == after(one.assigned_at, 0.05)
    assert (ended.stdout.stored_bytes, ended.stderr.stored_bytes) == (0, 0)


async def test_time_limit_before_the_end_is_a_failure(bench: Bench) -> None:
    """A limit that is just as long is kept."""
    late = await bench.start(300, timeout_s=0.03)
    fits = await bench.start(0.03, timeout_s=0.03)
    ended = await bench.end(late)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.TIMEOUT)
    assert ended.at == after(late.assigned_at, 0.03)
    assert (await bench.end(fits)).state is AttemptState.SUCCEEDED


async def test_kill_is_proven_and_at_once(bench: Bench) -> None:
    """Whatever the grace; there is nothing that could survive."""
    one = await bench.start(300)
    await bench.kill(one)
    ended = await bench.end(one)
    assert (ended.state, ended.reason) == (AttemptState.KILLED, Reason.KILLED)
    assert ended.kill_report is not None
    assert ended.kill_report.survivors == ()
    assert (ended.kill_report.method, ended.kill_report.signal) == (METHOD, "SIGTERM")
    await bench.kill(one)
    assert len(bench.ear.ends[one.attempt_id]) == 1


async def test_kill_of_the_unknown_and_the_ended_is_ignored(bench: Bench) -> None:
    """Such an order changes nothing and raises nothing."""
    done = await bench.start(0.01)
    await bench.end(done)
    for one in (done, bench.assignment(1)):
        await bench.kill(one)
    assert list(bench.ear.ends) == [done.attempt_id]
    assert len(bench.ear.ends[done.attempt_id]) == 1


async def test_restart_does_not_move_the_end(bench: Bench) -> None:
    """Closing reports nothing; who adopts it ends it when it was to end, and starts it once."""
    one = await bench.start(300)
    (started,) = bench.starts(one)
    ear = bench.ear
    await bench.restart()
    bench.clock.passed_s = 299.9
    await bench.runtime.adopt(one, NOWHERE, started.handle)
    ended = await bench.end(one)
    assert bench.starts(one) == []
    assert ended.at == after(one.assigned_at, 300)
    assert ear.ends == {}


async def test_adopting_what_is_over_reports_its_end(bench: Bench) -> None:
    """At once, at the time that has passed, whether or not the start was reported."""
    placed = after(bench.clock.now(), -1000)
    for handle, starts in (({}, 1), ({"simulation": True}, 0)):
        one = bench.assignment(300, assigned_at=placed)
        await bench.runtime.adopt(one, NOWHERE, handle)
        ended = await bench.end(one)
        assert (ended.state, ended.at) == (AttemptState.SUCCEEDED, after(placed, 300))
        assert len(bench.starts(one)) == starts


async def test_adopting_what_it_holds_ends_it_once(bench: Bench) -> None:
    """A worker that joins again in the same life changes nothing."""
    one = await bench.start(0.1)
    (started,) = bench.starts(one)
    await bench.runtime.adopt(one, NOWHERE, started.handle)
    await bench.runtime.adopt(one, NOWHERE, started.handle)
    await bench.end(one)
    last = await bench.start(0.15)
    await bench.end(last)
    assert len(bench.ear.ends[one.attempt_id]) == 1


async def test_released_attempt_is_forgotten(bench: Bench) -> None:
    """Nothing more is heard of it, also when it is released twice."""
    one = await bench.start(0.01)
    await bench.end(one)
    await bench.runtime.release([one.attempt_id])
    await bench.runtime.release([one.attempt_id])
    await bench.kill(one)
    await bench.end(await bench.start(0.02))
    assert len(bench.ear.ends[one.attempt_id]) == 1


async def test_opening_and_closing_twice_is_fine(bench: Bench) -> None:
    """What was under way when it was closed is silent."""
    await bench.runtime.open(bench.ear)
    one = await bench.start(0.02)
    await bench.runtime.close()
    await bench.runtime.close()
    await bench.restart()
    await bench.end(await bench.start(0.03))
    assert one.attempt_id not in bench.ear.ends


async def test_thousands_cost_a_timer_each(bench: Bench) -> None:
    """All of them end, each once."""
    many = [await bench.start(0.05) for _ in range(5000)]
    with anyio.fail_after(20):
        await bench.ear.until(lambda: len(bench.ear.ends) == 5000)
    assert all(len(bench.ear.ends[one.attempt_id]) == 1 for one in many)


async def test_what_is_no_simulation_is_a_defect(bench: Bench) -> None:
    """Nobody may give it real work, or use it before it is open."""
    with pytest.raises(TypeError, match="Command"):
        await bench.runtime.start(bench.assignment(1, work=Command(argv=("true",))), NOWHERE)
    with pytest.raises(RuntimeUnavailable):
        await SimulationRuntime(bench.clock).start(bench.assignment(1), NOWHERE)
