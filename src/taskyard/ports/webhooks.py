"""The store port of webhooks: an outbox of messages.

Rows come in by the task store, in the very transaction of the state change they report; this port
is for whoever sends them and looks at them. Someone else's delivery is an unknown one.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from taskyard.core.access.principals import AuditEntry
from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.notifications.messages import DeliveryKind, DeliveryPolicy, Dispatched
from taskyard.core.notifications.webhooks import Delivery, DeliveryState, Try

DUE_OF_HOST = 8
"""Due deliveries to one host in one answer, at most: a slow one must not hide all others."""

DUE_OF_WORKSPACE = 64
"""The same of one workspace: one that sends much must not hide the others."""
HOSTS_LOOKED_AT = 256
"""Hosts of one workspace, by their names, whose messages are looked at each for itself; further
ones wait for a moment when these leave room."""


class DueDelivery(Struct, frozen=True):
    """What it takes to send one message."""

    id: str
    workspace: WorkspaceName
    host: str
    url: str
    headers: dict[str, str]
    """As given by the submitter: may hold credentials, never log them."""
    body: bytes
    failed_tries: int
    """Since it was created or last redelivered."""
    kind: DeliveryKind = DeliveryKind.SIGNED
    policy: DeliveryPolicy | None = None
    """How it is tried; None for our own way."""


class WebhookStore(Protocol):
    """Deliveries, their tries, and the workspaces' signing keys (sealed)."""

    async def due(self, now: Instant, limit: int) -> tuple[list[DueDelivery], Instant | None]:
        """Pending deliveries to try now, few of each host: of each workspace the one that is
        longest due, then the second of each, and so on.

        Also answers when the next one becomes due after ``now``; None for never.
        """
        ...

    async def claim(
        self, delivery_ids: Sequence[str], now: Instant, until: Instant
    ) -> frozenset[str]:
        """Keep deliveries that are due from being due again before ``until``.

        Answers with those that nobody else has claimed. Where one process alone has the store open
        nothing is written, and all are.
        """
        ...

    async def record_try(
        self, delivery_id: str, made: Try, state: DeliveryState, next_at: Instant | None
    ) -> None:
        """Note a try and what it led to; nothing happens unless the delivery is pending."""
        ...

    async def redeliver(
        self, workspace: WorkspaceName, delivery_id: str, now: Instant, entry: AuditEntry
    ) -> Delivery:
        """Make it pending and due, with all its tries available again. Raises ``NotFound``."""
        ...

    async def delivery(self, workspace: WorkspaceName, delivery_id: str) -> Delivery:
        """One delivery with its tries. Raises ``NotFound``."""
        ...

    async def deliveries(
        self,
        workspace: WorkspaceName,
        state: DeliveryState | None,
        before: int | None,
        limit: int,
    ) -> list[Delivery]:
        """Newest first, with numbers below ``before``; without tries."""
        ...

    async def deliveries_of(
        self, workspace: WorkspaceName, task_id: TaskId, limit: int
    ) -> list[Delivery]:
        """Those of one task, oldest first, with tries; empty for a task without any."""
        ...

    async def dispatches(self, workspace: WorkspaceName, task_id: TaskId) -> list[Dispatched]:
        """The latest tries at plain messages about a task, oldest first."""
        ...

    async def signing_key(self, workspace: WorkspaceName) -> bytes | None:
        """The sealed key of a workspace, if it has one."""
        ...

    async def add_signing_key(self, workspace: WorkspaceName, sealed: bytes, now: Instant) -> bytes:
        """Keep a key unless there is one already; answers with the one that is kept."""
        ...
