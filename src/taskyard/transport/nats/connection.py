"""One connection to NATS that comes back by itself, for as long as it is wanted.

The library reconnects too, but gives up for good after some errors of the server, keeps messages
to send them later, and learns of a silent server late. So each connection here is a new client of
the library that never reconnects, and requests under way end as soon as it is lost.
"""

import base64
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import anyio
import structlog

from taskyard.ports.errors import Unreachable
from taskyard.transport.nats.errors import (
    DENIED,
    LimitTooSmall,
    NatsUnavailable,
    SubscriptionDenied,
    explain,
    is_denial,
    is_of_connecting,
    is_refusal,
    may_pass,
    says_little,
)
from taskyard.transport.nats.options import LEAST_BYTES, NatsOptions, Server

CONNECT_S: Final = 3.0
"""Seconds to connect to one server."""
FIRST_S: Final = 10.0
"""Seconds in which the first connection has to be made."""
BACKOFF_S: Final = (0.05, 2.0)
"""Seconds between two attempts to connect: at first, and at most."""
PING_S: Final = 2
"""Seconds between two pings; a server that answers neither of two is taken for gone."""
PINGS: Final = 2
LOOK_S: Final = 0.5
TOLD_EVERY_S: Final = 30.0
"""How often the log tells that there is still no connection, or that messages are lost."""
USUAL_BYTES: Final = 1 << 20
"""What a server takes in one message unless it is told otherwise."""
PENDING_BYTES: Final = 32 << 20
"""What may wait to be handled, for each subscription; more is dropped."""
DRAIN_S: Final = 2.0
CLOSE_S: Final = 2.0

OnMessage = Callable[[Any], Awaitable[None]]
"""Takes a ``nats.aio.msg.Msg``; has to return quickly."""

log = structlog.get_logger(__name__)


