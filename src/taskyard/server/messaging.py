"""Connects this control plane with the others, if the settings say so."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from taskyard.core.errors import InvalidInput
from taskyard.core.ids import PlaneId
from taskyard.server.certificates import write_private
from taskyard.server.cluster_keys import ClusterKeys
from taskyard.server.nats_server import own_nats_server
from taskyard.server.nats_settings import NatsSettings
from taskyard.transport.nats.messages import NatsMessages, nats_messages
from taskyard.transport.nats.options import NatsOptions, check_token

PLANE_FILE: Final = "plane"


@dataclass(frozen=True, slots=True)
class MessagesOfPlane:
    """A connection to the other planes."""

    messages: NatsMessages
    options: NatsOptions
    """How it was made."""
    installation: str
    keys: ClusterKeys
    """Of the installation."""


@asynccontextmanager
async def messages_between_planes(
    settings: NatsSettings, data: Path, installation: str, plane_id: PlaneId, keys: ClusterKeys
) -> AsyncIterator[MessagesOfPlane]:
    """The connection to the other planes. Needs settings with an address, or to serve.

    Args:
        settings: where NATS is, or that a server is to be started.
        data: the data directory.
        installation: what all planes of one installation have in common.
        plane_id: this plane.
        keys: of the installation, with which it connects where the settings say nothing else.

    Raises:
        InvalidInput: settings cannot be met.
        NatsUnavailable: NATS cannot be reached or does not let us in; tells why.
    """
    async with AsyncExitStack() as stack:
        if settings.serve:
            options = await stack.enter_async_context(own_nats_server(settings, data, keys))
        else:
            options = settings.options(key=keys.plane, ca_pem=keys.authority.pem)
        messages = await stack.enter_async_context(nats_messages(options, installation, plane_id))
        yield MessagesOfPlane(messages, options, installation, keys)


async def own_plane_id(data: Path) -> PlaneId:
    """The id of the plane with this data directory; made up when it is asked for first.

    Raises ``InvalidInput`` if there is something else in its file, ``OSError``.
    """
    return await anyio.to_thread.run_sync(_own_plane_id, data / PLANE_FILE)


def _own_plane_id(path: Path) -> PlaneId:
    try:
        found = path.read_text("utf-8").strip()
    except FileNotFoundError:
        found = secrets.token_hex(8)
        write_private(path, found + "\n")
    try:
        return PlaneId(check_token("plane", found))
    except InvalidInput as error:
        raise InvalidInput("data", f"{path} holds no plane's id; delete it") from error
