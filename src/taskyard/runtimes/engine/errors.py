"""What can go wrong with an engine, named by condition."""

from taskyard.core.errors import TaskyardError
from taskyard.core.states import Reason


class ContainerError(TaskyardError):
    """Something about a container or its engine went wrong."""


class EngineUnreachable(ContainerError):
    """The engine does not answer, or went away in the middle of its answer.

    Nobody knows then whether it did what it was asked for.
    """


class EngineRefused(ContainerError):
    """The engine answered with an error.

    ``status`` is its HTTP status, the message what it said, ``cause`` Podman's name for the error.
    """

    def __init__(self, status: int, message: str, cause: str = "") -> None:
        self.status = status
        self.cause = cause
        super().__init__(message)


class CannotRun(ContainerError):
    """This attempt cannot run, for a reason that goes into its end."""

    def __init__(self, message: str, reason: Reason = Reason.START_FAILED) -> None:
        self.reason = reason
        super().__init__(message)
