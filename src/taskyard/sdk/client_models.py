"""Models in another form than the server sends them."""

from datetime import datetime
from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Page(Struct, Generic[T], frozen=True):
    """One page of a listing."""

    items: tuple[T, ...]
    next_cursor: str | None = None
    """Give it as ``cursor`` to get the next page; None at the end."""


class Output(Struct, frozen=True):
    """A run of bytes of one output stream."""

    attempt: int
    stream: str
    """``stdout`` or ``stderr``."""
    offset: int
    data: bytes
    at: datetime | None = None
    """When it was written, if that was asked for and the server knows it."""

    @property
    def next_offset(self) -> int:
        """Offset of the byte after this run."""
        return self.offset + len(self.data)


class Gap(Struct, frozen=True):
    """Changes were missed here; look at the tasks again."""

    missed: int | None = None
    """How many; None when the connection was lost, so that nobody counted."""
