"""Output of tasks, and live changes, through connections that may break."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import anyio

from taskyard.sdk import client_models, models, requests
from taskyard.sdk.aio.tasks import AsyncTaskMethods
from taskyard.sdk.connection import FIRST_DELAY_S, Reconnection
from taskyard.sdk.errors import InvalidRequest, Overloaded, Unavailable, Unreachable, Unreadable
from taskyard.sdk.log_position import Discontinuity, LogPosition, change

MAX_FRUITLESS = 8
"""Streams that may close without a record of a task that has ended."""
POLL_S = 2.0
"""Seconds between two looks at a task that waits for its next attempt."""


class AsyncLogMethods(AsyncTaskMethods):
    """The methods of the client that read output and live changes."""

    async def logs(
        self,
        task_id: str,
        stream: str = "stdout",
        *,
        attempt: int | None = None,
        offset: int = 0,
        length: int | None = None,
    ) -> bytes:
        """Bytes of ``stdout`` or ``stderr`` from ``offset``, 8 MiB at most; empty at the end.

        ``attempt`` counts from 1; None is the latest one.
        """
        return await self._send(requests.logs(task_id, stream, attempt, offset, length))

    async def log_chunks(
        self, task_id: str, stream: str = "stdout", *, attempt: int | None = None, offset: int = 0
    ) -> AsyncIterator[bytes]:
        """All bytes of a stream from ``offset`` to its present end, in pieces."""
        while True:
            try:
                data = await self.logs(task_id, stream, attempt=attempt, offset=offset)
            except InvalidRequest as error:
                if error.status == 416:
                    return
                raise
            if not data:
                return
            yield data
            offset += len(data)

    def follow(
        self,
        task_id: str,
        *,
        attempt: int | None = None,
        stdout: int = 0,
        stderr: int = 0,
        wait: bool = True,
        timestamps: bool = False,
        patience_s: float = 60.0,
    ) -> AsyncGenerator[client_models.Output | models.Exit, None]:
        """Output of both streams in the order it was written, then the attempt's exit record.

        Reconnects at its offsets by itself: no byte is lost or repeated. Of a task that ended
        without an attempt the exit record has number 0, or is missing.

        Args:
            task_id: The task.
            attempt: Which attempt, from 1; None is the latest, and waits for the first.
            stdout: Offset to begin at; -1 leaves the stream out.
            stderr: The same for the other stream.
            wait: Whether to go on at the present end; without, an attempt that has not ended has no
                exit record.
            timestamps: Whether records say when they were written.
            patience_s: Seconds without any answer after which ``Unreachable`` is raised.
        """
        position = LogPosition(task_id, attempt, stdout, stderr, wait=wait, timestamps=timestamps)
        return self._follow(position, patience_s)

    async def _follow(
        self, position: LogPosition, patience_s: float, *, from_first: bool = False
    ) -> AsyncGenerator[client_models.Output | models.Exit, None]:
        """See :meth:`follow`; with ``from_first``, begin at the first attempt if none is named."""
        task_id = position.task_id
        patience = Reconnection(self.address.url, patience_s)
        fruitless = 0
        while True:
            cause = "the stream ended early"
            before = dict(position.offsets)
            try:
                # A number that may not exist yet is not asked for: without one, the server waits
                # for the first. It would take the latest if there were some already.
                if (
                    from_first
                    and position.attempt is None
                    and (await self.get(task_id)).attempt_count
                ):
                    position.attempt = 1
                async with aclosing(self._follow_once(position, patience)) as records:
                    async for record in records:
                        yield record
                fruitless = 0 if position.offsets != before else fruitless + 1
                if position.done or (fruitless and await self._never_ran(task_id)):
                    return
                if fruitless >= MAX_FRUITLESS and (await self.get(task_id)).ended:
                    raise Unreadable(f"the streams of task {task_id} end without its exit record")
            except (Unreachable, Discontinuity, Overloaded, Unavailable) as error:
                cause = str(error)
            await anyio.sleep(patience.delay_s(cause))

    async def _follow_once(
        self, position: LogPosition, patience: Reconnection
    ) -> AsyncGenerator[client_models.Output | models.Exit, None]:
        """The records of one connection."""
        async with aclosing(self._stream(position.path, position.parameters)) as events:
            async for event in events:
                record = position.take(event)
                patience.restore()
                if record is not None:
                    yield record
                elif (
                    not position.done
                    and position.attempt is None
                    and await self._never_ran(position.task_id)
                ):
                    position.done = True
                if position.done:
                    return

    async def follow_task(
        self,
        task_id: str,
        *,
        after: int = 0,
        timestamps: bool = False,
        patience_s: float = 60.0,
    ) -> AsyncGenerator[client_models.Output | models.Exit, None]:
        """Output and exit records of every attempt after number ``after``, until the task ended.

        ``timestamps`` and ``patience_s`` are those of :meth:`follow`.
        """
        attempt = await self._attempt_after(task_id, after, patience_s) if after else 1
        while attempt is not None:
            number = attempt if after else None
            position = LogPosition(task_id, number, 0, 0, timestamps=timestamps)
            records = self._follow(position, patience_s, from_first=not after)
            async with aclosing(records):
                async for record in records:
                    yield record
            # That the task has ended by now does not make this its last attempt: others may have
            # come and gone while nobody listened.
            after = position.attempt or 0
            attempt = await self._attempt_after(task_id, after, patience_s)

    async def _attempt_after(self, task_id: str, attempt: int, patience_s: float) -> int | None:
        """Wait for the next attempt; None if the task ends without one."""
        patience = Reconnection(self.address.url, patience_s)
        delay_s = FIRST_DELAY_S
        while True:
            try:
                task = await self.get(task_id)
            except Unreachable as error:
                await anyio.sleep(patience.delay_s(error.cause))
                continue
            patience.restore()
            if task.attempt_count > attempt:
                return attempt + 1
            if task.ended:
                return None
            await anyio.sleep(delay_s)
            delay_s = min(delay_s * 2, POLL_S)

    async def changes(
        self, group: str | None = None, task: str | None = None, *, patience_s: float = 60.0
    ) -> AsyncGenerator[models.Change | client_models.Gap, None]:
        """Every change of the workspace's tasks from now on; never ends by itself.

        After a lost connection comes a ``Gap`` that counts nothing.
        """
        path = f"{requests.BASE}/events/stream"
        narrowed = [(name, value) for name, value in (("group", group), ("task", task)) if value]
        patience = Reconnection(self.address.url, patience_s)
        while True:
            cause = "the stream ended"
            try:
                async with aclosing(self._stream(path, narrowed)) as events:
                    async for event in events:
                        patience.restore()
                        record = change(event)
                        if record is not None:
                            yield record
            except Unreachable as error:
                cause = str(error)
            await anyio.sleep(patience.delay_s(cause))
            yield client_models.Gap()

    async def _never_ran(self, task_id: str) -> bool:
        task = await self.get(task_id)
        return task.ended and task.attempt_count == 0
