"""Connects this control plane with the others, if the settings say so."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from taskyard.core.errors import InvalidInput
from taskyard.core.ids import PlaneId
from taskyard.server.certificates import write_private
from taskyard.server.nats_server import own_nats_server
from taskyard.server.nats_settings import NatsSettings
from taskyard.transport.nats.messages import NatsMessages, nats_messages
from taskyard.transport.nats.options import check_token

PLANE_FILE: Final = "plane"


@asynccontextmanager
async def messages_between_planes(
    settings: NatsSettings, data: Path, installation: str, plane_id: PlaneId
) -> AsyncIterator[NatsMessages | None]:
    """The connection to the other planes; None if there is to be none.

    Args:
        settings: where NATS is, or that a server is to be started.
        data: the data directory.
        installation: what all planes of one installation have in common.
        plane_id: this plane.

    Raises:
        InvalidInput: settings cannot be met.
        NatsUnavailable: NATS cannot be reached or does not let us in; tells why.
    """
    async with AsyncExitStack() as stack:
        if settings.serve:
            options = await stack.enter_async_context(own_nats_server(settings, data))
        elif settings.url is not None:
            options = settings.options()
        else:
            yield None
            return
        yield await stack.enter_async_context(nats_messages(options, installation, plane_id))


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
