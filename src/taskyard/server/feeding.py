"""Has this control plane hear what all control planes of its database commit."""

from collections.abc import Awaitable, Callable

from taskyard.core.changes import Cached
from taskyard.ports.clock import Clock
from taskyard.ports.messages import Messages
from taskyard.server.storage import Storage
from taskyard.server.wiring.wired import Wired
from taskyard.services.loops import Loop
from taskyard.services.notifications.cache_refresh import CacheRefresh
from taskyard.services.notifications.change_feed import ChangeFeed


async def begin_feed(
    storage: Storage, wired: Wired, messages: Messages | None, clock: Clock
) -> dict[str, Loop]:
    """Begin where the log of changes ends now; answers with the loops that go on from there.

    Before anything else is read from the store: what is read later may only be newer. There are no
    loops if nobody shares the store.

    Args:
        storage: is open.
        wired: all services, on a bus that is fed if the store has such a log.
        messages: to the other control planes; without, each looks twice a second.
        clock: for pauses.

    Raises:
        Unavailable: the database is away.
    """
    if storage.changes is None:
        return {}
    caches, counted = _caches(wired, clock), wired.counters.replace
    dispatch = wired.engine.dispatch
    feed = ChangeFeed(
        storage.changes,
        wired.engine.bus,
        caches,
        clock,
        messages,
        counted,
        lambda: dispatch.is_active,
    )
    storage.on_announced(feed.committed)
    heard = wired.identities.heard
    wired.engine.bus.listen(lambda changes: heard({change.workspace for change in changes}))
    planes = wired.engine.control_planes
    planes.hears_changes = lambda: not feed.is_behind
    planes.feed_behind_s = lambda: feed.behind_s
    if messages is not None:
        planes.hears_messages = lambda: messages.is_connected
    await feed.start()
    return {"changes": feed.run, "caches": caches.run, "old_changes": feed.prune}


def _caches(wired: Wired, clock: Clock) -> CacheRefresh:
    """Everything that services keep in memory; see ``docs/explanation/control-planes.md``."""
    engine, caches = wired.engine, CacheRefresh(clock)
    caches.forgets(Cached.TOKEN, engine.access.token_changed)
    caches.forgets(Cached.USER, engine.access.user_changed)
    caches.forgets(Cached.MAINTENANCE, lambda _key: engine.maintenance.forget())
    caches.forgets(Cached.LIMITS, engine.lists.forget_limits)
    caches.forgets(Cached.JOBS, lambda _key: wired.job_keeping.starts_changed())
    caches.forgets(Cached.SCHEDULES, lambda _key: wired.triggers.look_again())
    caches.forgets(Cached.DELIVERIES, lambda _key: engine.webhooks.wake())
    caches.reads(Cached.FUNCTIONS, _whole(engine.functions.load))
    caches.reads(Cached.LIMITS, _whole(engine.dispatch.limits_changed))
    caches.reads(Cached.WORKERS, _whole(engine.workers.drains_changed))
    caches.reads(Cached.LIST, engine.lists.refresh)
    engine.lists.doubted = lambda key: caches.changed(Cached.LIST, f"{key.workspace}/{key.group}")
    return caches


def _whole(read: Callable[[], Awaitable[None]]) -> Callable[[str | None], Awaitable[None]]:
    """What reads everything, whatever is outdated of it."""

    async def read_all(_key: str | None) -> None:
        await read()

    return read_all
