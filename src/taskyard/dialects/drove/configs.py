"""Configurations that are fetched before a task is created."""

from collections.abc import Iterable

from taskyard.dialects.drove import schemas as wire
from taskyard.dialects.drove.errors import Refused
from taskyard.services.engine import Engine


async def fetched_configs(engine: Engine, configs: Iterable[wire.Config]) -> dict[str, str]:
    """Contents of what has to be fetched, base64, by file name. Raises :class:`Refused`."""
    del engine
    problems = [
        f"Config {config.localFilename}: fetching over HTTP is not available on this cluster"
        for config in configs
        if isinstance(config, wire.ControllerFetchConfig | wire.ExecutorFetchConfig)
    ]
    if problems:
        raise Refused(problems)
    return {}
