"""Sends webhook messages: in the background, bounded, at least once.

The outbox is in the store; here is only what is under way. A result is stored after the answer
came, so a crash in between sends the message again with the same ``webhook-id``, by which the
receiver can tell. What the store says is pending and is not under way here is to be sent.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup

from taskyard.core.errors import Overloaded, TaskyardError, Unavailable
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant, after, seconds_between
from taskyard.core.notifications.messages import next_try_by
from taskyard.core.notifications.webhooks import DeliveryState, Try, next_try, signed_headers
from taskyard.ports.clock import Clock
from taskyard.ports.outgoing import Answer, HttpSender, MailSender, Post, SendFailed
from taskyard.ports.webhooks import DueDelivery, WebhookStore
from taskyard.services.notifications.message_sender import MessageSender

AT_ONCE: Final = 64
"""Tries under way in all."""
AT_ONCE_OF_WORKSPACE: Final = 32
AT_ONCE_OF_HOST: Final = 4
DEADLINE_S: Final = 10.0
WINDOW: Final = 256
"""Due deliveries read at a time. Those of hosts at their limit cannot fill what is read of their
workspace (64) while it has room: 7 such hosts show 8 each, and fewer than 8 others are under way
elsewhere. Nor can workspaces at their limit fill the window: fewer than three are."""
ANSWER_KEPT: Final = 2048
ERROR_KEPT: Final = 500
STOP_GRACE_S: Final = 5.0
PACE_S: Final = 0.02
"""Least time between two looks into the store: many pokes cost one look."""
LONGEST_REST_S: Final = 60.0
TROUBLE_PAUSE_S: Final = 1.0
CLAIM_GRACE_S: Final = 30.0
"""How much longer than a try it is kept from other control planes: to store its result."""

log = structlog.get_logger(__name__)


class WebhookSender:
    """A background service; its clock decides when a try is due."""

    def __init__(
        self,
        store: WebhookStore,
        sender: HttpSender,
        key: Callable[[WorkspaceName], Awaitable[bytes]],
        clock: Clock,
        deadline_s: float = DEADLINE_S,
        mail: MailSender | None = None,
        at_once: int = AT_ONCE,
        of_workspace: int = AT_ONCE_OF_WORKSPACE,
    ) -> None:
        """``of_workspace`` of the tries under way may be of one workspace."""
        self._at_once = at_once
        self._of_workspace = min(of_workspace, at_once)
        self._messages = MessageSender(sender, mail)
        self._store = store
        self._sender = sender
        self._key = key
        self._clock = clock
        self._deadline_s = deadline_s
        self._wake = anyio.Event()
        self._stopping = False
        self._stopped: anyio.Event | None = None
        self._under_way: dict[str, tuple[str, WorkspaceName]] = {}
        """Host and workspace by id of the delivery."""
        self._settled: list[str] = []

    async def start(self, tasks: TaskGroup) -> None:
        """Begin to send. Does nothing if it was begun before and not stopped."""
        if self._stopped is not None:
            return
        self._stopping = False
        self._stopped = anyio.Event()
        tasks.start_soon(self._run, self._stopped)

    async def stop(self) -> None:
        """Begin no more tries, wait a little for those under way, then give them up."""
        stopped = self._stopped
        if stopped is None:
            return
        self._stopping = True
        self.wake()
        await stopped.wait()

    def wake(self) -> None:
        """Look into the store soon."""
        self._wake.set()

    async def _run(self, stopped: anyio.Event) -> None:
        try:
            async with anyio.create_task_group() as tries:
                await self._begin_due(tries)
                tries.cancel_scope.deadline = anyio.current_time() + STOP_GRACE_S
        finally:
            self._under_way.clear()
            self._settled.clear()
            self._stopped = None
            stopped.set()

    async def _begin_due(self, tries: TaskGroup) -> None:
        while not self._stopping:
            # In this order: a wake-up or a result during the look is seen by the next one.
            self._wake = anyio.Event()
            for delivery_id in self._settled:
                del self._under_way[delivery_id]
            self._settled.clear()
            now = self._clock.now()
            try:
                due, next_at = await self._store.due(now, WINDOW)
                chosen = await self._claimed(self._chosen(due), now)
            except TaskyardError as error:
                log.warning("webhook_store_trouble", error=str(error))
                await self._rest(TROUBLE_PAUSE_S)
                continue
            except Exception:
                # Nobody begins this loop again: it has to outlive a defect.
                log.exception("webhook_store_defect")
                await self._rest(TROUBLE_PAUSE_S)
                continue
            for one in chosen:
                self._under_way[one.id] = one.host, one.workspace
                tries.start_soon(self._deliver, one)
            await anyio.sleep(PACE_S)
            await self._rest(self._rest_s(next_at))

    async def _claimed(self, chosen: list[DueDelivery], now: Instant) -> list[DueDelivery]:
        """Those that no other control plane is about to try.

        A claim lasts longer than a try: the message of one that was claimed and never tried, as
        its control plane died, is due again afterwards.
        """
        if not chosen:
            return []
        longest_s = max(self._deadline_of(one) for one in chosen)
        until = after(now, longest_s + CLAIM_GRACE_S)
        mine = await self._store.claim([one.id for one in chosen], now, until)
        return [one for one in chosen if one.id in mine]

    def _deadline_of(self, due: DueDelivery) -> float:
        return self._deadline_s if due.policy is None else due.policy.timeout_s

    def _chosen(self, due: Sequence[DueDelivery]) -> list[DueDelivery]:
        """As many as may be tried at once, in all, at one host, of one workspace."""
        chosen: list[DueDelivery] = []
        of_host = Counter(host for host, _ in self._under_way.values())
        of_workspace = Counter(workspace for _, workspace in self._under_way.values())
        for one in due:
            if len(self._under_way) + len(chosen) >= self._at_once:
                break
            if (
                one.id in self._under_way
                or of_host[one.host] >= AT_ONCE_OF_HOST
                or of_workspace[one.workspace] >= self._of_workspace
            ):
                continue
            of_host[one.host] += 1
            of_workspace[one.workspace] += 1
            chosen.append(one)
        return chosen

    def _rest_s(self, next_at: Instant | None) -> float:
        # Never for long: the wall clock, which says what is due, may be set meanwhile.
        if next_at is None:
            return LONGEST_REST_S
        return min(max(seconds_between(self._clock.now(), next_at), 0.0), LONGEST_REST_S)

    async def _rest(self, seconds: float) -> None:
        """Until poked, but not longer than this."""
        async with anyio.create_task_group() as either:

            async def alarm() -> None:
                await self._clock.sleep(seconds)
                either.cancel_scope.cancel()

            either.start_soon(alarm)
            await self._wake.wait()
            either.cancel_scope.cancel()

    async def _deliver(self, due: DueDelivery) -> None:
        try:
            await self._deliver_once(due)
        except Exception:
            # A defect must cost this delivery a while, and not all others their sender.
            log.exception("webhook_defect", delivery_id=due.id)
            await self._clock.sleep(LONGEST_REST_S)
        self._settled.append(due.id)
        self.wake()

    async def _deliver_once(self, due: DueDelivery) -> None:
        made = await self._try(due)
        if made.error is None:
            state, next_at = DeliveryState.DELIVERED, None
        else:
            failed, now = due.failed_tries + 1, self._clock.now()
            policy = due.policy
            next_at = next_try(failed, now) if policy is None else next_try_by(policy, failed, now)
            state = DeliveryState.FAILED if next_at is None else DeliveryState.PENDING
        log.info(
            "webhook_tried",
            delivery_id=due.id,
            host=due.host,
            state=state.value,
            status=made.status,
            error=made.error,
        )
        await self._record(due.id, made, state, next_at)

    async def _record(
        self, delivery_id: str, made: Try, state: DeliveryState, next_at: Instant | None
    ) -> None:
        """Retry until it is stored: a full disk is no reason to send the message again."""
        while True:
            try:
                await self._store.record_try(delivery_id, made, state, next_at)
            except (Unavailable, Overloaded) as error:
                log.warning("webhook_store_trouble", delivery_id=delivery_id, error=str(error))
                await self._clock.sleep(TROUBLE_PAUSE_S)
            else:
                return

    async def _try(self, due: DueDelivery) -> Try:
        at = self._clock.now()
        began = time.monotonic()
        answer: Answer | None = None
        error: str | None = None
        policy = due.policy
        deadline_s = self._deadline_of(due)
        try:
            with anyio.fail_after(deadline_s):
                if policy is None:
                    answer = await self._sender.send(await self._post(due, at))
                else:
                    answer = await self._messages.send(due, policy)
        except TimeoutError:
            error = f"no complete answer within {deadline_s:g} s"
        except SendFailed as failed:
            error = str(failed)
        except TaskyardError as failed:
            error = f"could not be signed: {failed}"
        except Exception:
            # A defect must cost this delivery a try, and not all others their sender.
            log.exception("webhook_defect", delivery_id=due.id)
            error = "internal error"
        # Messages in the forms of others are delivered by the rule of others.
        good_below = 300 if policy is None else 400
        if answer is not None and not 200 <= answer.status < good_below:
            error = f"answered {answer.status}"
            if 300 <= answer.status < 400:
                error += "; redirects are not followed"
        return Try(
            at=at,
            duration_ms=round((time.monotonic() - began) * 1000),
            status=None if answer is None else answer.status,
            error=None if error is None else error[:ERROR_KEPT],
            answer=None if answer is None else answer.body[:ANSWER_KEPT].decode(errors="replace"),
            headers={} if answer is None or policy is None else answer.headers,
        )

    async def _post(self, due: DueDelivery, now: Instant) -> Post:
        key = await self._key(due.workspace)
        headers = {
            **due.headers,
            "content-type": "application/json",
            **signed_headers(key, due.id, now, due.body),
        }
        return Post(due.url, headers, due.body)
