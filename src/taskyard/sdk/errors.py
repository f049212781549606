"""What can go wrong when talking to a server, named by condition.

:class:`Unreachable` and :class:`Unreadable` say that no usable answer came; everything below
:class:`Refused` is the server's own answer, taken from its problem document (RFC 9457).
"""

from msgspec import Struct


class TaskyardError(Exception):
    """A request to a Taskyard server did not succeed."""


class Unreachable(TaskyardError):
    """No answer came: nothing listens there, the connection broke, or time ran out."""

    def __init__(self, url: str, cause: str) -> None:
        self.url = url
        """Where the server was expected."""
        self.cause = cause
        """What the network said."""
        super().__init__(f"no answer from {url}: {cause}")


class Unreadable(TaskyardError):
    """The answer does not follow the contract; whoever answered may not be a Taskyard server."""


class FieldProblem(Struct, frozen=True):
    """One rule that a request broke."""

    field: str = ""
    """Dotted path of the offending member, such as ``retry.max_attempts``; may be empty."""
    problem: str = ""


class Problem(Struct, frozen=True):
    """A problem document as a server answers it (RFC 9457)."""

    type: str = "about:blank"
    title: str = ""
    status: int = 0
    detail: str = ""
    errors: tuple[FieldProblem, ...] = ()
    request_id: str | None = None
    task_id: str | None = None
    """The task of a call that failed, if the server says so."""


class Refused(TaskyardError):
    """The server answered with an error."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail or problem.title or f"status {problem.status}")

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return self.problem.status

    @property
    def condition(self) -> str:
        """The last part of the problem's type, such as ``invalid-input``; may be empty."""
        return self.problem.type.rpartition("#")[2] if "#" in self.problem.type else ""

    @property
    def request_id(self) -> str | None:
        """Finds the request in the server's log."""
        return self.problem.request_id


class NotAuthenticated(Refused):
    """No credential was sent, or it is not valid (401)."""


class NotAllowed(Refused):
    """The credential's role does not cover this (403)."""


class NotFound(Refused):
    """There is no such object in the credential's workspace (404)."""


class Conflict(Refused):
    """The present state does not allow it (409)."""


class InvalidRequest(Refused):
    """The request breaks a rule (400, 405, 413, 416, 422, 431)."""

    @property
    def errors(self) -> tuple[FieldProblem, ...]:
        """Every broken rule, as far as the server tells them apart."""
        return self.problem.errors


class Overloaded(Refused):
    """Too much is queued (429)."""

    def __init__(self, problem: Problem, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        """Seconds after which to try again, as the server computed them."""
        super().__init__(problem)


class Unavailable(Refused):
    """The server is stopping, or its store is closed; try again later (503)."""


class StorageFull(Refused):
    """The server's disk is full; nothing was stored (507)."""


class FunctionFailed(Refused):
    """The call ended without an answer of the function: it failed, or took too long (500, 504)."""

    @property
    def task_id(self) -> str | None:
        """The call's task, whose logs tell more."""
        return self.problem.task_id


class ServerFault(Refused):
    """A defect of the server, or of what it has stored; its log knows more (500 and the like)."""


class DataDamaged(ServerFault):
    """What the server has stored of this is damaged or gone; the rest of it can be used."""


_BY_STATUS: dict[int, type[Refused]] = {
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    503: Unavailable,
    507: StorageFull,
}
_FUNCTION_FAILED = {"function-failed", "function-timeout"}


def refusal(problem: Problem, retry_after: str | None) -> Refused:
    """The error for a problem document; ``retry_after`` is the header of that name."""
    if problem.status == 429:
        return Overloaded(problem, _seconds(retry_after))
    kind = _BY_STATUS.get(problem.status)
    if kind is None:
        kind = InvalidRequest if 400 <= problem.status < 500 else ServerFault
    refused = kind(problem)
    if refused.condition in _FUNCTION_FAILED:
        return FunctionFailed(problem)
    if refused.condition == "damaged":
        return DataDamaged(problem)
    return refused


def _seconds(retry_after: str | None) -> float:
    """Seconds of a ``Retry-After`` header; 1 when it is missing or is a date."""
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:
        return 1.0
