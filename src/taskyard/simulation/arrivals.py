"""When the tasks of a load come, as instants in order."""

from collections.abc import Iterator
from datetime import datetime
from math import log

from taskyard.core.cron import next_firing
from taskyard.core.instants import SECOND, Instant, from_datetime
from taskyard.simulation.draws import ARRIVAL, uniform
from taskyard.simulation.quantities import Seconds
from taskyard.simulation.scenario import Arrivals, Load


def arrivals(load: Load, key: int, start: datetime, duration: Seconds) -> Iterator[Instant]:
    """Each task's instant, first to last, up to the load's end and its count.

    Args:
        load: what comes.
        key: what chance is drawn from.
        start: when the simulation begins.
        duration: when loads end that have no end of their own.
    """
    origin = from_datetime(start)
    begin = Instant(origin + load.begin.micros)
    end = origin + (duration if load.end is None else load.end).micros
    left = -1 if load.count is None else load.count
    for at in _bursts(load.arrivals, key, begin):
        if at >= end:
            return
        burst, over = load.arrivals.burst, load.arrivals.over.micros
        for number in range(burst):
            if left == 0:
                return
            left -= 1
            yield Instant(at + over * number // burst)


def _bursts(spec: Arrivals, key: int, begin: Instant) -> Iterator[Instant]:
    """Instants at which tasks come, without an end."""
    if spec.cron is not None:
        at: Instant | None = Instant(begin - 1)
        while at is not None and (at := next_firing(spec.cron, spec.timezone, at)) is not None:
            yield at
    elif spec.rate is not None:
        passed, number, mean_us = 0.0, 0, SECOND / spec.rate
        while True:
            passed -= mean_us * log(uniform(key, number, 0, ARRIVAL))
            number += 1
            yield Instant(begin + int(passed))
    elif spec.every is not None:
        step, number = spec.every, 0
        while True:
            # Counted from the beginning, so that parts of a microsecond do not add up.
            yield Instant(begin + int(number * step * SECOND))
            number += 1