class NatsConnection:
    """Stays connected. Made by :func:`nats_connection`."""

    def __init__(self, options: NatsOptions, name: str) -> None:
        self._options = options
        self._name = name
        self._subjects: dict[str, tuple[OnMessage, str]] = {}
        """What to listen to: who takes it, and the queue group."""
        self._client: Any = None
        self._most_bytes = USUAL_BYTES
        self._server_url = ""
        self._subscriptions: dict[str, Any] = {}
        self._last_error: BaseException | None = None
        self._settling = anyio.Lock()
        self._denied: str | None = None
        """What this connection was not allowed to listen to."""
        self.on_lost: Callable[[], None] = lambda: None
        """Called when a connection is lost."""
        self._trial_error: BaseException | None = None
        """What the library told of the attempt to connect under way."""
        self.refused_at: float | None = None
        """When all servers refused connections last, in seconds since the machine was started: then
        none of them ran."""
        self.connects = 0
        """Connections made so far."""
        self.dropped = 0
        """Messages that were lost here because there were too many."""
        self._told_dropped_at = -TOLD_EVERY_S

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent now."""
        return self._client is not None and self._client.is_connected

    @property
    def lets_everybody_in(self) -> bool:
        """Whether the server asks nobody for a credential, as it said when we connected."""
        info: dict[str, Any] = {} if self._client is None else self._client._server_info  # noqa: SLF001 - told nowhere else
        return self.is_connected and not info.get("auth_required")

    @property
    def last_error(self) -> BaseException | None:
        """Why there is no connection; None if there is one, or nothing went wrong yet."""
        return self._last_error

    @property
    def subscribed(self) -> frozenset[str]:
        """What the present connection listens to."""
        return frozenset(self._subscriptions)

    @property
    def most_bytes(self) -> int:
        """Largest message that the server takes, or took when there was a connection."""
        return self._most_bytes

    async def subscribe(self, subject: str, on_message: OnMessage, queue: str = "") -> None:
        """Take messages on this subject, at once if there is a connection, and by each later one.

        When this returns, whoever sends reaches us, or another one of the same queue group.
        """
        self._subjects[subject] = on_message, queue
        client, subscriptions = self._client, self._subscriptions
        if not self.is_connected:
            return
        try:
            await self._sending(self._settle(client, subscriptions))
        except Unreachable:
            # The connection is about to be lost, and the next one begins with all of them.
            log.info("nats_subscribed_later", subject=subject)

    async def unsubscribe(self, subject: str) -> None:
        """Take no more of these, but what is on its way here."""
        self._subjects.pop(subject, None)
        subscription = self._subscriptions.pop(subject, None)
        if subscription is not None and self.is_connected:
            with anyio.move_on_after(DRAIN_S):
                await self._sending(self._drain(self._client, subscription))

    async def send(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Send a message. Raises ``Unreachable`` if there is no connection."""
        if not self.is_connected:
            if is_denial(self._trial_error):
                raise Unreachable(DENIED)
            raise Unreachable("NATS cannot be reached at the moment")
        await self._sending(self._client.publish(subject, payload, reply))

    def count_dropped(self, reason: str) -> None:
        """A message was lost here; the log tells that now and then."""
        self.dropped += 1
        if anyio.current_time() - self._told_dropped_at > TOLD_EVERY_S:
            self._told_dropped_at = anyio.current_time()
            log.warning("nats_messages_dropped", reason=reason, total=self.dropped)

    async def first(self, within_s: float | None = FIRST_S) -> None:
        """Make the first connection, however long it takes if ``within_s`` is None.

        Raises ``NatsUnavailable`` that tells what is wrong.
        """
        told_at = anyio.current_time()
        with anyio.move_on_after(within_s):
            pause_s = BACKOFF_S[0]
            while not await self._connect_to_any():
                if not may_pass(self._last_error):
                    break
                if anyio.current_time() - told_at > FIRST_S:
                    told_at = anyio.current_time() + TOLD_EVERY_S
                    log.warning("nats_unreachable", reason=explain(self._last_error, self._options))
                await anyio.sleep(pause_s)
                pause_s = min(2 * pause_s, BACKOFF_S[1])
        if not self.is_connected:
            raise NatsUnavailable(explain(self._last_error, self._options))

    async def stay_connected(self) -> None:
        """Connect again whenever the connection is lost, until cancelled."""
        pause_s, least_s, most_s = 0.0, *BACKOFF_S
        told_at = -TOLD_EVERY_S
        while True:
            while self.is_connected:
                await anyio.sleep(LOOK_S)
                pause_s, told_at = 0.0, -TOLD_EVERY_S
            await self._let_go()
            # By chance: planes that lost the same server do not all come at once.
            await anyio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause_s = min(most_s, max(least_s, 2 * pause_s))
            if await self._connect_to_any():
                log.info("nats_connected", server=self._server_url)
            elif anyio.current_time() - told_at > TOLD_EVERY_S:
                told_at = anyio.current_time()
                log.warning("nats_unreachable", reason=explain(self._last_error, self._options))

    async def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        if client is not None:
            await _close(client)

    async def _connect_to_any(self) -> bool:
        servers = list(self._options.servers)
        random.shuffle(servers)
        all_refuse = True
        for server in servers:
            self._trial_error = None
            if await self._connect(server):
                return True
            all_refuse = all_refuse and is_refusal(self._trial_error)
        if all_refuse:
            self.refused_at = time.clock_gettime(time.CLOCK_BOOTTIME)
        return False

    async def _connect(self, server: Server) -> bool:
        client = new_client(server)
        key = self._options.key if server.is_anonymous else None
        if key is not None:
            # The library would take its seed only, and through a further package.
            client._public_nkey = key.public  # noqa: SLF001 - as above
        subscriptions: dict[str, Any] = {}
        self._denied = None
        try:
            with anyio.fail_after(CONNECT_S):
                await client.connect(**self._parameters(server))
                _check_limit(client)
                await self._settle(client, subscriptions)
        except BaseException as error:
            await _close(client)
            if isinstance(error, ImportError):
                text = "a file with credentials needs a further package: pip install nkeys"
                raise NatsUnavailable(text) from error
            if not is_of_connecting(error):
                raise
            if self._trial_error is None:
                self._trial_error = error
            if self._last_error is None or not says_little(error):
                self._last_error = error
            return False
        self._client, self._server_url = client, server.url
        self._subscriptions = subscriptions
        self._most_bytes = int(client.max_payload)
        self.connects += 1
        self._last_error = None
        return True

    def _parameters(self, server: Server) -> dict[str, Any]:
        options = self._options
        return {
            "servers": server.url,
            "name": self._name,
            "allow_reconnect": False,
            # Of attempts within one call; zero would mean any number.
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0.05,
            "connect_timeout": CONNECT_S,
            "ping_interval": PING_S,
            "max_outstanding_pings": PINGS,
            "user": server.user,
            "password": server.password,
            "token": server.token,
            "user_credentials": None if options.credentials is None else str(options.credentials),
            "signature_cb": self._signature if server.is_anonymous and options.key else None,
            "nkeys_seed": None if options.seed is None else str(options.seed),
            "tls": options.tls if server.tls else None,
            "error_cb": self._on_error,
            "closed_cb": self._on_closed,
        }

    def _signature(self, nonce: str) -> bytes:
        key = self._options.key
        assert key is not None  # noqa: S101 - else nobody asks
        return base64.b64encode(key.sign(nonce.encode()))

    async def _settle(self, client: Any, subscriptions: dict[str, Any]) -> None:
        """Have one connection subscribed to exactly what is wanted, also if that changes meanwhile.

        Raises ``SubscriptionDenied`` if the server does not allow it.
        """
        async with self._settling:
            while subscriptions.keys() != self._subjects.keys():
                for subject in self._subjects.keys() - subscriptions.keys():
                    on_message, queue = self._subjects[subject]
                    subscriptions[subject] = await client.subscribe(
                        subject, queue, on_message, pending_bytes_limit=PENDING_BYTES
                    )
                for subject in subscriptions.keys() - self._subjects.keys():
                    await subscriptions.pop(subject).unsubscribe()
                # When it has answered this, it knows them all, or has refused them.
                await _flushed(client)
            if self._denied is not None:
                raise SubscriptionDenied(self._denied)

    async def _drain(self, client: Any, subscription: Any) -> None:
        # The library's own draining does not wait until the server has been told.
        await client._send_unsubscribe(subscription._id)  # noqa: SLF001 - as above
        await _flushed(client)
        await subscription.drain()

    async def _sending(self, sending: Awaitable[None]) -> None:
        from nats.errors import Error  # noqa: PLC0415 - an extra

        try:
            await sending
        except (Error, TimeoutError) as error:
            raise Unreachable(f"NATS cannot be reached at the moment: {error}") from error

    async def _on_error(self, error: Exception) -> None:
        from nats.errors import SlowConsumerError  # noqa: PLC0415 - an extra

        if isinstance(error, SlowConsumerError):
            self.count_dropped("more arrive than can be handled")
            return
        self._last_error = error
        if not self.is_connected:
            self._trial_error = error
        if "permissions violation for subscription" in str(error).lower():
            self._denied = str(error)
        if self.is_connected:
            log.warning("nats_error", reason=str(error))

    async def _on_closed(self) -> None:
        self.on_lost()

    async def _let_go(self) -> None:
        if self._client is not None:
            log.warning("nats_connection_lost", server=self._server_url)
            await self.close()
            self.on_lost()


