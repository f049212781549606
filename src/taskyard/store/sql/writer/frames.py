"""What travels between client and server: pickled messages, each after its length.

Both ends are this program and nobody else has the socket, so that what is unpickled was pickled
here. Records travel by the position of their members, so both ends have to run the same release: a
server whose program was replaced on disk while it runs must not start a store server of the new
one, which would misread its records and store them so. :func:`fingerprint` tells them apart.
"""

import hashlib
import pickle
from pathlib import Path
from typing import Any, Final

import taskyard

REFUSED: Final = 75
"""Exit status of a store server that runs another release than its caller."""
_SOURCES: Final = ("core", "ports", "store")
HEAD_BYTES: Final = 4
"""Length of the message behind it, most significant byte first."""

Call = tuple[int, str, str, tuple[Any, ...], dict[str, Any]]
"""Its number, the name of the repository's class, the method, and what that is given."""
Answer = tuple[int, Any, BaseException | None]
"""The call's number, what the method answered, what it raised."""
Answers = tuple[list[Answer], int, float, bool]
"""All of one commit, how many operations shared it, the seconds it took, and whether it wrote
changes for other control planes."""


def framed(message: object) -> bytes:
    """A message, ready to be sent. Raises whatever pickling it raises."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(HEAD_BYTES) + data


class Frames:
    """Puts messages together out of what has arrived of them."""

    def __init__(self) -> None:
        self._arrived = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The messages that are complete now, in order."""
        self._arrived += data
        messages = []
        start = 0
        while len(self._arrived) - start >= HEAD_BYTES:
            body = start + HEAD_BYTES
            end = body + int.from_bytes(self._arrived[start:body])
            if end > len(self._arrived):
                break
            messages.append(pickle.loads(self._arrived[body:end]))  # noqa: S301 - see above
            start = end
        del self._arrived[:start]
        return messages


def fingerprint() -> str:
    """Tells one program from another, by the sizes and times of its sources. Blocks."""
    root = Path(taskyard.__file__).parent
    digest = hashlib.blake2b(digest_size=16)
    for folder in _SOURCES:
        for path in sorted((root / folder).rglob("*.py")):
            status = path.stat()
            line = f"{path.relative_to(root)} {status.st_size} {status.st_mtime_ns}\n"
            digest.update(line.encode())
    return digest.hexdigest()
