"""What an image's name stood for when its version was built."""

import os
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from taskyard.runtimes.function.integrity import sync

PIN: Final = "image.json"


class Pin(Struct, frozen=True):
    """One image, whatever its name stands for by now; a file in the directory of a version."""

    image: str
    """The name, as it was deployed."""
    id: str
    """The engine's own id of the image: ``sha256:`` and 64 hex digits."""
    source: str | None = None
    """``REPOSITORY@DIGEST``, for pulling the same image again; None if no registry had it."""

    @property
    def digest(self) -> str:
        """What identifies it for people: the registry's digest, or else the engine's id."""
        return self.id if self.source is None else self.source.partition("@")[2]


def read_pin(place: Path) -> Pin:
    """Raises ``OSError`` if there is none in this directory, ``msgspec.DecodeError``."""
    return msgspec.json.decode((place / PIN).read_bytes(), type=Pin)


def write_pin(place: Path, pin: Pin) -> None:
    """Put it on disk; waits for it. Raises ``OSError``."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = place / f".{PIN}.new"
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(pin))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(place / PIN)
    for directory in (place, place.parent):
        sync(directory)