@asynccontextmanager
async def nats_connection(options: NatsOptions, name: str) -> AsyncIterator[NatsConnection]:
    """A connection that is closed at the end; it has to be told to begin and to stay."""
    connection = NatsConnection(options, name)
    try:
        yield connection
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close()


def new_client(server: Server) -> Any:
    """A client of the library that sends nothing secret without TLS where TLS is wanted.

    Raises ``NatsUnavailable`` if the library is not installed.
    """
    try:
        from nats.aio.client import Client  # noqa: PLC0415 - an extra
        from nats.errors import SecureConnWantedError  # noqa: PLC0415 - an extra
    except ImportError:
        text = "messages over NATS need a further package: pip install 'taskyard[cluster]'"
        raise NatsUnavailable(text) from None

    class CarefulClient(Client):
        async def _process_info(
            self, info: dict[str, Any], initial_connection: bool = False
        ) -> None:
            # What the server says comes unprotected; the library believes it, and goes on to send
            # credentials in plain text.
            if server.tls and initial_connection and not info.get("tls_required"):
                raise SecureConnWantedError
            await super()._process_info(info, initial_connection)

    return CarefulClient()


def _check_limit(client: Any) -> None:
    if client.max_payload < LEAST_BYTES:
        raise LimitTooSmall(f"its max_payload is {client.max_payload}")


async def _flushed(client: Any) -> None:
    """Wait until the server has taken in what was sent so far.

    The library's ``flush`` pings before it writes what waits to be written, so its answer alone
    says nothing about that. Raises ``TimeoutError``.
    """
    with anyio.fail_after(CONNECT_S):
        await client._flush_pending(force_flush=True)  # noqa: SLF001 - as above
        await client.flush()


async def _close(client: Any) -> None:
    """Close a client, also one whose server takes nothing any more."""
    with anyio.move_on_after(CLOSE_S, shield=True):
        with suppress(Exception):
            await client.close()
    transport = getattr(client, "_transport", None)
    for name in ("_io_writer", "_bare_io_writer"):
        # Closing waits for what was not sent yet; this does not.
        writer = getattr(transport, name, None)
        if writer is not None and not writer.transport.is_closing():
            writer.transport.abort()
