"""What stands at both ends of a worker's connection, and what they say to each other."""

from taskyard.core.attempts import Attempt, Ended, Report
from taskyard.core.errors import Unavailable
from taskyard.core.ids import (
    AttemptId,
    IncarnationId,
    LeaseToken,
    TaskId,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity, Resources
from taskyard.core.states import AttemptState
from taskyard.core.tasks import Command
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.ports.transport import Heartbeat, Hello

W1, W2 = WorkerId("w1"), WorkerId("w2")
I1, I2 = IncarnationId("i1"), IncarnationId("i2")
HELLO = Hello(W1, I1, "host", "0", Capacity(1, 1000, 1000), ("command",))
ORDER = KillOrder(AttemptId("a"), LeaseToken("l"), "SIGKILL", 0.0)
SOON_S = 20.0


class Engine:
    """Notes what it is told, and does as it is told."""

    def __init__(self) -> None:
        self.hellos: list[Hello] = []
        self.beats: list[Heartbeat] = []
        self.reports: list[Report] = []
        self.attempts: list[Attempt] = []
        self.holds = True
        self.fail_reports = 0

    async def joined(self, hello: Hello) -> list[Attempt]:
        """What it has for it."""
        self.hellos.append(hello)
        return self.attempts

    async def beat(self, heartbeat: Heartbeat) -> bool:
        """As set."""
        self.beats.append(heartbeat)
        return self.holds

    async def report(self, reports: list[Report]) -> list[LeaseToken]:
        """Fail as often as set, then take them in."""
        if self.fail_reports:
            self.fail_reports -= 1
            raise Unavailable("the store is away")
        self.reports += reports
        return []

    async def resolve(self, attempt: Attempt) -> Assignment | None:
        """An assignment with this id."""
        return assignment_of(attempt.id)


class Hand:
    """A worker that notes what it is told."""

    def __init__(self) -> None:
        self.assigned: list[Assignment] = []
        self.killed: list[KillOrder] = []
        self.orders = 0

    async def assign(self, assignments: list[Assignment]) -> None:
        """Take them on."""
        self.orders += 1
        self.assigned += assignments

    async def kill(self, kills: list[KillOrder]) -> None:
        """Obey."""
        self.killed += kills


def assignment_of(name: str, size: int = 1) -> Assignment:
    """One with so many bytes in its command."""
    return Assignment(
        attempt_id=AttemptId(name),
        task_id=TaskId("task"),
        workspace=WorkspaceName("default"),
        group="group",
        number=1,
        lease_token=LeaseToken(f"lease-{name}"),
        assigned_at=Instant(0),
        work=Command(argv=("true",), env={"BIG": "x" * size}),
        resources=Resources(),
        timeout_s=None,
        kill_signal="SIGTERM",
        kill_grace_s=5.0,
        log_limit_bytes=1000,
    )


def attempt_of(name: str, message: str = "") -> Attempt:
    """One that the worker holds."""
    return Attempt(
        id=AttemptId(name),
        task_id=TaskId("task"),
        workspace=WorkspaceName("default"),
        number=1,
        worker_id=W1,
        incarnation=I1,
        lease_token=LeaseToken(f"lease-{name}"),
        lease_expires_at=Instant(0),
        resources=Resources(),
        state=AttemptState.RUNNING,
        assigned_at=Instant(0),
        message=message,
    )


def ended_of(name: str, size: int = 1) -> Ended:
    """A report with so many bytes of output."""
    output = {"stdout": b"x" * size}
    return Ended(
        AttemptId(name),
        LeaseToken(f"lease-{name}"),
        Instant(2),
        AttemptState.SUCCEEDED,
        inline_output=output,
    )


def beat_of(incarnation: IncarnationId = I1) -> Heartbeat:
    """A sign of life."""
    return Heartbeat(W1, incarnation, Instant(1), {})
