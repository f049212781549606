"""Chance without a state: a number is drawn from what it is for, not from what was drawn before.

So the tenth task of a load takes as long in every variant of a scenario, in whatever order tasks
go: what differs between two results is what was changed, and not luck.
"""

import hashlib
from abc import ABC, abstractmethod
from math import exp, log
from statistics import NormalDist
from typing import Any, Final

from taskyard.simulation.quantities import Seconds, seconds

_MASK: Final = (1 << 64) - 1
_INVERSE: Final = NormalDist().inv_cdf
DURATION: Final = 1
FAILURE: Final = 2
BACKOFF: Final = 3
ARRIVAL: Final = 4
LIFETIME: Final = 5
TROUBLE: Final = 6
SIGMA_MOST: Final = 5.0
"""A log-normal distribution with a wider one has outliers of centuries."""


def key_of(seed: int, *names: str) -> int:
    """What all numbers for one load or one worker are drawn from."""
    text = "\0".join((str(seed), *names)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def uniform(key: int, index: int, number: int, purpose: int) -> float:
    """Evenly distributed between 0 and 1, both excluded: SplitMix64 of the counters."""
    z = (
        key
        + index * 0x9E3779B97F4A7C15
        + number * 0xD1B54A32D192ED03
        + purpose * 0x8CB92BA72F3D8DD7
    )
    z &= _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (((z ^ (z >> 31)) >> 11) + 0.5) * 2.0**-53


class Distribution(ABC):
    """How long something takes."""

    @abstractmethod
    def at(self, chance: float) -> float:
        """Seconds below which it stays with this probability, between 0 and 1."""


class Constant(Distribution):
    """Always the same."""

    def __init__(self, value: Seconds) -> None:
        self._value = float(value)

    def at(self, _chance: float) -> float:
        """See the base."""
        return self._value


class Exponential(Distribution):
    """Without memory, such as the time until the next failure."""

    def __init__(self, mean: Seconds) -> None:
        self._mean = float(mean)

    def at(self, chance: float) -> float:
        """See the base."""
        return -self._mean * log(1.0 - chance)


class LogNormal(Distribution):
    """Most are short, a few very long: what work looks like."""

    def __init__(self, median: Seconds, sigma: float) -> None:
        self._median = float(median)
        self._sigma = sigma

    def at(self, chance: float) -> float:
        """See the base."""
        return self._median * exp(self._sigma * _INVERSE(chance))


class Uniform(Distribution):
    """Anything between two durations."""

    def __init__(self, least: Seconds, most: Seconds) -> None:
        self._least = float(least)
        self._width = most - least

    def at(self, chance: float) -> float:
        """See the base."""
        return self._least + chance * self._width


def distribution(value: Any) -> Distribution:
    """Of a duration, or of a table that names a distribution. Raises ``ValueError``."""
    if not isinstance(value, dict):
        return Constant(seconds(value))
    members = dict(value)
    match sorted(members):
        case ["exponential"]:
            return Exponential(seconds(members["exponential"]))
        case ["lognormal"] | ["lognormal", "sigma"]:
            sigma = members.get("sigma", 1.0)
            if not isinstance(sigma, int | float) or not 0 <= sigma <= SIGMA_MOST:
                raise ValueError(f"sigma must be a number from 0 to {SIGMA_MOST:g}")
            return LogNormal(seconds(members["lognormal"]), float(sigma))
        case ["uniform"]:
            ends = members["uniform"]
            if not isinstance(ends, list) or len(ends) != 2:
                raise ValueError('uniform needs two durations, such as ["1s", "5s"]')
            least, most = map(seconds, ends)
            if least > most:
                raise ValueError("uniform needs the shorter duration first")
            return Uniform(least, most)
        case _:
            raise ValueError(
                "needs a duration, {exponential = MEAN}, {lognormal = MEDIAN, sigma = 1.0} or "
                "{uniform = [LEAST, MOST]}"
            )
