"""Errors on their way to an answer.

A dialect says what its answer is to each kind of error, once, in a table: :class:`ErrorTable`
refuses one that leaves any of the engine's eight kinds out, or those of the kit.
"""

import math
from collections.abc import Mapping
from typing import Final, Generic, TypeVar

from taskyard.core.errors import (
    Conflict,
    InvalidInput,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Overloaded,
    StorageFull,
    StoreDamaged,
    TaskyardError,
    Unavailable,
)
from taskyard.dialects.http.answers import Answer, Headers
from taskyard.dialects.http.bodies import BodyIncomplete, BodyTooLarge
from taskyard.dialects.http.requests import TooManyParameters

T = TypeVar("T")
UNAVAILABLE_S: Final = 2
"""When to try again what cannot be done now: another server, or the same one again, may."""
ENGINE_ERRORS: Final = (
    InvalidInput,
    NotFound,
    Conflict,
    NotAuthenticated,
    NotAllowed,
    Overloaded,
    Unavailable,
    StoreDamaged,
)
"""Every error that a service may raise is one of these eight kinds."""
REQUEST_ERRORS: Final = (BodyTooLarge, BodyIncomplete, TooManyParameters)
"""What is wrong with a request before any service is asked."""


class Refused(TaskyardError):
    """The request is answered with an error that the dialect itself decided on."""

    def __init__(self, answer: Answer, message: str = "") -> None:
        self.answer = answer
        super().__init__(message or f"answered with {answer.status}")


class ErrorTable(Generic[T]):
    """What a dialect answers with, by kind of error; the most special kind decides."""

    def __init__(self, entries: Mapping[type[Exception], T]) -> None:
        """Raises ``TypeError`` if a kind that every dialect meets is missing."""
        missing = [
            kind.__name__ for kind in (*ENGINE_ERRORS, *REQUEST_ERRORS) if kind not in entries
        ]
        if missing:
            raise TypeError(f"the table of errors lacks {', '.join(missing)}")
        self._entries = dict(entries)

    def find(self, error: Exception) -> T | None:
        """The entry for an error; None for a defect."""
        for kind in type(error).__mro__:
            if kind in self._entries:
                return self._entries[kind]
        return None


def retry_headers(error: Exception) -> Headers:
    """``Retry-After`` for what may work later: whole seconds, at least one.

    Nothing for a full disk, which somebody has to make room on.
    """
    if isinstance(error, Overloaded):
        return ((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))),)
    if isinstance(error, Unavailable) and not isinstance(error, StorageFull):
        return ((b"retry-after", b"%d" % UNAVAILABLE_S),)
    return ()
