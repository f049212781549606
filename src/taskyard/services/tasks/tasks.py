"""Tasks as callers see them: submit, look, cancel, retry, change, delete, wait."""

from collections.abc import Callable, Sequence
from typing import Final

import anyio
import msgspec

from taskyard.core.access.container_rule import ContainerRule
from taskyard.core.access.principals import Caller, Role
from taskyard.core.access.work_identity import UserRule
from taskyard.core.attempts import Attempt
from taskyard.core.changes import Change, Event
from taskyard.core.cron import CatchUp, check_cron, next_firing
from taskyard.core.errors import Conflict, InvalidInput, NotFound, StorageFull
from taskyard.core.ids import GroupName, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.states import TERMINAL, TaskState
from taskyard.core.syslog import parse_server
from taskyard.core.tasks import Command, Container, NewTask, Task, TaskSpec
from taskyard.ports.clock import Clock, Ids
from taskyard.ports.dispatching import Placement
from taskyard.ports.logs import LogStore
from taskyard.ports.outgoing import HttpSender
from taskyard.ports.store import CancelOutcome, Submitted, TaskPage, TaskQuery, TaskStore
from taskyard.services.access.audit import Audit
from taskyard.services.access.permissions import require
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.admission import Admission
from taskyard.services.scheduling.kill import KillOrders
from taskyard.services.scheduling.rule_budget import UNLIMITED, PolicyPace, RuleBudgetSource
from taskyard.services.tasks.enqueue import Enqueue, Placing, outcome_of
from taskyard.services.tasks.validation import check_spec

RETRYABLE: Final = TERMINAL - {TaskState.SUCCEEDED}
ROOM_TRIES: Final = 25
ROOM_PAUSE_S: Final = 0.2
"""How often, and after which pauses, a kill is tried again whose store has no room for it."""
CANCEL_BATCH: Final = 500


