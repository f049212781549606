"""What was built for one version, as the runtime finds it on disk."""

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from taskyard.core.functions.functions import Language

MANIFEST: Final = "manifest.json"


class Manifest(Struct, frozen=True):
    """Beside the directory ``code``, in the directory of a version."""

    language: Language
    handler: str
    """Path of the file with the handler, relative to the code."""
    entry: str
    packages: tuple[str, ...] = ()
    """Directories with installed dependencies, relative to the version's directory."""
    program: tuple[str, ...] = ()
    """Program and arguments that speak the protocol; empty for what the fork server forks. Those
    that begin with ``./`` are in the version's directory."""

    files: dict[str, int] = {}
    """Sizes of all files, by their paths below the version's directory; see :mod:`.integrity`."""

    def command(self, place: Path) -> list[str]:
        """Program and arguments, for a version whose directory is ``place``."""
        return [str(place / one) if one.startswith("./") else one for one in self.program]


def version_directory(root: Path, function_id: str, number: int) -> Path:
    """Where the build of a version is."""
    return root / "builds" / function_id / str(number)


def read_manifest(directory: Path) -> Manifest:
    """Raises ``OSError`` if there is no build, ``msgspec.DecodeError`` if it is damaged."""
    return msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
