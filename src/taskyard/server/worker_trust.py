"""Lets workers on other machines in: says who they are to NATS, and cuts off who was revoked."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import structlog
from msgspec.structs import replace

from taskyard.core.access.join_string import JoinAddress
from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.errors import InvalidInput
from taskyard.core.instants import Instant
from taskyard.ports.clock import Clock
from taskyard.server.cluster_keys import ClusterKeys
from taskyard.server.messaging import MessagesOfPlane
from taskyard.server.nats_settings import NatsSettings
from taskyard.services.scheduling.worker_tokens import WorkerTokens
from taskyard.transport.nats.auth_callout import AuthCallout, auth_callout
from taskyard.transport.nats.errors import SubscriptionDenied
from taskyard.transport.nats.kicking import kick
from taskyard.transport.nats.options import NatsOptions

ACTOR: Final = "worker"
"""Whoever tries to join, in the audit trail."""

log = structlog.get_logger(__name__)


@asynccontextmanager
async def worker_trust(
    settings: NatsSettings, cluster: MessagesOfPlane, tokens: WorkerTokens, clock: Clock
) -> AsyncIterator[None]:
    """Have workers join with their tokens while inside.

    Args:
        settings: where NATS is.
        cluster: how this control plane connects to it.
        tokens: tell who may join.
        clock: tells until when.

    Raises:
        InvalidInput: the file of who signs NATS's certificate cannot be read.
        NatsUnavailable: there is no way to connect.
    """
    options, keys, installation = cluster.options, cluster.keys, cluster.installation
    if any(not server.is_anonymous for server in options.servers) or options.key is None:
        # A user that somebody made for us: nobody asks us about others.
        tokens.obstacle = (
            "workers cannot join over this NATS server, where control planes have a user of their"
            " own; put what `taskyard cluster config` prints into its configuration, and name no"
            " user in nats.url"
        )
        yield
        return
    tokens.address = await _address(settings, options, keys, installation)
    if cluster.messages.connection.lets_everybody_in:
        log.warning(
            "nats_lets_everybody_in",
            reason="whoever reaches it can have workers run anything; put what `taskyard cluster"
            " config` prints into its configuration",
        )
    system = replace(options, key=keys.system)

    async def cut_off(name: str) -> None:
        count = await kick(system, name)
        log.info("worker_cut_off", worker_id=name, connections=count)

    async def authenticate(name: str, secret: str, address: str) -> Instant | None:
        caller = Caller(ACTOR, INSTALLATION, Role.READ, address or None)
        return (await tokens.authenticate(caller, name, secret)).expires_at

    tokens.kick = cut_off
    callout = AuthCallout(keys.issuer, installation, authenticate, clock)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(auth_callout(options, callout))
        except SubscriptionDenied as error:
            log.warning("workers_cannot_join", reason=str(error))
        yield


async def _address(
    settings: NatsSettings, options: NatsOptions, keys: ClusterKeys, installation: str
) -> JoinAddress:
    """Where workers connect to, and who signs the certificate there."""
    urls = settings.join_urls(options.servers)
    if not any(url.startswith("tls:") for url in urls):
        return JoinAddress(urls, installation)
    if settings.serve:
        return JoinAddress(urls, installation, keys.authority.pem)
    if settings.tls_ca is None:
        return JoinAddress(urls, installation)
    return JoinAddress(urls, installation, await anyio.to_thread.run_sync(_read, settings.tls_ca))


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("nats.tls_ca", f"{path} cannot be read: {error}") from error