class Tasks:
    """Everything a caller may do with tasks of its workspace."""

    def __init__(
        self,
        store: TaskStore,
        logs: LogStore,
        bus: Bus,
        kill: KillOrders,
        load: Admission,
        clock: Clock,
        ids: Ids,
        sender: HttpSender,
        audit: Audit,
        placing: Placing,
        users: UserRule = UserRule(),  # noqa: B008 - frozen
        containers: ContainerRule = ContainerRule(),  # noqa: B008 - frozen
        admit_workspace: Callable[[WorkspaceName], None] = lambda _workspace: None,
        policies: PolicyPace | None = None,
    ) -> None:
        self._store = store
        self._logs = logs
        self._bus = bus
        self._kill = kill
        self._load = load
        self._clock = clock
        self._ids = ids
        self._sender = sender
        self._audit = audit
        self.enqueue = Enqueue(placing, bus)
        """Stores a task that was prepared."""
        self._users = users
        self.admit_workspace = admit_workspace
        """Raises ``Conflict`` for a workspace that may not be served, see ``Identities.admit``."""
        self._containers = containers
        self.policies = policies or PolicyPace(RuleBudgetSource(UNLIMITED), clock)
        """How fast a workspace may have placement policies read."""

    async def submit(self, caller: Caller, spec: TaskSpec) -> tuple[Task, bool]:
        """Store a task, and return it once it is on disk, with whether it is new.

        It is not new when its idempotency key was known: then the earlier task is returned.

        Raises:
            NotAllowed: the caller may not write.
            InvalidInput: the specification breaks a rule.
            Conflict: the workspace may not be served beside others, see ``Identities.admit``.
            Overloaded: too much is waiting.
            StorageFull: nothing was stored.
        """
        await self.policies.read(caller.workspace, spec.placement)
        new = self.prepare(caller, spec)
        self.admit(caller, 1)
        stored = await self._submit_one(caller, new)
        if not stored.created:
            return await self._store.task(caller.workspace, stored.task_id), False
        return Task.accepted(new, stored.seq), True

    async def _submit_one(self, caller: Caller, new: NewTask) -> Submitted:
        async def put(placement: Placement | None) -> Submitted:
            if placement is not None:
                return await self._store.submit_placed(new, caller.actor, placement)
            (stored,) = await self._store.submit((new,), caller.actor)
            return stored

        return await self.enqueue.store(new, put, lambda stored: outcome_of(new, stored))

    async def submit_many(self, caller: Caller, specs: Sequence[TaskSpec]) -> list[Submitted]:
        """Store all of these tasks or none. Raises as :meth:`submit`, fields led by ``tasks.N``."""
        news = []
        for position, spec in enumerate(specs):
            await self.policies.read(caller.workspace, spec.placement)
            try:
                news.append(self.prepare(caller, spec))
            except InvalidInput as error:
                raise InvalidInput(f"tasks.{position}.{error.field}", error.problem) from error
        self.admit(caller, len(news))
        stored = await self._store.submit(news, caller.actor)
        pairs = zip(news, stored, strict=True)
        self._bus.publish([one.change(new) for new, one in pairs if one.created])
        return stored

    async def get(self, caller: Caller, task_id: TaskId) -> Task:
        """Raises ``NotFound``."""
        return await self._store.task(caller.workspace, task_id)

    async def by_key(self, caller: Caller, key: str) -> Task:
        """The task that an idempotency key stands for. Raises ``NotFound``."""
        return await self._store.task_by_key(caller.workspace, key)

    async def page(self, query: TaskQuery) -> TaskPage:
        """One page of tasks; ``query.workspace`` must be the caller's."""
        return await self._store.list_tasks(query)

    async def counts(self, caller: Caller, group: GroupName | None = None) -> dict[TaskState, int]:
        """Tasks of the workspace, or of one of its groups, by state."""
        return await self._store.counts(caller.workspace, group)

    async def attempts(self, caller: Caller, task_id: TaskId) -> list[Attempt]:
        """First to last. Raises ``NotFound``."""
        return await self._store.attempts(caller.workspace, task_id)

    async def events(
        self, caller: Caller, task_id: TaskId, after: int = 0, limit: int = 100
    ) -> list[Event]:
        """The history, oldest first, behind event number ``after``. Raises ``NotFound``."""
        return await self._store.events(caller.workspace, task_id, after, limit)

    async def cancel(
        self,
        caller: Caller,
        task_ids: Sequence[TaskId],
        signal: str | None = None,
        grace_s: float | None = None,
    ) -> list[CancelOutcome]:
        """Cancel tasks that wait, kill those that run; one outcome each, in order.

        Returns when the kills are ordered; their proof comes with the end of the attempts.
        ``signal`` and ``grace_s`` replace what the tasks say. Raises ``NotAllowed``.
        """
        require(caller, Role.WRITE)
        now = self._clock.now()
        try:
            outcomes, changes = await self._store.cancel(
                caller.workspace, task_ids, now, caller.actor
            )
        except StorageFull:
            # What writes until the disk is full has to end before there is room to say so.
            await self._kill.order(await self._running(caller, task_ids), signal, grace_s)
            outcomes, changes = await self._cancel_when_there_is_room(caller, task_ids)
        self._bus.publish(changes)
        await self._kill.order(outcomes, signal, grace_s)
        return outcomes

    async def _cancel_when_there_is_room(
        self, caller: Caller, task_ids: Sequence[TaskId]
    ) -> tuple[list[CancelOutcome], list[Change]]:
        """Raises ``StorageFull`` if there is none after a while."""
        for _ in range(ROOM_TRIES):
            await self._clock.sleep(ROOM_PAUSE_S)
            try:
                return await self._store.cancel(
                    caller.workspace, task_ids, self._clock.now(), caller.actor
                )
            except StorageFull:
                continue
        return await self._store.cancel(caller.workspace, task_ids, self._clock.now(), caller.actor)

    async def _running(self, caller: Caller, task_ids: Sequence[TaskId]) -> list[CancelOutcome]:
        """Those of these tasks that run, as if their kill had been stored."""
        found = []
        for task_id in task_ids:
            try:
                task = await self._store.task(caller.workspace, task_id)
            except NotFound:
                continue
            if task.current_attempt is not None:
                attempt = await self._store.attempt(caller.workspace, task.current_attempt)
                signal, grace_s = task.spec.kill_signal, task.spec.kill_grace_s
                found.append(CancelOutcome(task_id, "killing", attempt, signal, grace_s))
        return found

    async def cancel_group(
        self,
        caller: Caller,
        group: GroupName,
        signal: str | None = None,
        grace_s: float | None = None,
    ) -> list[CancelOutcome]:
        """Cancel every task of a group that has not ended, batch by batch. Raises as ``cancel``."""
        require(caller, Role.WRITE)
        outcomes: list[CancelOutcome] = []
        after: int | None = None
        while True:
            page = await self._store.list_tasks(
                TaskQuery(
                    workspace=caller.workspace,
                    states=frozenset(TaskState) - TERMINAL,
                    group=group,
                    oldest_first=True,
                    limit=CANCEL_BATCH,
                    after_seq=after,
                )
            )
            if page.tasks:
                ids = [task.id for task in page.tasks]
                outcomes += await self.cancel(caller, ids, signal, grace_s)
            if page.next_seq is None:
                await self._audit.done(caller, "task.cancel_group", group, f"{len(outcomes)} tasks")
                return outcomes
            after = page.next_seq

    async def retry(self, caller: Caller, task_id: TaskId) -> Task:
        """Submit an ended task again, now. Raises ``NotFound``, ``NotAllowed``, ``Conflict``.

        The old task stays as it ended (a terminal state is final, ADR 0005); the new one names it
        in ``retry_of``. Idempotency key, schedule and expiry are not taken over.
        """
        require(caller, Role.WRITE)
        spec = retried(await self._store.task(caller.workspace, task_id))
        new = msgspec.structs.replace(self.prepare(caller, spec), retry_of=task_id)
        self.admit(caller, 1)
        stored = await self._submit_one(caller, new)
        return Task.accepted(new, stored.seq)

    async def set_priority(self, caller: Caller, task_id: TaskId, priority: int) -> Task:
        """Raises ``NotFound``, ``NotAllowed``, ``IllegalTransition`` unless the task waits."""
        require(caller, Role.WRITE)
        changes = await self._store.set_priority(
            caller.workspace, task_id, priority, self._clock.now(), caller.actor
        )
        self._bus.publish(changes)
        return await self._store.task(caller.workspace, task_id)

    async def reschedule(
        self,
        caller: Caller,
        task_id: TaskId,
        start_at: Instant | None = None,
        cron: str | None = None,
        timezone: str | None = None,
        catch_up: CatchUp | None = None,
    ) -> Task:
        """Give a waiting task another start, or a recurring one another rule.

        Raises ``NotFound``, ``NotAllowed``, ``InvalidInput``, and ``IllegalTransition`` unless the
        task waits.
        """
        require(caller, Role.WRITE)
        task = await self._store.task(caller.workspace, task_id)
        now = self._clock.now()
        if task.spec.cron is None:
            if cron is not None or timezone is not None or catch_up is not None:
                raise InvalidInput("cron", "this task does not recur; submit a new one that does")
            if start_at is None:
                raise InvalidInput("start_at", "is required")
        else:
            if start_at is not None:
                raise InvalidInput("start_at", "this task recurs; change its cron")
            rule, zone = cron or task.spec.cron, timezone or task.spec.timezone
            check_cron(rule, zone)
            start_at = next_firing(rule, zone, now)
            if start_at is None:
                raise InvalidInput("cron", "never fires")
        changes = await self._store.reschedule(
            caller.workspace, task_id, start_at, now, caller.actor, cron, timezone, catch_up
        )
        self._bus.publish(changes)
        return await self._store.task(caller.workspace, task_id)

    async def delete(self, caller: Caller, task_ids: Sequence[TaskId]) -> None:
        """Remove ended tasks with their history and logs; all of them or none.

        Raises ``NotFound``, ``NotAllowed``, ``IllegalTransition`` if one has not ended.
        """
        require(caller, Role.WRITE)
        entries = [self._audit.entry(caller, "task.delete", task_id) for task_id in task_ids]
        attempt_ids, changes = await self._store.delete(
            caller.workspace, task_ids, self._clock.now(), entries
        )
        self._bus.publish(changes)
        await self._logs.delete(attempt_ids)

    async def wait(self, caller: Caller, task_id: TaskId, timeout_s: float) -> Task:
        """The task once it has ended, or as it is after ``timeout_s``. Raises ``NotFound``."""

        async def ended() -> Task | None:
            task = await self._store.task(caller.workspace, task_id)
            return task if task.state in TERMINAL else None

        with anyio.move_on_after(timeout_s):
            return await self._bus.wait_for(task_id, ended)
        # Not only what was announced counts.
        return await self._store.task(caller.workspace, task_id)

    def admit(self, caller: Caller, count: int) -> None:
        """Raise ``Overloaded`` unless so many more tasks may wait in the caller's workspace."""
        self._load.admit(caller.workspace, count)

    def check(self, spec: TaskSpec) -> None:
        """Raise ``InvalidInput`` for what could not be executed, or leads where nothing may go."""
        check_spec(spec)
        if isinstance(spec.work, Command) and spec.work.user is not None:
            self._users.check(spec.work.user)
        for position, webhook in enumerate(spec.webhooks):
            self._sender.check_url(webhook.url, f"webhooks.{position}.url")
        if isinstance(spec.work, Container):
            self._check_container(spec.work, spec.resources)

    def _check_container(self, work: Container, resources: Resources) -> None:
        self._containers.check(work, resources)
        if work.syslog is not None:
            # An address that is written out is judged at once, by the rule for webhooks.
            authority = parse_server(work.syslog.server).authority
            self._sender.check_url(f"http://{authority}", "container.syslog.server")

    def prepare(self, caller: Caller, spec: TaskSpec) -> NewTask:
        """A checked task, ready to be stored. Raises as :meth:`submit`, but for what is waiting."""
        require(caller, Role.WRITE)
        self.admit_workspace(caller.workspace)
        self.check(spec)
        now = self._clock.now()
        state, start_at = TaskState.QUEUED, spec.start_at
        if spec.cron is not None:
            state, start_at = TaskState.SCHEDULED, next_firing(spec.cron, spec.timezone, now)
        elif start_at is not None:
            if start_at > now:
                state = TaskState.SCHEDULED
            else:
                start_at = None
        return NewTask(
            id=self._ids.task(),
            workspace=caller.workspace,
            spec=spec,
            state=state,
            created_at=now,
            start_at=start_at,
        )


def retried(task: Task) -> TaskSpec:
    """What is submitted when a task is retried. Raises ``Conflict`` unless it can be."""
    if task.state not in RETRYABLE:
        raise Conflict(f"a task that is {task.state} cannot be retried")
    return msgspec.structs.replace(
        task.spec, start_at=None, cron=None, expires_at=None, idempotency_key=None
    )
