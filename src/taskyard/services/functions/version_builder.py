"""Making what runs of a version: building its source, or getting its image."""

import structlog
from msgspec import Struct

from taskyard.core.errors import Conflict, NotFound, StoreDamaged, Unavailable
from taskyard.core.functions.functions import Version
from taskyard.core.ids import WorkspaceName
from taskyard.ports.functions import Builder, BuildFailed, BundleStore, ImageBuilder
from taskyard.services.access.identities import Identities
from taskyard.services.access.secrets import Secrets
from taskyard.services.functions.build_logs import BuildLog

log = structlog.get_logger(__name__)


class Made(Struct, frozen=True):
    """What became of a build."""

    digest: str | None = None
    """Of the image; None for source."""
    failure: str | None = None
    """Why there is nothing to run; None if there is."""


class ImageMaking:
    """Gets images, with credentials from stored secrets."""

    def __init__(self, builder: ImageBuilder, secrets: Secrets) -> None:
        self.builder = builder
        self._secrets = secrets

    async def make(self, workspace: WorkspaceName, version: Version, growing: BuildLog) -> str:
        """The digest. Raises ``BuildFailed``, ``NotFound`` for a secret, ``Unavailable``."""
        credentials = None
        if version.credentials:
            found = await self._secrets.resolve(workspace, [version.credentials])
            credentials = found[version.credentials]
        return await self.builder.build(version, credentials, growing.say)


class Making:
    """Makes versions, whatever they are.

    Args:
        bundles: where source is.
        builder: builds source.
        images: gets images; None where there is nothing that could.
        identities: as whom builds of workspaces run.
    """

    def __init__(
        self,
        bundles: BundleStore,
        builder: Builder,
        images: ImageMaking | None,
        identities: Identities,
    ) -> None:
        self._identities = identities
        self._bundles = bundles
        self._builder = builder
        self._images = images

    async def make(self, workspace: WorkspaceName, version: Version, growing: BuildLog) -> Made:
        """Build or pull. Raises ``Unavailable`` if it may be tried again later."""
        try:
            return Made(await self._make(workspace, version, growing))
        except (BuildFailed, NotFound, Conflict, StoreDamaged) as error:
            return Made(failure=str(error))
        except Unavailable:
            raise
        except Exception as error:
            log.exception("build_failed", function=version.function_id, version=version.number)
            return Made(failure=f"building went wrong: {error!r}")

    async def _make(
        self, workspace: WorkspaceName, version: Version, growing: BuildLog
    ) -> str | None:
        if not version.image:
            content = await self._bundles.get(version.bundle)
            identity = await self._identities.of(workspace)
            sandbox = self._identities.sandbox_of(workspace)
            await self._builder.build(version, content, growing.say, identity, sandbox)
            return None
        if self._images is None:
            raise BuildFailed("there is no tool chain for image on this worker")
        return await self._images.make(workspace, version, growing)

    async def is_made(self, version: Version) -> bool:
        """Whether what runs is there."""
        if not version.image:
            return await self._builder.is_built(version)
        return self._images is not None and await self._images.builder.is_built(version)
