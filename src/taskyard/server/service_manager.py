"""Tells whoever started the process how far it is, as systemd wants to hear it (``sd_notify``)."""

import os
import socket
from typing import Final

import structlog

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_PATIENCE_S: Final = 1.0

log = structlog.get_logger(__name__)


def tell_service_manager(state: str) -> None:
    """Say so, if there is somebody to tell. Blocks, a second at most; trouble is logged.

    https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.settimeout(_PATIENCE_S)
            link.sendto(state.encode(), address)
    except OSError as error:
        log.warning("service_manager_not_told", state=state, reason=str(error))
