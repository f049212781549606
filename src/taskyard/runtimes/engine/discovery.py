"""Finding the engine that the settings name."""

import ssl

import structlog

from taskyard.core.errors import InvalidInput
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.runtimes.engine.address import (
    OFF,
    USUAL_SOCKETS,
    EngineAddress,
    TlsFiles,
    engine_addresses,
)
from taskyard.runtimes.engine.client import EngineClient
from taskyard.runtimes.engine.errors import EngineRefused, EngineUnreachable

_log = structlog.get_logger(__name__)


async def find_engine(setting: str, tls: TlsFiles | None) -> tuple[EngineClient, bool]:
    """The first engine that answers, and whether it is Podman. Raises ``RuntimeUnavailable``."""
    if setting == OFF:
        raise RuntimeUnavailable("containers are switched off by the setting container_engine")
    try:
        addresses = engine_addresses(setting, tls=tls is not None)
        context = None if tls is None else tls.context()
    except (InvalidInput, OSError) as error:
        raise RuntimeUnavailable(f"the container engine cannot be reached: {error}") from error
    said = []
    for address in addresses:
        try:
            return await _connected(address, context)
        except (EngineUnreachable, EngineRefused) as error:
            said.append(str(error))
    raise RuntimeUnavailable(
        "; ".join(said)
        or "no container engine was found; start Docker Engine or Podman's API service "
        "(podman system service), or say where it is with the setting container_engine"
    )


async def why_no_engine(
    engine: EngineClient | None, setting: str, tls: TlsFiles | None, waiting: str
) -> str | None:
    """Why no engine can be used now; None if one can.

    Args:
        engine: the one in use; any that can be found if None.
        setting: where to look for one.
        tls: how to reach it.
        waiting: what goes on by itself when it answers again, such as ``attempts``.
    """
    if engine is None:
        try:
            found, _ = await find_engine(setting, tls)
        except RuntimeUnavailable as error:
            return str(error)
        await found.close()
        return None
    try:
        await engine.ping()
    except (EngineUnreachable, EngineRefused) as error:
        return f"{error}; start the container engine, and {waiting} go on by themselves"
    return None


async def engine_paths(engine: EngineClient) -> list[str]:
    """Sockets of engines on this machine, and where this one keeps its images and containers.

    Whoever reaches one of them is root of the machine.
    """
    paths = [*USUAL_SOCKETS, *([engine.address.socket] if engine.address.socket else [])]
    if engine.address.is_local:
        try:
            found = await engine.call("GET", "/info") or {}
        except (EngineUnreachable, EngineRefused) as error:
            _log.warning("engine does not say where its files are", why=str(error))
        else:
            root = found.get("DockerRootDir")
            paths += [root] if isinstance(root, str) and root.startswith("/") else []
    return paths


async def _connected(
    address: EngineAddress, context: ssl.SSLContext | None
) -> tuple[EngineClient, bool]:
    engine = EngineClient(address, context)
    try:
        return engine, await engine.is_podman()
    except BaseException:
        await engine.close()
        raise
