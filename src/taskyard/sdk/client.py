"""The synchronous client."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from taskyard.sdk import calls, models
from taskyard.sdk.errors import InvalidRequest, Overloaded, Unavailable, Unreachable, Unreadable
from taskyard.sdk.exchange import FIRST_DELAY_S, Patience
from taskyard.sdk.following import Discontinuity, Following, change
from taskyard.sdk.function_client import FunctionClient
from taskyard.sdk.sender import Sender

MAX_FRUITLESS = 8
"""Streams that may close without telling anything about a task that has ended."""
POLL_S = 2.0
"""Seconds between two looks at a task that waits to be tried again."""


class Client(Sender):
    """Talks to one server. May be shared by threads; use it as a context manager or close it.

    Every method raises :class:`~taskyard.sdk.errors.Unreachable` when no answer comes, a
    :class:`~taskyard.sdk.errors.Refused` when the server says no, and
    :class:`~taskyard.sdk.errors.Unreadable` when the answer makes no sense. What can safely be sent
    twice is, after a connection error; submits carry an idempotency key to that end.
    """

    @property
    def functions(self) -> FunctionClient:
        """Functions: deploy, call, roll back."""
        return FunctionClient(self._send, self._remove, self._walk, self._answer)

    # Tasks

    def submit(self, command: Sequence[str] | str, **members: Any) -> models.Task:
        """Submit a task: a program and its arguments, or a shell command line as one string.

        ``members`` are those of the API's task specification; None leaves one out.
        """
        return self.submit_spec({"command": command, **members})

    def submit_spec(self, spec: Mapping[str, Any]) -> models.Task:
        """Submit a task given as the API's task specification."""
        return self._send(calls.submit(spec))

    def submit_many(self, specs: Iterable[Mapping[str, Any]]) -> tuple[models.Submitted, ...]:
        """Submit 1 to 1000 tasks, all or none, in order."""
        return self._send(calls.submit_many(specs))

    def get(self, task_id: str) -> models.Task:
        """One task."""
        return self._send(calls.get(task_id))

    def page(self, **query: Any) -> models.Page[models.Task]:
        """One page of tasks; arguments are the filters of the API, ``limit`` and ``cursor``."""
        return self._send(calls.page(query))

    def list(self, **query: Any) -> Iterator[models.Task]:
        """All tasks that match, newest first, page after page as they are needed."""
        return self._walk(lambda cursor: calls.page({**query, "cursor": cursor}))

    def counts(self, group: str | None = None) -> dict[str, int]:
        """Task counts by state."""
        return self._send(calls.counts(group))

    def attempts(self, task_id: str) -> tuple[models.Attempt, ...]:
        """All attempts at a task, first to last."""
        return self._send(calls.attempts(task_id))

    def events(self, task_id: str, limit: int = 500) -> Iterator[models.Event]:
        """A task's history, oldest first; ``limit`` is the size of a page."""
        return self._walk(lambda cursor: calls.events(task_id, cursor, limit))

    def why(self, task_id: str) -> models.Why:
        """Why a task is where it is."""
        return self._send(calls.why(task_id))

    def cancel(
        self, task_id: str, signal: str | None = None, grace_s: float | None = None
    ) -> models.Outcome:
        """Cancel a waiting task, or begin to kill a running one."""
        return self._send(calls.cancel(task_id, signal, grace_s))

    def cancel_many(
        self, ids: Sequence[str] | None = None, *, group: str | None = None
    ) -> tuple[models.Outcome, ...]:
        """Cancel up to 1000 tasks by id, or all unended ones of a group."""
        return self._send(calls.cancel_many(ids, group))

    def retry(self, task_id: str) -> models.Task:
        """Submit a failed, dead, cancelled or expired task anew; answers with the new task."""
        return self._send(calls.retry(task_id))

    def delete(self, task_id: str) -> None:
        """Remove an ended task and its logs."""
        self._remove(calls.delete(task_id))

    def update(self, task_id: str, **members: Any) -> models.Task:
        """Change priority or schedule of a waiting task."""
        return self._send(calls.update(task_id, members))

    def wait(self, task_id: str, timeout_s: float | None = None) -> models.Task:
        """The task once it has ended, or as it is after ``timeout_s`` seconds."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = calls.MAX_WAIT_S if deadline is None else deadline - time.monotonic()
            task = self._send(calls.wait(task_id, left))
            if task.ended or (deadline is not None and left <= calls.MAX_WAIT_S):
                return task

    # Logs and live changes

    def logs(
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
        return self._send(calls.logs(task_id, stream, attempt, offset, length))

    def log_chunks(
        self, task_id: str, stream: str = "stdout", *, attempt: int | None = None, offset: int = 0
    ) -> Iterator[bytes]:
        """All bytes of a stream from ``offset`` to its present end, in pieces."""
        while True:
            try:
                data = self.logs(task_id, stream, attempt=attempt, offset=offset)
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
        patience_s: float = 60.0,
    ) -> Iterator[models.Output | models.Exit]:
        """Output as it is written, then the attempt's exit record.

        Reconnects at its offsets by itself: no byte is lost or repeated. Of a task that ended
        without an attempt the exit record has number 0, or is missing.

        Args:
            task_id: The task.
            attempt: Which attempt, from 1; None is the latest, and waits for the first.
            stdout: Offset to begin at; -1 leaves the stream out.
            stderr: The same for the other stream.
            patience_s: Seconds without any answer after which ``Unreachable`` is raised.
        """
        yield from self._follow(Following(task_id, attempt, stdout, stderr), patience_s)

    def _follow(
        self, following: Following, patience_s: float, *, from_first: bool = False
    ) -> Iterator[models.Output | models.Exit]:
        """See :meth:`follow`; with ``from_first``, no attempt stands for the first one."""
        task_id = following.task_id
        patience = Patience(self.address.url, patience_s)
        fruitless = 0
        while True:
            cause = "the stream ended early"
            before = dict(following.offsets)
            try:
                # A number that may not exist yet is not asked for: without one, the server waits
                # for the first. It would take the latest if there were some already.
                if from_first and following.attempt is None and self.get(task_id).attempt_count:
                    following.attempt = 1
                yield from self._follow_once(following, patience)
                fruitless = 0 if following.offsets != before else fruitless + 1
                if following.done or (fruitless and self._never_ran(task_id)):
                    return
                if fruitless >= MAX_FRUITLESS and self.get(task_id).ended:
                    raise Unreadable(f"the end of task {task_id} is never told")
            except (Unreachable, Discontinuity, Overloaded, Unavailable) as error:
                cause = str(error)
            time.sleep(patience.delay_s(cause))

    def _follow_once(
        self, following: Following, patience: Patience
    ) -> Iterator[models.Output | models.Exit]:
        """The records of one connection."""
        with closing(self._stream(following.path, following.parameters)) as events:
            for event in events:
                record = following.take(event)
                patience.restore()
                if record is not None:
                    yield record
                elif following.attempt is None and self._never_ran(following.task_id):
                    following.done = True
                if following.done:
                    return

    def follow_task(
        self, task_id: str, *, after: int = 0, patience_s: float = 60.0
    ) -> Iterator[models.Output | models.Exit]:
        """Output and exit records of every attempt behind number ``after``, until the task ended.

        ``patience_s`` is that of :meth:`follow`.
        """
        attempt = self._attempt_after(task_id, after, patience_s) if after else 1
        while attempt is not None:
            following = Following(task_id, attempt if after else None, 0, 0)
            yield from self._follow(following, patience_s, from_first=not after)
            # That the task has ended by now does not make this its last attempt: others may have
            # come and gone while nobody listened.
            after = following.attempt or 0
            attempt = self._attempt_after(task_id, after, patience_s)

    def _attempt_after(self, task_id: str, attempt: int, patience_s: float) -> int | None:
        """Wait for the next attempt; None if the task ends without one."""
        patience = Patience(self.address.url, patience_s)
        delay_s = FIRST_DELAY_S
        while True:
            try:
                task = self.get(task_id)
            except Unreachable as error:
                time.sleep(patience.delay_s(error.cause))
                continue
            patience.restore()
            if task.attempt_count > attempt:
                return attempt + 1
            if task.ended:
                return None
            time.sleep(delay_s)
            delay_s = min(delay_s * 2, POLL_S)

    def changes(
        self, group: str | None = None, task: str | None = None, *, patience_s: float = 60.0
    ) -> Iterator[models.Change | models.Gap]:
        """Every change of the workspace's tasks from now on, without end.

        After a lost connection comes a :class:`~taskyard.sdk.models.Gap` that counts nothing.
        """
        narrowed = [(name, value) for name, value in (("group", group), ("task", task)) if value]
        patience = Patience(self.address.url, patience_s)
        while True:
            cause = "the stream ended"
            try:
                with closing(self._stream(f"{calls.BASE}/events/stream", narrowed)) as events:
                    for event in events:
                        patience.restore()
                        record = change(event)
                        if record is not None:
                            yield record
            except Unreachable as error:
                cause = str(error)
            time.sleep(patience.delay_s(cause))
            yield models.Gap()

    def _never_ran(self, task_id: str) -> bool:
        task = self.get(task_id)
        return task.ended and task.attempt_count == 0

    # Groups, workers, and the rest

    def jobs(self) -> tuple[models.Job, ...]:
        """Jobs of other dialects that wait for their time or recur, the next to start first."""
        return (self._send(calls.jobs())).items

    def cancel_job(self, job_id: str, group: str) -> models.Job:
        """Let a job start no more, and cancel or kill its last execution."""
        return self._send(calls.cancel_job(job_id, group))

    def groups(self, limit: int = 500) -> Iterator[models.Group]:
        """All groups in order of name; ``limit`` is the size of a page."""
        return self._walk(lambda cursor: calls.groups(cursor, limit))

    def group(self, name: str) -> models.Group:
        """One group; a name never heard of has defaults."""
        return self._send(calls.group(name))

    def pause(self, group: str) -> models.Group:
        """Start nothing more of a group."""
        return self._send(calls.pause(group))

    def resume(self, group: str) -> models.Group:
        """Start tasks of a group again."""
        return self._send(calls.resume(group))

    def set_group_limit(self, group: str, limit: int | None) -> models.Group:
        """Limit how many tasks of a group run at once; None for no limit."""
        return self._send(calls.set_group_limit(group, limit))

    def workspace(self) -> models.Workspace:
        """The credential's workspace."""
        return self._send(calls.workspace())

    def set_workspace_limit(self, limit: int | None) -> models.Workspace:
        """Limit how many tasks of the workspace run at once; None for no limit."""
        return self._send(calls.set_workspace_limit(limit))

    def workers(self) -> tuple[models.Worker, ...]:
        """All workers."""
        return self._send(calls.workers())

    def parked(self) -> tuple[models.Parked, ...]:
        """What the server could not deal with and put aside, longest first."""
        return self._send(calls.parked())

    def drain(self, worker_id: str) -> models.Worker:
        """Place nothing new on a worker; what runs there goes on."""
        return self._send(calls.drain(worker_id))

    def undrain(self, worker_id: str) -> models.Worker:
        """Let a worker take tasks again."""
        return self._send(calls.undrain(worker_id))

    def deliveries(self, state: str | None = None, limit: int = 500) -> Iterator[models.Delivery]:
        """Webhook deliveries; ``limit`` is the size of a page."""
        return self._walk(lambda cursor: calls.deliveries(state, cursor, limit))

    def delivery(self, delivery_id: str) -> models.Delivery:
        """One webhook delivery."""
        return self._send(calls.delivery(delivery_id))

    def redeliver(self, delivery_id: str) -> models.Delivery | None:
        """Deliver once more; answers with the delivery if the server does."""
        return self._send(calls.redeliver(delivery_id))

    def tokens(self, limit: int = 500, workspace: str | None = None) -> Iterator[models.Token]:
        """All tokens of the workspace, the caller's own if None, without their secrets."""
        return self._walk(lambda cursor: calls.tokens(cursor, limit, workspace))

    def create_token(
        self,
        name: str,
        role: str,
        expires_in_s: float | None = None,
        workspace: str | None = None,
    ) -> models.Token:
        """Create a token; the answer's ``token`` is its secret, shown this once.

        ``workspace`` is the caller's own when None; ``*`` is the installation.
        """
        return self._send(calls.create_token(name, role, expires_in_s, workspace))

    def revoke_token(self, token_id: str, workspace: str | None = None) -> None:
        """Make a token worthless."""
        self._remove(calls.revoke_token(token_id, workspace))

    def users(self, limit: int = 500, workspace: str | None = None) -> Iterator[models.User]:
        """All users of the workspace, the caller's own if None."""
        return self._walk(lambda cursor: calls.users(cursor, limit, workspace))

    def add_user(
        self, name: str, password: str, role: str, workspace: str | None = None
    ) -> models.User:
        """Add a user; see :meth:`create_token`."""
        return self._send(calls.add_user(name, password, role, workspace))

    def remove_user(self, name: str, workspace: str | None = None) -> None:
        """Remove a user."""
        self._remove(calls.remove_user(name, workspace))

    def secrets(self) -> tuple[str, ...]:
        """The names of all stored secrets."""
        return self._send(calls.secrets())

    def set_secret(self, name: str, value: str) -> None:
        """Store a secret, or replace it."""
        self._send(calls.set_secret(name, value))

    def remove_secret(self, name: str) -> None:
        """Remove a secret."""
        self._remove(calls.remove_secret(name))

    def audit(self, limit: int = 500, workspace: str | None = None) -> Iterator[models.AuditEntry]:
        """The audit trail; ``limit`` is the size of a page."""
        return self._walk(lambda cursor: calls.audit(cursor, limit, workspace))

    def me(self) -> models.Me:
        """Who the credential says we are."""
        return self._send(calls.me())

    def version(self) -> models.Version:
        """The server's version."""
        return self._send(calls.version())

    def health(self) -> dict[str, Any]:
        """What the server says of itself; needs no credential."""
        return self._send(calls.health())
