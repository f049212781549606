"""The wire: bodies of requests and answers."""

from msgspec import Struct


class SubmittedTask(Struct):
    """The body of a create. What is missing or null is told by the checks, in their order."""

    name: str | None = None
    type: str | None = None
    command: list[str] | str | None = None
    image: str | None = None
    function: str | None = None
    env: dict[str, str] | None = None
    input: str | None = None


class TaskAnswer(Struct):
    """A task as every list shows it: exactly these four members."""

    id: int
    name: str
    type: str
    status: str


class CreatedAnswer(Struct):
    """What a create is answered with."""

    task: TaskAnswer


class TaskDetail(Struct):
    """One task with everything that is known of it; times are RFC 3339."""

    id: int
    name: str
    type: str
    status: str
    createdAt: str  # noqa: N815 - on the wire
    startedAt: str | None  # noqa: N815 - on the wire
    finishedAt: str | None  # noqa: N815 - on the wire
    exitCode: int | None  # noqa: N815 - on the wire
    error: str | None


class DetailAnswer(Struct):
    """The answer about one task."""

    task: TaskDetail


class StatsAnswer(Struct):
    """When the service began, and when it was asked."""

    startedAt: str  # noqa: N815 - on the wire
    requestedAt: str  # noqa: N815 - on the wire
