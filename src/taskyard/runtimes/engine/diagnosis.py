"""Whose fault it is that an engine does not make or start a container.

Engines answer 500 for nearly anything, so their words would have to be guessed at; "network" and
"no such file" stand in answers of either kind. So the status counts where it says something, and
otherwise what can be looked up and tried out: a network that is named exists or not, and an engine
that still makes and starts a container which could not be simpler refuses the other one for what
it is.
"""

import contextlib
import errno
from typing import Any, Final

import structlog
from msgspec import Struct

from taskyard.core.states import Reason
from taskyard.runtimes.engine.client import EngineClient
from taskyard.runtimes.engine.errors import EngineRefused, EngineUnreachable

_log = structlog.get_logger(__name__)

_MAY_PASS: Final = frozenset({408, 423, 425, 429})
"""Statuses below 500 that speak of the moment rather than of the request."""
_CONFLICT: Final = 409
"""Podman also answers so when it is attached to what cannot be started."""
_NO_PROGRAM: Final = "/.taskyard-no-such-program"
_NOT_FOUND: Final = "OCI runtime attempted to invoke a command that was not found"
"""Podman's constant for a program that is not there, in the member ``cause`` of its answer."""
_ENGINES_OWN: Final = frozenset(
    {"none", "host", "bridge", "default", "private", "slirp4netns", "pasta"}
)
"""Network modes that are not looked up by name."""
_WORKS_FAULT: Final = frozenset(
    {
        *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EISDIR),
        *(errno.ENAMETOOLONG, errno.ENXIO, errno.EINVAL),
    }
)


class Probe(Struct, frozen=True):
    """The simplest container in the place of another one."""

    name: str
    """Its own."""
    image: str
    network: str | None
    labels: dict[str, str]
    """By which it is found if nobody comes to remove it."""


async def reason_of_refusal(engine: EngineClient, error: EngineRefused, probe: Probe) -> Reason:
    """Whether the work is at fault (``start_failed``) or the machinery (``runtime_trouble``)."""
    if error.status < 500 and error.status != _CONFLICT:
        return Reason.RUNTIME_TROUBLE if error.status in _MAY_PASS else Reason.START_FAILED
    if error.cause == _NOT_FOUND or await _lacks_network(engine, probe.network):
        return Reason.START_FAILED
    return Reason.START_FAILED if await _manages(engine, probe) else Reason.RUNTIME_TROUBLE


async def reason_of_files(
    engine: EngineClient, error: EngineRefused, container: str, nothing: bytes
) -> Reason:
    """The same for files that cannot be put into a container; ``nothing`` is an empty archive."""
    if error.status < 500:
        return Reason.RUNTIME_TROUBLE if error.status in _MAY_PASS else Reason.START_FAILED
    try:
        await engine.put(container, nothing)
    except (EngineRefused, EngineUnreachable) as again:
        _log.info("engine takes no files", why=str(again))
        return Reason.RUNTIME_TROUBLE
    return Reason.START_FAILED


def reason_of_os_error(error: OSError) -> Reason:
    """Whether what a task named is not there, or this machine is in trouble."""
    return Reason.START_FAILED if error.errno in _WORKS_FAULT else Reason.RUNTIME_TROUBLE


async def _lacks_network(engine: EngineClient, network: str | None) -> bool:
    """Whether a container or network by this name does not exist."""
    if network is None or network in _ENGINES_OWN:
        return False
    kind, _, name = network.rpartition(":")
    if kind not in {"", "container"}:
        return False
    path = f"/containers/{name}/json" if kind else f"/networks/{name}"
    try:
        await engine.call("GET", path)
    except EngineRefused as error:
        return error.status == 404
    except EngineUnreachable:
        return False
    return False


async def _manages(engine: EngineClient, probe: Probe) -> bool:
    """Whether the engine makes a container from the image and comes as far as its program."""
    network = probe.network
    if network is not None and ":" in network:
        network = "none"
    host: dict[str, Any] = {} if network is None else {"NetworkMode": network}
    body = {
        "Image": probe.image,
        "Entrypoint": [_NO_PROGRAM],
        "Cmd": [],
        "Labels": probe.labels,
        "HostConfig": host,
    }
    try:
        await engine.call("POST", "/containers/create", body=body, params={"name": probe.name})
        await engine.call("POST", f"/containers/{probe.name}/start")
    except EngineRefused as error:
        # There is no such program: that is what it has to say, and Docker Engine does by a 400.
        fine = error.status < 500 or error.cause == _NOT_FOUND
        if not fine:
            _log.warning("engine in trouble", why=str(error), status=error.status)
        return fine
    except EngineUnreachable as error:
        _log.info("engine not tried out", why=str(error))
        return False
    finally:
        with contextlib.suppress(EngineRefused, EngineUnreachable):
            await engine.remove(probe.name)
    return True
