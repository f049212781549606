"""Calls under ids of their own, with what they were issued by and how far they are."""

from typing import Final

from msgspec import Struct

from taskyard.core.errors import Overloaded
from taskyard.core.functions.functions import FunctionId, Limits
from taskyard.core.ids import TaskId, WorkerId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.states import TERMINAL, Reason, TaskState

MOST_LINKS: Final = 10
"""Calls that may follow one another by triggers."""


class CallOrigin(Struct, frozen=True):
    """What issued a call: an endpoint, a trigger or a schedule; none if it was direct."""

    endpoint_id: str | None = None
    trigger_id: str | None = None
    schedule_id: str | None = None
    links: int = 0
    """How many calls led to this one by triggers."""


class Invocation(Struct, frozen=True):
    """What is noted down along with the task of a call."""

    id: str
    workspace: WorkspaceName
    function_id: FunctionId
    issued_at: Instant
    origin: CallOrigin
    limits: Limits
    """As they were when it was issued."""


class InvocationView(Struct, frozen=True):
    """A call, and how far it is."""

    call: Invocation
    seq: int
    task_id: TaskId
    state: TaskState
    reason: Reason | None
    message: str | None
    finished_at: Instant | None
    assigned_at: Instant | None
    """When it was first given to a worker."""
    worker_id: WorkerId | None
    """The last one that got it."""
    started: bool
    """Whether the function was ever seen running."""
    fraction: float
    """How far the function says it is, 0 to 1."""
    status: int | None
    """Of the function's answer, if there is one."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in TERMINAL


class CallCounts(Struct, frozen=True):
    """How many calls there are."""

    today: int
    """Issued since midnight, UTC."""
    week: int
    """Issued in the last seven days."""
    open: int
    """Not ended."""
    total: int
    """All there ever were, those that retention took away included."""


class Allowance(Struct, frozen=True):
    """So many calls in a period; counted even without a limit."""

    key: str
    period: str
    """Such as a day or a month; another one begins at nothing."""
    limit: int | None = None


class AllowanceSpent(Overloaded):
    """No more calls in this period."""

    def __init__(self, allowance: Allowance) -> None:
        self.allowance = allowance
        super().__init__(f"{allowance.limit} calls were issued in {allowance.period}", 60.0)


class CallHeaders(Struct, frozen=True):
    """Names of the headers that carry a call's details to a function; none when empty."""

    task: str = ""
    function: str = ""
    trigger: str = ""
    schedule: str = ""
    blob: str = ""
