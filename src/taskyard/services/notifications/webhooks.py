"""Webhooks as callers see them: looking at deliveries, redelivering, the signing key.

The sending itself is in :mod:`taskyard.services.notifications.webhook_sender`.
"""

import secrets
from collections.abc import Sequence
from typing import Final

import anyio
from anyio.abc import TaskGroup

from taskyard.core.access.principals import Caller, Role
from taskyard.core.changes import Change
from taskyard.core.errors import NotAllowed
from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.core.notifications.messages import Dispatched
from taskyard.core.notifications.webhooks import Delivery, DeliveryState, key_text
from taskyard.ports.access import EncryptedValue
from taskyard.ports.clock import Clock
from taskyard.ports.outgoing import HttpSender, MailSender
from taskyard.ports.webhooks import WebhookStore
from taskyard.services.access.audit import Audit
from taskyard.services.access.encryption import Encryption
from taskyard.services.access.permissions import require
from taskyard.services.notifications.webhook_sender import (
    AT_ONCE,
    AT_ONCE_OF_WORKSPACE,
    DEADLINE_S,
    WebhookSender,
)

KEY_BYTES: Final = 32
KEYS_REMEMBERED: Final = 1000
OF_TASK_LIMIT: Final = 500
"""Deliveries of one task that are shown."""


class SigningKeys:
    """The key of each workspace; made when it is first needed, sealed at rest."""

    def __init__(self, store: WebhookStore, encryption: Encryption, clock: Clock) -> None:
        self._store = store
        self._encryption = encryption
        self._clock = clock
        self._plain: dict[WorkspaceName, bytes] = {}

    async def get(self, workspace: WorkspaceName) -> bytes:
        """The plain key. Raises ``Unavailable`` if it cannot be opened or made now."""
        plain = self._plain.get(workspace)
        if plain is None:
            sealed = await self._store.signing_key(workspace)
            if sealed is None:
                fresh = secrets.token_bytes(KEY_BYTES)
                sealed = await self._store.add_signing_key(
                    workspace,
                    await self._encryption.seal("signing_key", workspace, "", fresh),
                    self._clock.now(),
                )
            plain = await self._encryption.open(
                EncryptedValue("signing_key", workspace, "", sealed)
            )
            while len(self._plain) >= KEYS_REMEMBERED:
                del self._plain[next(iter(self._plain))]
            self._plain[workspace] = plain
        return plain


class Webhooks:
    """Reports moments of tasks to the outside."""

    def __init__(
        self,
        store: WebhookStore,
        sender: HttpSender,
        encryption: Encryption,
        audit: Audit,
        clock: Clock,
        deadline_s: float = DEADLINE_S,
        mail: MailSender | None = None,
        at_once: int = AT_ONCE,
        of_workspace: int = AT_ONCE_OF_WORKSPACE,
    ) -> None:
        """Prepare; ``deadline_s`` is how long one try may take; so many are ``at_once`` under way,
        and ``of_workspace`` of them of one workspace.
        """
        self._store = store
        self._audit = audit
        self._clock = clock
        self._keys = SigningKeys(store, encryption, clock)
        self._sending = WebhookSender(
            store, sender, self._keys.get, clock, deadline_s, mail, at_once, of_workspace
        )

    async def start(self, tasks: TaskGroup) -> None:
        """Send in the background, beginning with what an earlier process left. May be repeated."""
        await self._sending.start(tasks)

    async def stop(self) -> None:
        """Let tries under way end for a few seconds, then give them up. May be repeated."""
        await self._sending.stop()

    async def run(self, tasks: TaskGroup) -> None:
        """Send, in this task group, until cancelled; tries under way then get a while to end."""
        await self.start(tasks)
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await self.stop()

    def wake(self) -> None:
        """There may be something new to send."""
        self._sending.wake()

    def on_changes(self, changes: Sequence[Change]) -> None:
        """For the announcement of committed changes: wake if one led to a message."""
        if any(change.deliveries for change in changes):
            self._sending.wake()

    async def delivery(self, caller: Caller, delivery_id: str) -> Delivery:
        """With its tries. Raises ``NotFound``."""
        return await self._store.delivery(caller.workspace, delivery_id)

    async def deliveries(
        self,
        caller: Caller,
        state: DeliveryState | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Delivery]:
        """Newest first, with numbers below ``before``; without tries."""
        return await self._store.deliveries(caller.workspace, state, before, limit)

    async def of_task(self, caller: Caller, task_id: TaskId) -> list[Delivery]:
        """Those of one task, oldest first, with tries; empty also for an unknown task."""
        return await self._store.deliveries_of(caller.workspace, task_id, OF_TASK_LIMIT)

    async def dispatches(self, caller: Caller, task_id: TaskId) -> list[Dispatched]:
        """The tries at messages worded by a dialect about one task, oldest first."""
        return await self._store.dispatches(caller.workspace, task_id)

    async def redeliver(self, caller: Caller, delivery_id: str) -> Delivery:
        """Send it once more, regardless of its state. Raises ``NotAllowed`` or ``NotFound``.

        The message is the same, with the same id; its signature carries a new timestamp.
        """
        await self._enter(caller, Role.OPERATE, "webhook.redeliver", delivery_id)
        entry = self._audit.entry(caller, "webhook.redeliver", delivery_id)
        delivery = await self._store.redeliver(
            caller.workspace, delivery_id, self._clock.now(), entry
        )
        self._sending.wake()
        return delivery

    async def signing_key(self, caller: Caller) -> str:
        """The workspace's key as ``whsec_…``. Raises ``NotAllowed``, or ``Unavailable``."""
        await self._enter(caller, Role.ADMIN, "webhook.signing_key", None)
        return key_text(await self._keys.get(caller.workspace))

    async def _enter(self, caller: Caller, role: Role, action: str, target: str | None) -> None:
        try:
            require(caller, role)
        except NotAllowed as refused:
            await self._audit.not_allowed(caller, refused, action, target)
            raise
