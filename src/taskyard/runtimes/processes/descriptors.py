"""How many descriptors this process may have open: more than the commands it starts.

Each command takes several here, and programs that use ``select`` cannot count on high numbers.
Standard library only.
"""

import contextlib
import resource
from collections.abc import Iterator

_usual: tuple[int, int] | None = None
"""The limits before they were raised; None while they are as they were."""


def raise_limit() -> None:
    """Allow this process as many as the system lets it have."""
    global _usual  # noqa: PLW0603 - a property of the process
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        _usual = (soft, hard)


def lower_limit() -> None:
    """Let the limit be what it was, for a process that is about to be another program."""
    if _usual is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, _usual)


@contextlib.contextmanager
def usual_limit() -> Iterator[None]:
    """Let it be what it was inside the block, where nothing may be opened here."""
    if _usual is None:
        yield
        return
    lower_limit()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_usual[1], _usual[1]))
