"""Serves until told to stop: signals, listeners, and the file that says who serves."""

import gc
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio
import structlog

from taskyard import __version__
from taskyard.dialects.http.bodies import Bodies
from taskyard.dialects.http.dialect import DialectContext
from taskyard.dialects.http.streams import Streams
from taskyard.dialects.native.dialect import Native
from taskyard.server.addresses import Address, url_of
from taskyard.server.app import Served, dashboard_pages, dialect_app, main_app
from taskyard.server.assemble import Node, assemble
from taskyard.server.browsers import browser_guard_of, browser_rules_of
from taskyard.server.connection_limit import ConnectionLimit
from taskyard.server.control_socket import bind_unix, local_admin
from taskyard.server.datadir import UMASK
from taskyard.server.fetching import GuardedFetcher
from taskyard.server.listeners import Listener, bind_tcp, started
from taskyard.server.logging import configure_logging
from taskyard.server.mounting import others
from taskyard.server.settings import Settings
from taskyard.server.stopping import exit_at_the_next, only

SERVER_FILE: Final = "server.json"
CONTROL_SOCKET: Final = "control.sock"
STREAMS_S: Final = 3.0
"""Seconds that streams get to say goodbye."""
THREADS_S: Final = 5.0
"""Seconds that threads get to end once everything else has."""
MOST_FILES: Final = 65_536

log = structlog.get_logger(__name__)


SWITCH_INTERVAL_S: Final = 0.0005
"""How long the event loop may keep the interpreter while a thread that reads the store wants it.
Such a thread gives it up at each statement; with Python's 5 ms it would wait more than read."""
COLLECT_EVERY: Final = (20_000, 20, 100)
"""How many new objects, and how many younger collections, a garbage collection waits for. Requests
leave hardly any cycles behind; with (700, 10, 10) looking for them takes a fifth of all time."""


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; a second one ends the process at once. Blocks; returns 0.

    Raises:
        OSError: an address cannot be listened on, or the data directory cannot be used.
        TaskyardError: whatever :func:`taskyard.server.assemble.assemble` raises.
    """
    os.umask(UMASK)
    configure_logging(settings.log_format, settings.log_level)
    _raise_file_limit()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    _calm_collector()
    try:
        anyio.run(_run_to_the_end, settings, backend_options={"use_uvloop": True})
    except BaseExceptionGroup as group:
        raise only(group) from group
    return 0


async def _run_to_the_end(settings: Settings) -> None:
    """Serve; then see to it that the process ends.

    A thread that waits for a database which hangs cannot be interrupted, and would be waited for.
    """
    await run(settings)
    timer = threading.Timer(THREADS_S, os._exit, (0,))
    timer.daemon = True
    timer.start()


async def run(settings: Settings, ready: anyio.Event | None = None) -> None:
    """Serve until a signal, or until cancelled. Raises as :func:`serve`."""
    rules = browser_guard_of(settings)
    # Bound first: whoever starts a second server by mistake is told before anything is touched.
    main = bind_tcp(settings.host, settings.port)
    addresses = settings.listeners()
    bound = [(one, bind_tcp(one.host, one.port)) for one in addresses]
    async with assemble(settings) as node:
        streams = Streams(settings.max_streams, settings.max_waits, settings.share_percent)

        fetch = GuardedFetcher(allow_private=settings.webhooks_may_go_private)
        context = DialectContext(
            node.engine, streams, settings.max_body_bytes, dev=settings.dev, fetch=fetch
        )
        served = Served(
            lambda prefix: Native(context, prefix),
            node.metrics,
            node.checks,
            dashboard_pages(),
            settings.access_log,
            others(settings, context),
            rules,
            browser_rules_of(settings),
            settings.proxies(),
            Bodies(settings.shares("bytes of request bodies", settings.max_bodies_bytes)),
            node.wired.identities.rules,
        )
        app = main_app(served)
        listeners = [
            Listener(main, app, settings.shutdown_s, connection_limit=_connection_limit(settings))
        ]
        for address, sock in bound:
            own = dialect_app(served, address.dialect)
            connection_limit = _connection_limit(settings)
            listeners.append(
                Listener(sock, own, settings.shutdown_s, connection_limit=connection_limit)
            )
        control_path = settings.data.absolute() / CONTROL_SOCKET
        control = bind_unix(control_path)
        if control is None:
            log.warning("no_control_socket", reason="its path is too long", path=str(control_path))
        else:
            listeners.append(Listener(control, local_admin(app), settings.shutdown_s, control=True))
        url = url_of(settings.host, main.getsockname()[1])
        stop = Stop(node, streams, listeners)
        # Before anything is answered: who is told that we are ready may tell us to stop.
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with _listening(listeners), _server_file(settings, url, control is not None):
                _greet(settings, url, [one.getsockname()[1] for _, one in bound], addresses)
                if ready is not None:
                    ready.set()
                is_told = False
                try:
                    is_told = await _until_signal(signals)
                finally:
                    with anyio.CancelScope(shield=True):
                        await stop.gracefully()
        if is_told:
            # The receiver has put the system's own handling back.
            exit_at_the_next()
        if control is not None:
            control_path.unlink(missing_ok=True)


def _connection_limit(settings: Settings) -> ConnectionLimit:
    """The connections of one listener."""
    return ConnectionLimit(settings.proxies(), settings.share_percent)


@dataclass(frozen=True, slots=True)
class Stop:
    """How serving ends."""

    node: Node
    streams: Streams
    listeners: list[Listener]

    async def gracefully(self) -> None:
        """End streams with a word, wake whoever waits, take no more requests."""
        log.info("stopping")
        await self.streams.close(STREAMS_S)
        self.node.engine.bus.close()
        for one in self.listeners:
            one.stop()


@asynccontextmanager
async def _listening(listeners: list[Listener]) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        for one in listeners:
            tasks.start_soon(one.serve)
        await started(listeners)
        yield


@asynccontextmanager
async def _server_file(settings: Settings, url: str, control: bool) -> AsyncIterator[None]:
    """Say in the data directory who serves it, and take that back at the end."""
    path = anyio.Path(settings.data.absolute() / SERVER_FILE)
    beside = path.with_name(f".{SERVER_FILE}.{os.getpid()}")
    content = {
        "pid": os.getpid(),
        "url": url,
        "control": CONTROL_SOCKET if control else None,
        "dev": settings.dev,
    }
    await beside.touch(mode=0o600)
    await beside.write_text(json.dumps(content), encoding="utf-8")
    await beside.replace(path)
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await path.unlink(missing_ok=True)


async def _until_signal(signals: AsyncIterator[signal.Signals]) -> bool:
    """Wait to be told to stop; whether it was by a signal."""
    received = await anext(signals)
    log.info("signal", name=received.name)
    exit_at_the_next()
    return True


def _greet(settings: Settings, url: str, ports: list[int], addresses: list[Address]) -> None:
    lines = [f"Taskyard {__version__} is up: {url}", f"  data       {settings.data}"]
    for address, port in zip(addresses, ports, strict=True):
        lines.append(f"  {address.dialect:<10} {url_of(address.host, port)}")
    if settings.dev:
        lines.append("  token      dev   (well-known credentials: for development only)")
        lines.append("  users      admin/admin (everything), guest/guest (read only)")
    lines.append("Stop it with Ctrl-C; running commands go on.")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _raise_file_limit() -> None:
    """Let each connection and follower have its descriptor, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Not more: commands inherit it, and some programs go through every possible descriptor.
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _calm_collector() -> None:
    """Leave out what was imported, which lives as long as the process, and look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)
