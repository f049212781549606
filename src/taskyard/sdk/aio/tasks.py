"""Tasks: submit, list, wait for, explain, cancel, retry."""

import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from taskyard.sdk import client_models, models, requests
from taskyard.sdk.aio.base import AsyncBaseClient


class AsyncTaskMethods(AsyncBaseClient):
    """The methods of the client that concern tasks."""

    async def submit(self, command: Sequence[str] | str, **members: Any) -> models.Task:
        """Submit a task: a program and its arguments, or a shell command line as one string.

        ``members`` are those of the API's task specification; None leaves one out.
        """
        return await self.submit_spec({"command": command, **members})

    async def submit_spec(self, spec: Mapping[str, Any]) -> models.Task:
        """Submit a task given as the API's task specification."""
        return await self._send(requests.submit(spec))

    async def submit_many(self, specs: Iterable[Mapping[str, Any]]) -> tuple[models.Submitted, ...]:
        """Submit 1 to 1000 tasks, all or none, in order."""
        return await self._send(requests.submit_many(specs))

    async def get(self, task_id: str) -> models.Task:
        """One task."""
        return await self._send(requests.get(task_id))

    async def page(self, **query: Any) -> client_models.Page[models.Task]:
        """One page of tasks; arguments are the filters of the API, ``limit`` and ``cursor``."""
        return await self._send(requests.page(query))

    def list(self, **query: Any) -> AsyncIterator[models.Task]:
        """All tasks that match, newest first, page after page as they are needed."""
        return self._pages(lambda cursor: requests.page({**query, "cursor": cursor}))

    async def counts(self, group: str | None = None) -> dict[str, int]:
        """Task counts by state."""
        return await self._send(requests.counts(group))

    async def attempts(self, task_id: str) -> tuple[models.Attempt, ...]:
        """All attempts at a task, first to last."""
        return await self._send(requests.attempts(task_id))

    def events(self, task_id: str, limit: int = 500) -> AsyncIterator[models.Event]:
        """A task's history, oldest first; ``limit`` is the size of a page."""
        return self._pages(lambda cursor: requests.events(task_id, cursor, limit))

    async def why(self, task_id: str) -> models.Why:
        """Why a task is where it is."""
        return await self._send(requests.why(task_id))

    async def cancel(
        self, task_id: str, signal: str | None = None, grace_s: float | None = None
    ) -> models.Outcome:
        """Cancel a waiting task, or begin to kill a running one."""
        return await self._send(requests.cancel(task_id, signal, grace_s))

    async def cancel_many(
        self, ids: Sequence[str] | None = None, *, group: str | None = None
    ) -> tuple[models.Outcome, ...]:
        """Cancel up to 1000 tasks by id, or all unended ones of a group."""
        return await self._send(requests.cancel_many(ids, group))

    async def retry(self, task_id: str) -> models.Task:
        """Submit a failed, dead, cancelled or expired task again; returns the new task."""
        return await self._send(requests.retry(task_id))

    async def delete(self, task_id: str) -> None:
        """Remove an ended task and its logs."""
        await self._send_delete(requests.delete(task_id))

    async def update(self, task_id: str, **members: Any) -> models.Task:
        """Change priority or schedule of a waiting task."""
        return await self._send(requests.update(task_id, members))

    async def wait(self, task_id: str, timeout_s: float | None = None) -> models.Task:
        """The task once it has ended, or as it is after ``timeout_s`` seconds."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = requests.MAX_WAIT_S if deadline is None else deadline - time.monotonic()
            task = await self._send(requests.wait(task_id, left))
            if task.ended or (deadline is not None and left <= requests.MAX_WAIT_S):
                return task
