# Made by tools/unasync.py from taskyard/sdk/aio/tasks.py: change that file instead.
"""Tasks: submit, list, wait for, explain, cancel, retry."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from taskyard.sdk import client_models, models, requests
from taskyard.sdk.sync.base import BaseClient


class TaskMethods(BaseClient):
    """The methods of the client that concern tasks."""

    def submit(self, command: Sequence[str] | str, **members: Any) -> models.Task:
        """Submit a task: a program and its arguments, or a shell command line as one string.

        ``members`` are those of the API's task specification; None leaves one out.
        """
        return self.submit_spec({"command": command, **members})

    def submit_spec(self, spec: Mapping[str, Any]) -> models.Task:
        """Submit a task given as the API's task specification."""
        return self._send(requests.submit(spec))

    def submit_many(self, specs: Iterable[Mapping[str, Any]]) -> tuple[models.Submitted, ...]:
        """Submit 1 to 1000 tasks, all or none, in order."""
        return self._send(requests.submit_many(specs))

    def get(self, task_id: str) -> models.Task:
        """One task."""
        return self._send(requests.get(task_id))

    def page(self, **query: Any) -> client_models.Page[models.Task]:
        """One page of tasks; arguments are the filters of the API, ``limit`` and ``cursor``."""
        return self._send(requests.page(query))

    def list(self, **query: Any) -> Iterator[models.Task]:
        """All tasks that match, newest first, page after page as they are needed."""
        return self._pages(lambda cursor: requests.page({**query, "cursor": cursor}))

    def counts(self, group: str | None = None) -> dict[str, int]:
        """Task counts by state."""
        return self._send(requests.counts(group))

    def attempts(self, task_id: str) -> tuple[models.Attempt, ...]:
        """All attempts at a task, first to last."""
        return self._send(requests.attempts(task_id))

    def events(self, task_id: str, limit: int = 500) -> Iterator[models.Event]:
        """A task's history, oldest first; ``limit`` is the size of a page."""
        return self._pages(lambda cursor: requests.events(task_id, cursor, limit))

    def why(self, task_id: str) -> models.Why:
        """Why a task is where it is."""
        return self._send(requests.why(task_id))

    def cancel(
        self, task_id: str, signal: str | None = None, grace_s: float | None = None
    ) -> models.Outcome:
        """Cancel a waiting task, or begin to kill a running one."""
        return self._send(requests.cancel(task_id, signal, grace_s))

    def cancel_many(
        self, ids: Sequence[str] | None = None, *, group: str | None = None
    ) -> tuple[models.Outcome, ...]:
        """Cancel up to 1000 tasks by id, or all unended ones of a group."""
        return self._send(requests.cancel_many(ids, group))

    def retry(self, task_id: str) -> models.Task:
        """Submit a failed, dead, cancelled or expired task again; returns the new task."""
        return self._send(requests.retry(task_id))

    def delete(self, task_id: str) -> None:
        """Remove an ended task and its logs."""
        self._send_delete(requests.delete(task_id))

    def update(self, task_id: str, **members: Any) -> models.Task:
        """Change priority or schedule of a waiting task."""
        return self._send(requests.update(task_id, members))

    def wait(self, task_id: str, timeout_s: float | None = None) -> models.Task:
        """The task once it has ended, or as it is after ``timeout_s`` seconds."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = requests.MAX_WAIT_S if deadline is None else deadline - time.monotonic()
            task = self._send(requests.wait(task_id, left))
            if task.ended or (deadline is not None and left <= requests.MAX_WAIT_S):
                return task
