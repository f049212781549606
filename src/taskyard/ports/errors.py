"""What the outside can do to us, named by condition."""

from taskyard.core.errors import TaskyardError, Unavailable


class PortError(TaskyardError):
    """Something outside the engine failed."""


class RuntimeUnavailable(PortError):
    """Attempts of this kind cannot be run on this machine."""


class WorkerUnreachable(PortError):
    """The worker is not connected now."""


class TransportClosed(PortError):
    """The connection between engine and workers was closed on our side."""


class Unreachable(PortError, Unavailable):
    """The control plane cannot be reached now."""


class TimedOut(PortError, Unavailable):
    """No answer came in time; whether the request was heard is not known."""


class PayloadTooLarge(PortError):
    """The message is larger than messages may be."""
