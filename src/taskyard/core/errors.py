"""What can go wrong, named by condition. Every error a caller may meet derives from these.

The docstring of a class is its default message; data is kept in attributes. A dialect maps these
to its own wire errors in its ``errors.py``.
"""

from typing import Any, Self


class TaskyardError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what it says and holds: not every class is made from its message alone."""
        return type(self)._again, (self.args, self.__dict__)  # noqa: SLF001 - its own class

    @classmethod
    def _again(cls, args: tuple[Any, ...], members: dict[str, Any]) -> Self:
        error = cls.__new__(cls, *args)
        error.args = args
        error.__dict__.update(members)
        return error


class InvalidInput(TaskyardError):
    """The request breaks a rule; the caller's fault."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        """Dotted path of the offending member, such as ``retry.max_attempts``; may be empty."""
        self.problem = problem
        super().__init__(f"{field}: {problem}" if field else problem)


class NotFound(TaskyardError):
    """The object does not exist in this workspace."""

    def __init__(self, kind: str, key: str) -> None:
        self.kind = kind
        self.key = key
        super().__init__(f"no {kind} {key!r} in this workspace")


class Conflict(TaskyardError):
    """The request conflicts with the current state; the caller can read it and decide again."""


class IllegalTransition(Conflict):
    """A state does not allow an event."""

    def __init__(self, kind: str, state: str, event: str) -> None:
        self.kind = kind
        self.state = state
        self.event = event
        super().__init__(f"a {kind} that is {state} cannot {event}")


class StaleLease(Conflict):
    """The report's lease is no longer valid; the attempt it reports on must be killed."""


class NotAuthenticated(TaskyardError):
    """No valid credential was presented."""


class NotAllowed(TaskyardError):
    """The credential is valid but does not cover this action."""

    is_recorded = False
    """Whether the audit trail tells of it already."""


class Overloaded(TaskyardError):
    """More arrived than can be taken in now; try again later."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Busy(Overloaded):
    """The server is out of capacity for all callers; try again later."""


class Unavailable(TaskyardError):
    """The service cannot do this now through no fault of the caller: stopping, or store closed."""


class NotLeading(Unavailable):
    """Another control plane leads by now; nothing was changed."""


class StorageFull(Unavailable):
    """The disk is full; nothing was stored."""


class StoreInUse(TaskyardError):
    """Another process has this data directory open."""

    def __init__(self, path: str, owner: dict[str, Any] | None = None) -> None:
        self.path = path
        self.owner = owner
        by = f" by process {owner['pid']}" if owner and "pid" in owner else ""
        super().__init__(
            f"data directory {path} is in use{by}; stop that process or choose another --data"
        )


class StoreDamaged(TaskyardError):
    """The store cannot be read: damaged, or written by a newer version."""
