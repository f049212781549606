"""Invocations by triggers and schedules.

Ends are heard of on the bus; what was missed (a crash, a store in trouble) is found again by
looking through all that is unsettled. Settling a call and issuing what follows it is one
transaction, and so is a firing with its call: neither is lost or doubled.
"""

from collections.abc import Sequence
from typing import Final

import anyio
import structlog

from taskyard.core.access.principals import Caller, Role
from taskyard.core.changes import Change
from taskyard.core.cron import CatchUp, firings_due
from taskyard.core.errors import Overloaded, TaskyardError, Unavailable
from taskyard.core.functions.functions import GROUP_PREFIX, CallRequest
from taskyard.core.functions.invocations import MOST_LINKS, CallOrigin, InvocationView
from taskyard.core.functions.resources import Schedule
from taskyard.core.instants import Instant, seconds_between
from taskyard.core.states import TERMINAL, Reason
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import ParkingStore
from taskyard.ports.function_resources import FunctionResourceStore, InvocationStore, NewInvocation
from taskyard.services.functions.calls import CallFailed
from taskyard.services.functions.invocations import Invocations
from taskyard.services.leadership import TermSource, no_term
from taskyard.services.notifications.bus import Bus

AT_ONCE: Final = 100
LONGEST_SLEEP_S: Final = 30.0
LOOK_EVERY_S: Final = 60.0
TROUBLE_PAUSE_S: Final = 1.0

log = structlog.get_logger(__name__)


