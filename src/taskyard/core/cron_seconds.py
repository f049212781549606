"""Cron expressions of jobs: five fields, or six of which the last one is seconds; always UTC."""

from typing import Final

from cronsim import CronSim, CronSimError

from taskyard.core.cron import LONGEST
from taskyard.core.errors import InvalidInput
from taskyard.core.instants import Instant, from_datetime, to_datetime

_PROBE: Final = Instant(1_704_067_200_000_000)
"""Any instant: whether an expression ever fires does not depend on it."""


def check_seconds_cron(expression: str, field: str = "cron") -> None:
    """Raise ``InvalidInput`` naming ``field`` unless the expression can be read and fires."""
    if len(expression) > LONGEST:
        raise InvalidInput(field, f"is longer than {LONGEST} characters")
    if len(expression.split()) not in {5, 6}:
        raise InvalidInput(
            field, "needs five fields (minute hour day month weekday), or seconds as a sixth"
        )
    try:
        fires = next_start(expression, _PROBE)
    except (CronSimError, ValueError) as error:
        raise InvalidInput(field, f"cannot be read: {error}") from error
    if fires is None:
        raise InvalidInput(field, "never fires")


def next_start(expression: str, after: Instant) -> Instant | None:
    """The first firing strictly after an instant; None if there is none in the next 50 years."""
    fields = expression.split()
    if len(fields) == 6:
        # cronsim has seconds first.
        fields = [fields[-1], *fields[:-1]]
    try:
        return from_datetime(next(CronSim(" ".join(fields), to_datetime(after))))
    except StopIteration:
        return None
