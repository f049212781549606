"""What the tests of access, secrets and webhooks share: a store on disk and a clock to turn."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.lowlevel import checkpoint
from argon2 import PasswordHasher

from fakes.stores import Probe, probes
from taskyard.core.access.principals import Caller, Role
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import SECOND, Instant
from taskyard.services.access.accounts import Accounts
from taskyard.services.access.audit import Audit
from taskyard.services.access.encryption import Encryption, KeyFile
from taskyard.services.access.passwords import Passwords
from taskyard.services.access.secrets import Secrets
from taskyard.store.sql.access import AUDIT_KEPT, SqlAccessStore
from taskyard.store.sql.webhooks import SqlWebhookStore
from taskyard.store.sqlite.migrate import migrate
from taskyard.store.sqlite.store import SqliteStore

A = WorkspaceName("a")
B = WorkspaceName("b")
ADMIN_A = Caller("user root-a", A, Role.ADMIN, "192.0.2.1")
ADMIN_B = Caller("user root-b", B, Role.ADMIN)
LOCAL = Caller("local", WorkspaceName("default"), Role.ADMIN)


class VirtualClock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self._now = 1_700_000_000 * SECOND
        self._sleepers: list[tuple[int, anyio.Event]] = []

    def now(self) -> Instant:
        """The time as it was set last."""
        return Instant(self._now)

    async def sleep(self, seconds: float) -> None:
        """Until the time was turned forward by that much."""
        if seconds <= 0:
            await checkpoint()
            return
        event = anyio.Event()
        sleeper = (self._now + round(seconds * SECOND), event)
        self._sleepers.append(sleeper)
        try:
            await event.wait()
        finally:
            self._sleepers.remove(sleeper)

    def advance(self, seconds: float) -> None:
        """Turn the time forward and wake whoever slept until then."""
        self._now += round(seconds * SECOND)
        for due_at, event in self._sleepers:
            if due_at <= self._now:
                event.set()


@dataclass
class World:
    """One open store, and the services on it."""

    path: Path
    clock: VirtualClock
    probe: Probe
    store: SqlAccessStore
    webhook_store: SqlWebhookStore
    audit: Audit
    access: Accounts
    encryption: Encryption
    secrets: Secrets


def template(directory: Path) -> Path:
    """An empty store, to be copied."""
    path = directory / "template.sqlite3"
    migrate(path)
    return path


@asynccontextmanager
async def world(
    template_path: Path,
    directory: Path,
    clock: VirtualClock | None = None,
    *,
    audit_kept: int = AUDIT_KEPT,
) -> AsyncIterator[World]:
    """Open the store in ``directory``, copied from the template if there is none yet."""
    path = directory / "taskyard.sqlite3"
    if not path.exists():
        shutil.copy(template_path, path)
    clock = clock or VirtualClock()
    opened = SqliteStore(directory)
    with probes(audit_kept):
        await opened.open()
    store = opened.access
    audit = Audit(store, clock)
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    encryption = Encryption(KeyFile(directory / "secret.key"), store.sample)
    try:
        yield World(
            path=path,
            clock=clock,
            probe=Probe(opened.session),
            store=store,
            webhook_store=opened.webhooks,
            audit=audit,
            access=Accounts(store, clock, audit, Passwords(cheap)),
            encryption=encryption,
            secrets=Secrets(store, clock, audit, encryption),
        )
    finally:
        await opened.close()
