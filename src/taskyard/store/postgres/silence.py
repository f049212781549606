"""Notices a database that hangs: it takes connections and statements, and answers none of them.

A server that is gone ends its connections. One that is stopped, or whose disk does not answer, has
everybody wait, for as long as it lasts. Whoever asks it all the time (the reader of the change log)
notices first. Then all who wait are told, and nobody else begins to wait, until it answers again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, TypeVar

from taskyard.core.errors import Unavailable
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.readers import Readers
from taskyard.store.sql.writer.client import WriterClient

T = TypeVar("T")

SILENT_S: Final = 5.0
"""A database that has not answered a small question for so long hangs."""
_TEXT: Final = "PostgreSQL does not answer"


class Silence:
    """Whether the database hangs, and who waits for it. Belongs to one event loop."""

    def __init__(self, silent_s: float = SILENT_S) -> None:
        self._silent_s = silent_s
        self._waiting: set[asyncio.Timeout] = set()
        self.is_silent = False
        """From when a question was not answered in time until one is."""
        self.on_silent: list[Callable[[], None]] = []
        """Called when the database is found to hang, for those who wait by other means."""

    async def asked(self, question: Future[T]) -> T:
        """Wait for what is answered in no time, to learn whether the database answers.

        Args:
            question: a thread has been told to ask it. That also counts if nobody waits any more.

        Raises what that raises, and ``Unavailable`` if it takes too long.
        """
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._silent_s, self._notice)

        def done(_question: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before the thread
                loop.call_soon_threadsafe(timer.cancel)

        question.add_done_callback(done)
        answer = await self._until_silent(asyncio.wrap_future(question), _TEXT)
        self.is_silent = False
        return answer

    async def answered(self, question: Awaitable[T], text: str) -> T:
        """Wait for an answer. Raises ``Unavailable`` with this text if the database hangs."""
        return await self._until_silent(question, text)

    def check(self) -> None:
        """Raise ``Unavailable`` if the database hangs."""
        if self.is_silent:
            raise Unavailable(f"{_TEXT}; nothing was stored")

    async def _until_silent(self, question: Awaitable[T], text: str) -> T:
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._waiting.add(limit)
                try:
                    return await question
                finally:
                    self._waiting.discard(limit)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Unavailable(text) from error

    def _notice(self) -> None:
        self.is_silent = True
        now = asyncio.get_running_loop().time()
        for limit in self._waiting:
            limit.reschedule(now)
        for give_up in self.on_silent:
            give_up()


class AnsweringReaders:
    """Reads through others, unless the database hangs."""

    def __init__(self, readers: Readers, silence: Silence) -> None:
        self._readers = readers
        self._silence = silence

    async def run(self, operation: Callable[[Connection], T]) -> T:
        """See ``readers.Readers``."""
        self._silence.check()
        return await self._silence.answered(self._readers.run(operation), _TEXT)


class AnsweringWriter:
    """Writes through another, unless the database hangs."""

    def __init__(self, writer: WriterClient, silence: Silence) -> None:
        self._writer = writer
        self._silence = silence
        # A timeout around each call would cost more than the call.
        text = f"{_TEXT}; whether this was stored is not known"
        silence.on_silent.append(partial(writer.give_up, text))

    def call(
        self, repository: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        """See ``WriterClient``."""
        self._silence.check()
        return self._writer.call(repository, method, args, kwargs)
