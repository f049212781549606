"""What can go wrong while a store is moved. Each says what to do next."""

from taskyard.core.errors import StoreDamaged, TaskyardError, Unavailable


class WrongAddress(TaskyardError):
    """An address names no store."""


class NotAStore(TaskyardError):
    """There is something else than a store."""


class NotEmpty(TaskyardError):
    """The target holds something already."""


class SchemaMismatch(TaskyardError):
    """The schema of a store is older or newer than this version's."""


class NotAllowedThere(TaskyardError):
    """The database does not let us in, or not do this."""


class Lost(Unavailable):
    """The database cannot be reached, or went away."""


class NotVerified(StoreDamaged):
    """What was written is not what was read."""
