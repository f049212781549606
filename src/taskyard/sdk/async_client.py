"""The asynchronous client: running tasks and watching them, for programs on AnyIO or asyncio.

It has the methods a program calls while it works; for administration there is the synchronous
:class:`~taskyard.sdk.client.Client`.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import anyio

from taskyard.sdk import calls, models
from taskyard.sdk.async_function_client import AsyncFunctionClient
from taskyard.sdk.async_sender import AsyncSender
from taskyard.sdk.client import MAX_FRUITLESS
from taskyard.sdk.errors import Overloaded, Unavailable, Unreachable, Unreadable
from taskyard.sdk.exchange import Patience
from taskyard.sdk.following import Discontinuity, Following


class AsyncClient(AsyncSender):
    """Talks to one server; use it as an asynchronous context manager or close it.

    Methods, arguments and errors are those of :class:`~taskyard.sdk.client.Client`.
    """

    @property
    def functions(self) -> AsyncFunctionClient:
        """Functions: deploy, call, roll back."""
        return AsyncFunctionClient(self._send, self._remove, self._walk, self._answer)

    async def submit(self, command: Sequence[str] | str, **members: Any) -> models.Task:
        """Submit a task: a program and its arguments, or a shell command line as one string."""
        return await self._send(calls.submit({"command": command, **members}))

    async def submit_many(self, specs: Iterable[Mapping[str, Any]]) -> tuple[models.Submitted, ...]:
        """Submit 1 to 1000 tasks, all or none, in order."""
        return await self._send(calls.submit_many(specs))

    async def get(self, task_id: str) -> models.Task:
        """One task."""
        return await self._send(calls.get(task_id))

    def list(self, **query: Any) -> AsyncIterator[models.Task]:
        """All tasks that match, newest first, page after page as they are needed."""
        return self._walk(lambda cursor: calls.page({**query, "cursor": cursor}))

    async def counts(self, group: str | None = None) -> dict[str, int]:
        """Task counts by state."""
        return await self._send(calls.counts(group))

    async def attempts(self, task_id: str) -> tuple[models.Attempt, ...]:
        """All attempts at a task, first to last."""
        return await self._send(calls.attempts(task_id))

    async def why(self, task_id: str) -> models.Why:
        """Why a task is where it is."""
        return await self._send(calls.why(task_id))

    async def cancel(
        self, task_id: str, signal: str | None = None, grace_s: float | None = None
    ) -> models.Outcome:
        """Cancel a waiting task, or begin to kill a running one."""
        return await self._send(calls.cancel(task_id, signal, grace_s))

    async def retry(self, task_id: str) -> models.Task:
        """Submit a failed, dead, cancelled or expired task anew; answers with the new task."""
        return await self._send(calls.retry(task_id))

    async def delete(self, task_id: str) -> None:
        """Remove an ended task and its logs."""
        await self._remove(calls.delete(task_id))

    async def update(self, task_id: str, **members: Any) -> models.Task:
        """Change priority or schedule of a waiting task."""
        return await self._send(calls.update(task_id, members))

    async def wait(self, task_id: str, timeout_s: float | None = None) -> models.Task:
        """The task once it has ended, or as it is after ``timeout_s`` seconds."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = calls.MAX_WAIT_S if deadline is None else deadline - time.monotonic()
            task = await self._send(calls.wait(task_id, left))
            if task.ended or (deadline is not None and left <= calls.MAX_WAIT_S):
                return task

    async def logs(
        self,
        task_id: str,
        stream: str = "stdout",
        *,
        attempt: int | None = None,
        offset: int = 0,
        length: int | None = None,
    ) -> bytes:
        """Bytes of ``stdout`` or ``stderr`` from ``offset``, 8 MiB at most; empty at the end."""
        return await self._send(calls.logs(task_id, stream, attempt, offset, length))

    async def follow(
        self,
        task_id: str,
        *,
        attempt: int | None = None,
        stdout: int = 0,
        stderr: int = 0,
        patience_s: float = 60.0,
    ) -> AsyncGenerator[models.Output | models.Exit, None]:
        """Output as it is written, then the attempt's exit record; reconnects by itself.

        Arguments, promises and errors are those of ``Client.follow``.
        """
        following = Following(task_id, attempt, stdout, stderr)
        patience = Patience(self.address.url, patience_s)
        fruitless = 0
        while True:
            cause = "the stream ended early"
            before = dict(following.offsets)
            try:
                async with aclosing(self._follow_once(following, patience)) as records:
                    async for record in records:
                        yield record
                fruitless = 0 if following.offsets != before else fruitless + 1
                if following.done or (fruitless and await self._never_ran(task_id)):
                    return
                if fruitless >= MAX_FRUITLESS and (await self.get(task_id)).ended:
                    raise Unreadable(f"the end of task {task_id} is never told")
            except (Unreachable, Discontinuity, Overloaded, Unavailable) as error:
                cause = str(error)
            await anyio.sleep(patience.delay_s(cause))

    async def _follow_once(
        self, following: Following, patience: Patience
    ) -> AsyncGenerator[models.Output | models.Exit, None]:
        """The records of one connection."""
        async with aclosing(self._stream(following.path, following.parameters)) as events:
            async for event in events:
                record = following.take(event)
                patience.restore()
                if record is not None:
                    yield record
                elif following.attempt is None and await self._never_ran(following.task_id):
                    following.done = True
                if following.done:
                    return

    async def _never_ran(self, task_id: str) -> bool:
        task = await self.get(task_id)
        return task.ended and task.attempt_count == 0

    async def me(self) -> models.Me:
        """Who the credential says we are."""
        return await self._send(calls.me())

    async def version(self) -> models.Version:
        """The server's version."""
        return await self._send(calls.version())
