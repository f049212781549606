"""The outbox of webhook messages in SQLite.

:func:`enqueue` and :func:`forget` run inside the task store's own transactions, so that a message
exists exactly if the change that it reports was committed.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from taskyard.core.access.principals import AuditEntry
from taskyard.core.access.redaction import SECRET_WORDS
from taskyard.core.attempts import Attempt
from taskyard.core.changes import Cached
from taskyard.core.errors import NotFound
from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.notifications.messages import DeliveryKind, DeliveryPolicy, Dispatched, Message
from taskyard.core.notifications.webhook_payload import payload
from taskyard.core.notifications.webhooks import Delivery, DeliveryState, Try, delivery_id, host_of
from taskyard.core.tasks import Task, WebhookEvent
from taskyard.ports.webhooks import (
    DUE_OF_HOST,
    DUE_OF_WORKSPACE,
    HOSTS_LOOKED_AT,
    DueDelivery,
)
from taskyard.store.sql.access import append_audit
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.locks import lock_deliveries, lock_delivery
from taskyard.store.sql.parking import put_aside, readmit, reason_of
from taskyard.store.sql.transactions import Repository, writes

TRIES_KEPT: Final = 50
"""Tries of one delivery that stay to be looked at; redelivering could add to them without end."""

_LAST: Final = 2**63 - 1
DISPATCHES: Final = 64
"""Tries at the messages about one task that are shown."""


def enqueue(
    connection: Connection,
    task: Task,
    attempt: Attempt | None,
    events: Sequence[WebhookEvent],
    now: Instant,
    words: Sequence[str] = SECRET_WORDS,
) -> int:
    """Add the messages that these events of a task give rise to; call it in their transaction.

    ``task`` and ``attempt`` are as they are after the change. Doing it twice adds nothing.
    Answers with how many messages there are to send: the sender is to be poked if any.
    """
    count = 0
    bodies: dict[WebhookEvent, bytes] = {}
    for position, webhook in enumerate(task.spec.webhooks):
        for event in events:
            if event not in webhook.events:
                continue
            if event not in bodies:
                bodies[event] = payload(task, attempt, event, now, words)
            attempt_id = None if attempt is None else attempt.id
            cursor = connection.execute(
                "webhooks.enqueue",
                {
                    "id": delivery_id(task.id, event, attempt_id, position),
                    "workspace": task.workspace,
                    "task_id": task.id,
                    "attempt_id": attempt_id,
                    "event": event.value,
                    "url": webhook.url,
                    "host": host_of(webhook.url),
                    "headers": msgspec.json.encode(webhook.headers).decode(),
                    "body": bodies[event],
                    "now": now,
                },
            )
            count += cursor.rowcount
    return count


def enqueue_messages(
    connection: Connection,
    workspace: WorkspaceName,
    task_id: TaskId,
    messages: Sequence[Message],
    now: Instant,
) -> int:
    """Add messages that a dialect worded, in the transaction of what they report.

    Doing it twice adds nothing. Answers with how many there are to send.
    """
    count = 0
    for one in messages:
        is_mail = one.kind is DeliveryKind.MAIL
        values = {
            "id": delivery_id(task_id, one.event, None, one.position),
            "workspace": workspace,
            "task_id": task_id,
            "event": one.event.value,
            "url": f"mailto:{one.target}" if is_mail else one.target,
            "host": "mailto:" if is_mail else _host(one.target),
            "headers": msgspec.json.encode(one.headers).decode(),
            "body": one.body,
            "now": now,
            "kind": one.kind.value,
            "policy": msgspec.json.encode(one.policy).decode(),
        }
        count += connection.execute("jobs.enqueue_message", values).rowcount
    return count


def _host(url: str) -> str:
    try:
        return host_of(url)
    except ValueError:  # it will be refused when it is tried, and recorded so
        return ""


def forget(connection: Connection, task_ids: Iterable[TaskId]) -> None:
    """Remove all messages about tasks that are being removed, sent or not."""
    keys = [{"task_id": task_id} for task_id in task_ids]
    for key in keys:
        lock_deliveries(connection, key["task_id"])
        connection.execute("webhooks.forget_tries", key)
        connection.execute("webhooks.forget_deliveries", key)


class SqlWebhookStore(Repository):
    """Implements the webhook store."""

    async def due(self, now: Instant, limit: int) -> tuple[list[DueDelivery], Instant | None]:
        """See ``WebhookStore``."""
        key = {
            "now": now,
            "limit": limit,
            "hosts": HOSTS_LOOKED_AT,
            "of_host": DUE_OF_HOST,
            "of_workspace": DUE_OF_WORKSPACE,
        }

        def operation(
            connection: Connection,
        ) -> tuple[list[DueDelivery], Instant | None]:
            (next_at,) = connection.execute("webhooks.next_due", {"now": now}).fetchone()
            for row in connection.execute("webhooks.due", key).fetchall():
                try:
                    found.append(_due(row))
                except Exception as error:  # noqa: BLE001 - whatever it is, the others are due
                    unreadable.append((row[0], row[1], error))
            return found, next_at

        found: list[DueDelivery] = []
        unreadable: list[tuple[str, str, Exception]] = []
        answer = await self._session.read(operation)
        if unreadable:
            await self._park([(one, owner, reason_of(e)) for one, owner, e in unreadable], now)
        return answer

    async def claim(
        self, delivery_ids: Sequence[str], now: Instant, until: Instant
    ) -> frozenset[str]:
        """See ``WebhookStore``."""
        if not self._session.is_shared:
            return frozenset(delivery_ids)
        return await self._claim(sorted(delivery_ids), now, until)

    @writes
    async def _claim(
        self, delivery_ids: Sequence[str], now: Instant, until: Instant
    ) -> frozenset[str]:
        def operation(connection: Connection) -> frozenset[str]:
            moment = {"now": now, "until": until}
            return frozenset(
                one
                for one in delivery_ids
                if connection.execute("webhooks.claim", {**moment, "id": one}).rowcount
            )

        return await self._session.write_urgently(operation)

    @writes
    async def _park(self, deliveries: Sequence[tuple[str, str, str]], now: Instant) -> None:
        def operation(connection: Connection) -> None:
            for key, workspace, reason in deliveries:
                put_aside(connection, "delivery", key, workspace, reason, now)

        await self._session.write(operation)

    @writes
    async def record_try(
        self, delivery_id: str, made: Try, state: DeliveryState, next_at: Instant | None
    ) -> None:
        """See ``WebhookStore``."""
        values = msgspec.structs.asdict(made)
        values["headers"] = msgspec.json.encode(made.headers).decode() if made.headers else None
        delivered_at = made.at if state is DeliveryState.DELIVERED else None

        def operation(connection: Connection) -> None:
            lock_delivery(connection, delivery_id)
            row = connection.execute("webhooks.pending_number", {"id": delivery_id}).fetchone()
            if row is None:
                return
            readmit(connection, "delivery", delivery_id)
            number, tries = row
            result = {
                "number": number,
                "state": state.value,
                "next_at": next_at,
                "delivered_at": delivered_at,
                "status": made.status,
                "error": made.error,
            }
            connection.execute("webhooks.record_result", result)
            connection.execute(
                "webhooks.insert_try", {**values, "delivery": number, "number": tries + 1}
            )
            if tries >= TRIES_KEPT:
                oldest = {"delivery": number, "number": tries + 1 - TRIES_KEPT}
                connection.execute("webhooks.trim_tries", oldest)

        await self._session.write_urgently(operation)

    @writes
    async def redeliver(
        self, workspace: WorkspaceName, delivery_id: str, now: Instant, entry: AuditEntry
    ) -> Delivery:
        """See ``WebhookStore``."""
        key = {"workspace": workspace, "id": delivery_id}

        def operation(connection: Connection) -> Delivery:
            readmit(connection, "delivery", delivery_id)
            if not connection.execute("webhooks.redeliver", {**key, "now": now}).rowcount:
                raise NotFound("delivery", delivery_id)
            append_audit(connection, entry)
            self._session.counts.outdate(Cached.DELIVERIES)
            return _with_tries(connection, connection.execute("webhooks.delivery", key).fetchone())

        return await self._session.write(operation)

    async def delivery(self, workspace: WorkspaceName, delivery_id: str) -> Delivery:
        """See ``WebhookStore``."""
        key = {"workspace": workspace, "id": delivery_id}

        def operation(connection: Connection) -> Delivery:
            row = connection.execute("webhooks.delivery", key).fetchone()
            if row is None:
                raise NotFound("delivery", delivery_id)
            return _with_tries(connection, row)

        return await self._session.read(operation)

    async def deliveries(
        self,
        workspace: WorkspaceName,
        state: DeliveryState | None,
        before: int | None,
        limit: int,
    ) -> list[Delivery]:
        """See ``WebhookStore``."""
        key = {
            "workspace": workspace,
            "before": _LAST if before is None else before,
            "limit": limit,
        }
        sql = "webhooks.deliveries"
        if state is not None:
            sql, key["state"] = "webhooks.deliveries_in_state", state.value

        def operation(connection: Connection) -> list[Delivery]:
            return [_delivery(row) for row in connection.execute(sql, key)]

        return await self._session.read(operation)

    async def deliveries_of(
        self, workspace: WorkspaceName, task_id: TaskId, limit: int
    ) -> list[Delivery]:
        """See ``WebhookStore``."""
        key = {"workspace": workspace, "task_id": task_id, "limit": limit}

        def operation(connection: Connection) -> list[Delivery]:
            rows = connection.execute("webhooks.deliveries_of_task", key).fetchall()
            return [_with_tries(connection, row) for row in rows]

        return await self._session.read(operation)

    async def dispatches(self, workspace: WorkspaceName, task_id: TaskId) -> list[Dispatched]:
        """See ``WebhookStore``."""
        key = {"workspace": workspace, "task_id": task_id, "limit": DISPATCHES}

        def operation(connection: Connection) -> list[Dispatched]:
            rows = connection.execute("webhooks.dispatches_of_task", key).fetchall()
            return [_dispatched(row) for row in reversed(rows)]

        return await self._session.read(operation)

    async def signing_key(self, workspace: WorkspaceName) -> bytes | None:
        """See ``WebhookStore``."""

        def operation(connection: Connection) -> bytes | None:
            row = connection.execute("webhooks.signing_key", {"workspace": workspace}).fetchone()
            return row[0] if row else None

        return await self._session.read(operation)

    @writes
    async def add_signing_key(self, workspace: WorkspaceName, sealed: bytes, now: Instant) -> bytes:
        """See ``WebhookStore``."""
        key = {"workspace": workspace}

        def operation(connection: Connection) -> bytes:
            connection.execute("webhooks.add_signing_key", {**key, "value": sealed, "now": now})
            kept: bytes = connection.execute("webhooks.signing_key", key).fetchone()[0]
            return kept

        return await self._session.write(operation)


def _due(row: Sequence[Any]) -> DueDelivery:
    headers = msgspec.json.decode(row[4], type=dict[str, str])
    policy = None if row[8] is None else msgspec.json.decode(row[8], type=DeliveryPolicy)
    kind = DeliveryKind(row[7])
    return DueDelivery(row[0], row[1], row[2], row[3], headers, row[5], row[6], kind, policy)


def _dispatched(row: Sequence[Any]) -> Dispatched:
    return Dispatched(
        at=row[0],
        url=row[1],
        status=row[2],
        error=row[3],
        request_headers=msgspec.json.decode(row[4], type=dict[str, str]),
        request_body=row[5] or b"",
        answer_headers={} if row[6] is None else msgspec.json.decode(row[6], type=dict[str, str]),
        answer_body=row[7] or "",
    )


def _delivery(row: Sequence[Any], tries: tuple[Try, ...] = ()) -> Delivery:
    return Delivery(
        number=row[0],
        id=row[1],
        workspace=row[2],
        task_id=row[3],
        attempt_id=row[4],
        event=WebhookEvent(row[5]),
        url=row[6],
        state=DeliveryState(row[7]),
        created_at=row[8],
        attempt_count=row[9],
        next_at=row[10],
        delivered_at=row[11],
        last_status=row[12],
        last_error=row[13],
        tries=tries,
    )


def _with_tries(connection: Connection, row: Sequence[Any]) -> Delivery:
    rows = connection.execute("webhooks.tries", {"delivery": row[0]})
    return _delivery(row, tuple(Try(*made) for made in rows))