class Triggers:
    """A background service: two loops under one roof."""

    def __init__(
        self,
        function_resources: FunctionResourceStore,
        store: InvocationStore,
        invocations: Invocations,
        parking: ParkingStore,
        bus: Bus,
        clock: Clock,
        term: TermSource = no_term,
    ) -> None:
        self._term = term
        self._parking = parking
        self._function_resources = function_resources
        self._store = store
        self._invocations = invocations
        self._bus = bus
        self._clock = clock
        self._followed: set[str] | None = None
        """Functions whose calls may have something to settle; all of them while not known."""
        self._news = anyio.Event()
        self._moved = anyio.Event()
        self._revision = 0
        """Counts what may make ``_followed`` wrong while it is read."""
        bus.listen(self._on_changes, self.look_again)

    async def run(self) -> None:
        """Until cancelled."""
        self._followed = None
        async with anyio.create_task_group() as loops:
            loops.start_soon(self._settling)
            loops.start_soon(self._firing)

    def follow(self, function_id: str) -> None:
        """A function has a new trigger."""
        self._revision += 1
        if self._followed is not None:
            self._followed.add(function_id)

    def look_again(self) -> None:
        """Look at what is stored: triggers, schedules or ends of calls were missed."""
        self._revision += 1
        self._followed = None
        self._news.set()
        self._moved.set()

    def schedules_changed(self) -> None:
        """One may fire earlier than all others."""
        self._moved.set()

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.state not in TERMINAL or not change.group.startswith(GROUP_PREFIX):
                continue
            # Most functions have no triggers, and a look at the store for each end would be felt.
            if self._followed is None or change.group.rpartition(".")[2] in self._followed:
                self._news.set()
                return

    async def _settling(self) -> None:
        while True:
            self._news = anyio.Event()
            try:
                if self._followed is None:
                    await self._learn_followed()
                await self._settle_all()
            except (Unavailable, Overloaded) as error:
                log.warning("triggers_paused", reason=str(error))
                await self._clock.sleep(TROUBLE_PAUSE_S)
                continue
            with anyio.move_on_after(LOOK_EVERY_S):
                await self._news.wait()

    async def _learn_followed(self) -> None:
        revision = self._revision
        followed = await self._function_resources.followed()
        if revision == self._revision:
            self._followed = followed

    async def _settle_all(self) -> None:
        after = 0
        while found := await self._store.unsettled(after, AT_ONCE):
            after = found[-1].seq
            for view in found:
                try:
                    await self._settle(view)
                except (Unavailable, Overloaded):
                    raise
                except Exception:
                    # A defect must cost this call what follows it, and not all others.
                    log.exception("call_not_settled", call=view.call.id)

    async def _settle(self, view: InvocationView) -> None:
        issues: list[NewInvocation] = []
        call = view.call
        status = view.status
        if status is None:
            status = 408 if view.reason is Reason.TIMEOUT else 500
        if call.origin.links < MOST_LINKS:
            for one in await self._function_resources.triggers(call.function_id, self._clock.now()):
                if one.workspace != call.workspace or one.status not in {None, status}:
                    continue
                caller = Caller(f"trigger {one.id}", call.workspace, Role.WRITE)
                request = CallRequest()
                if one.include_result:
                    request = await self._request_of(caller, view)
                origin = CallOrigin(trigger_id=one.id, links=call.origin.links + 1)
                issue = await self._issue(caller, one.next_id, request, origin)
                if issue is not None:
                    issues.append(issue)
        changes = await self._store.complete(call.id, issues, self._term())
        self._bus.publish(changes)
        if len(changes) < len(issues):
            log.info("calls_left_out", after=call.id, count=len(issues) - len(changes))

    async def _request_of(self, caller: Caller, view: InvocationView) -> CallRequest:
        """What a call answered, as the next one's request."""
        try:
            result = await self._invocations.result(caller, view)
        except CallFailed:
            return CallRequest()
        headers = [pair for pair in result.headers if pair[0].lower() == "content-type"]
        return CallRequest(body=result.body or b"", headers=tuple(headers))

    async def _issue(
        self, caller: Caller, function_id: str, request: CallRequest, origin: CallOrigin
    ) -> NewInvocation | None:
        """None if the function takes no calls now."""
        try:
            quota = self._invocations.quota(caller.workspace)
            return await self._invocations.prepare(caller, function_id, request, origin, quota)
        except (Unavailable, Overloaded):
            raise
        except TaskyardError as error:
            log.info("call_left_out", actor=caller.actor, reason=str(error))
            return None

    async def _firing(self) -> None:
        while True:
            self._moved = anyio.Event()
            try:
                pause_s = await self._fire_due()
            except (Unavailable, Overloaded) as error:
                log.warning("schedules_paused", reason=str(error))
                pause_s = TROUBLE_PAUSE_S
            with anyio.move_on_after(pause_s):
                await self._moved.wait()

    async def _fire_due(self) -> float:
        now = self._clock.now()
        for was, schedule in await self._function_resources.due(now, AT_ONCE):
            try:
                await self._fire(schedule, was, now)
            except (Unavailable, Overloaded):
                raise
            except Exception as error:
                # Such as a time zone that this machine has lost: the others are due all the same.
                log.exception("schedule_not_fired", schedule=schedule.id)
                reason = str(error)
                await self._parking.park("schedule", schedule.id, schedule.workspace, reason, now)
        next_at = await self._function_resources.next_due()
        if next_at is None:
            return LONGEST_SLEEP_S
        return min(max(seconds_between(self._clock.now(), next_at), 0.01), LONGEST_SLEEP_S)

    async def _fire(self, schedule: Schedule, was: Instant, now: Instant) -> None:
        # Those missed while nobody was there are skipped; one that is a little late is not missed.
        owed, to = firings_due(schedule.cron, schedule.timezone, was, now, CatchUp.NONE, 1)
        issue = None
        if owed:
            caller = Caller(f"schedule {schedule.id}", schedule.workspace, Role.WRITE)
            origin = CallOrigin(schedule_id=schedule.id)
            issue = await self._issue(caller, schedule.function_id, request_of(schedule), origin)
        change = await self._store.fire(schedule, was, to, issue, self._term())
        if change is not None:
            self._bus.publish((change,))
        elif issue is not None:
            log.info("calls_left_out", after=schedule.id, count=1)


def request_of(schedule: Schedule) -> CallRequest:
    """What a schedule asks its function."""
    kind = schedule.content_type
    headers = (("content-type", kind),) if kind else ()
    return CallRequest(body=schedule.body, headers=headers, query=schedule.query)
