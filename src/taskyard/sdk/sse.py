"""Server-sent events, decoded from bytes as they arrive. No I/O.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from msgspec import Struct

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""An event longer than this is taken for an attack or a defect."""


class ServerSentEvent(Struct, frozen=True):
    """One message; a mere comment (a ping) comes as one without data."""

    event: str = "message"
    data: str = ""
    id: str | None = None


class EventParser:
    """Turns bytes into messages; keeps what is not complete yet."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._event = ""
        self._data: list[str] = []
        self._size_bytes = 0
        self._id: str | None = None
        self._commented = False

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The messages that ``data`` completes. Raises ``ValueError`` for one beyond all limits."""
        self._pending += data
        ready: list[ServerSentEvent] = []
        start = 0
        while (end := self._pending.find(b"\n", start)) >= 0:
            line = bytes(self._pending[start:end])
            start = end + 1
            message = self._line(line.removesuffix(b"\r").decode("utf-8", "replace"))
            if message is not None:
                ready.append(message)
        del self._pending[:start]
        if len(self._pending) + self._size_bytes > MAX_EVENT_BYTES:
            raise ValueError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        return ready

    def _line(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            self._commented = True
            return None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
            self._size_bytes += len(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        event, data, commented = self._event, self._data, self._commented
        self._event, self._data, self._commented, self._size_bytes = "", [], False, 0
        if not data:
            return ServerSentEvent(event="ping") if commented or event else None
        return ServerSentEvent(event or "message", "\n".join(data), self._id)
