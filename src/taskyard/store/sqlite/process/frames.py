"""What travels between the two processes: pickled messages, each behind its length.

Both ends are this program and nobody else has the socket, so that what is unpickled was pickled
here.
"""

import pickle
from typing import Any, Final

HEAD_BYTES: Final = 4
"""Length of the message behind it, most significant byte first."""

Call = tuple[int, str, str, tuple[Any, ...], dict[str, Any]]
"""Its number, the name of the part's class, the method, and what that is given."""
Answer = tuple[int, Any, BaseException | None]
"""The call's number, what the method answered, what it raised."""
Answers = tuple[list[Answer], int, float]
"""All of one commit, how many operations shared it, and the seconds it took."""


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
