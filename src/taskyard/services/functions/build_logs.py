"""The log of a build while it grows."""

from typing import Final

import anyio

from taskyard.core.access.redaction import redact_text

LOG_BYTES: Final = 1 << 20
"""Kept of a build's log; what is beyond is left out."""
_CUT: Final = "… the rest of the log is left out\n"


class BuildLog:
    """Lines of text that followers can wait for. Belongs to one event loop."""

    def __init__(self) -> None:
        self.text = ""
        self.finished = anyio.Event()
        self._is_cut = False
        self._grown = anyio.Event()

    @classmethod
    def ended(cls, text: str) -> "BuildLog":
        """A log that does not grow any more."""
        log = cls()
        log.text = text
        log.finish()
        return log

    def say(self, line: str) -> None:
        """One more line; what looks secret in it is hidden."""
        if self._is_cut:
            return
        # A build reaches package indexes with the operator's credentials.
        line = redact_text(line)
        if len(self.text) + len(line) >= LOG_BYTES:
            self._is_cut, line = True, _CUT.rstrip("\n")
        self.text += line + "\n"
        self._wake()

    def finish(self) -> None:
        """There is nothing more to come."""
        self.finished.set()
        self._wake()

    async def beyond(self, offset: int) -> str:
        """Text from a character on, once there is any; empty when the build has ended."""
        while len(self.text) <= offset and not self.finished.is_set():
            await self._grown.wait()
        return self.text[offset:]

    def _wake(self) -> None:
        self._grown.set()
        self._grown = anyio.Event()
