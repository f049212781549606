"""Builds versions that are images: pulls them, and notes what their names stand for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from taskyard.core.errors import InvalidInput
from taskyard.core.functions.functions import Version
from taskyard.core.image_name import ImageName, parse_image
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.engine.client import EngineClient, image_path
from taskyard.runtimes.engine.credentials import auth_header
from taskyard.runtimes.engine.discovery import find_engine
from taskyard.runtimes.engine.errors import CannotRun, EngineRefused, EngineUnreachable
from taskyard.runtimes.engine.pulling import pull
from taskyard.runtimes.engine.settings import ContainerSettings
from taskyard.runtimes.function.images.pins import PIN, Pin, write_pin
from taskyard.runtimes.function.manifest import version_directory

NOT_LOCAL: Final = (
    "functions that are images need a container engine on the worker's own machine, "
    "reached through a Unix socket"
)
_OWN: Final = frozenset({None, "localhost"})
"""Registries in the names of images that may have been made on this machine."""
_DIGEST: Final = "sha256:"


class LocalImages:
    """Implements ``ports.functions.ImageBuilder`` with the engine of this machine.

    Args:
        directory: the function runtimes'.
        settings: where the engine is.
        timeout_s: seconds a pull may take.
    """

    def __init__(self, directory: Path, settings: ContainerSettings, timeout_s: float) -> None:
        self._directory = directory.absolute()
        self._settings = settings
        self._timeout_s = timeout_s

    async def build(
        self, version: Version, credentials: str | None, say: Callable[[str], None]
    ) -> str:
        """See the port."""
        try:
            engine, _ = await find_engine(self._settings.engine, self._settings.tls)
        except RuntimeUnavailable as error:
            text = f"there is no tool chain for image on this worker: no container engine ({error})"
            raise BuildFailed(text) from error
        async with engine:
            if not engine.address.is_local:
                raise BuildFailed(f"there is no tool chain for image on this worker: {NOT_LOCAL}")
            pin = await self._pinned(engine, version.image, credentials, say)
        if version.digest not in {None, pin.digest}:
            raise BuildFailed(
                f"{version.image} is {pin.digest} here, and was {version.digest} when this version "
                "was deployed; deploy it again, with the image's digest in its name"
            )
        place = version_directory(self._directory, version.function_id, version.number)
        try:
            await anyio.to_thread.run_sync(write_pin, place, pin)
        except OSError as error:
            raise BuildFailed(f"it could not be written: {error.strerror}") from error
        say(f"resolved to {pin.digest}")
        return pin.digest

    async def is_built(self, version: Version) -> bool:
        """See the port."""
        place = version_directory(self._directory, version.function_id, version.number)
        return await anyio.Path(place / PIN).exists()

    async def _pinned(
        self,
        engine: EngineClient,
        name: str,
        credentials: str | None,
        say: Callable[[str], None],
    ) -> Pin:
        try:
            image = parse_image(name)
        except InvalidInput as error:
            raise BuildFailed(str(error)) from error
        try:
            auth = None if credentials is None else auth_header(credentials, image)
            await pull(engine, image, auth=auth, timeout_s=self._timeout_s, remark=say)
        except CannotRun as error:
            if image.host not in _OWN or await _inspected(engine, image) is None:
                raise BuildFailed(str(error)) from error
            say(str(error))
            say(f"using {image} as the engine has it")
        found = await _inspected(engine, image)
        if found is None:
            raise BuildFailed(f"image {image} was pulled, but the engine does not have it")
        return Pin(name, _id(found), _source(found, image))


async def _inspected(engine: EngineClient, image: ImageName) -> dict[str, Any] | None:
    """What the engine says of an image; None if it has none of that name."""
    try:
        found: dict[str, Any] = await engine.call("GET", f"{image_path(str(image))}/json")
    except EngineRefused as error:
        if error.status == 404:
            return None
        raise BuildFailed(f"the container engine refuses: {error}") from error
    except EngineUnreachable as error:
        raise BuildFailed(f"the container engine is away: {error}") from error
    return found


def _id(found: dict[str, Any]) -> str:
    text = str(found.get("Id") or "")
    return text if text.startswith(_DIGEST) else f"{_DIGEST}{text}"


def _source(found: dict[str, Any], image: ImageName) -> str | None:
    """The image in its registry, if it was pulled under this name."""
    known = [str(one) for one in found.get("RepoDigests") or []]
    # Podman gives names their registry, Docker leaves the default one out.
    own = [one for one in known if f"/{one}".partition("@")[0].endswith(f"/{image.repository}")]
    if image.digest is not None and f"{image.repository}@{image.digest}" in own:
        return f"{image.repository}@{image.digest}"
    return own[0] if own else None
