"""Answers requests with the handlers that were registered."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import structlog

from taskyard.core.errors import Overloaded, TaskyardError, Unavailable
from taskyard.ports.errors import PayloadTooLarge, Unreachable
from taskyard.ports.messages import MOST_BYTES, Handler, MessageListener
from taskyard.transport.envelopes import Answer, failure_of

AT_ONCE: Final = 512
"""Requests for one thing that a process handles at once; more are refused, and their senders try
again. Each has a number of its own, so that those that wait by design keep nobody else waiting."""
RETRY_AFTER_S: Final = 0.1

log = structlog.get_logger(__name__)


class Handlers:
    """The handlers and listeners of one process, whatever carries the messages."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._handlers: dict[str, Handler] = {}
        self._listeners: dict[str, list[MessageListener]] = {}
        self._under_way: Counter[str] = Counter()

    def serve(self, what: str, handler: Handler) -> None:
        """Answer requests for ``what`` with this handler, instead of an earlier one."""
        self._handlers[what] = handler

    def listen(self, what: str, listener: MessageListener) -> None:
        """Hand what is published as ``what`` to this listener too."""
        self._listeners.setdefault(what, []).append(listener)

    def publish(self, what: str, payload: bytes) -> None:
        """Hand this to whoever listens."""
        for listener in self._listeners.get(what, ()):
            try:
                listener(payload)
            except Exception:
                # One listener's defect must not keep messages from the others.
                log.exception("message_listener_failed", what=what)

    async def answer(self, what: str, payload: bytes, timeout_s: float) -> Answer | None:
        """What to answer; None when nobody waits for an answer any more."""
        return await answer_of(what, lambda: self._handle(what, payload), timeout_s)

    async def _handle(self, what: str, payload: bytes) -> bytes:
        handler = self._handlers.get(what)
        if handler is None:
            raise Unreachable(f"{what!r} is not served there; is it an older version?")
        if self._under_way[what] >= self._at_once:
            raise Overloaded(f"too many requests for {what!r} are handled already", RETRY_AFTER_S)
        self._under_way[what] += 1
        try:
            answer = await handler(payload)
        finally:
            self._under_way[what] -= 1
        check_size(answer, MOST_BYTES)
        return answer


async def answer_of(
    what: str, handle: Callable[[], Awaitable[bytes]], timeout_s: float
) -> Answer | None:
    """What to answer to a request for this; None when nobody waits for an answer any more."""
    try:
        with anyio.move_on_after(timeout_s):
            return Answer(await handle())
    except TaskyardError as error:
        return Answer(None, failure_of(error))
    except Exception:
        log.exception("message_handler_failed", what=what)
        text = f"the other side failed at {what!r}; its log tells why"
        return Answer(None, failure_of(Unavailable(text)))
    return None


def check_size(payload: bytes, most: int) -> None:
    """Raise ``PayloadTooLarge`` for more than ``most`` bytes."""
    if len(payload) > most:
        raise PayloadTooLarge(f"a message of {len(payload)} bytes is larger than {most}")
