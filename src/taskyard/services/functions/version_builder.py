"""Builds one version, from its source or by getting its image, with a log that can be followed."""

from typing import Final

import anyio
import structlog
from msgspec import Struct

from taskyard.core.access.redaction import redact_text
from taskyard.core.errors import Conflict, NotFound, StoreDamaged, Unavailable
from taskyard.core.functions.functions import Version
from taskyard.core.ids import WorkspaceName
from taskyard.ports.functions import Builder, BuildFailed, BundleStore, ImageBuilder
from taskyard.services.access.identities import Identities
from taskyard.services.access.secrets import Secrets

log = structlog.get_logger(__name__)
LOG_BYTES: Final = 1 << 20
"""Kept of a build's log; what is beyond is left out."""
_CUT: Final = "… the rest of the log is left out\n"


class BuildLog:
    """Lines of text that followers can wait for. Belongs to one event loop."""

    def __init__(self) -> None:
        self.text = ""
        self.finished = anyio.Event()
        self.trouble: str | None = None
        """What kept the build from coming to an end, such as a store that was away."""
        self._is_cut = False
        self._grown = anyio.Event()

    @classmethod
    def ended(cls, text: str) -> "BuildLog":
        """A log that does not grow any more."""
        log = cls()
        log.text = text
        log.finish()
        return log

    def say(self, line: str) -> None:
        """One more line; what looks secret in it is hidden."""
        if self._is_cut:
            return
        # A build reaches package indexes with the operator's credentials.
        line = redact_text(line)
        if len(self.text) + len(line) >= LOG_BYTES:
            self._is_cut, line = True, _CUT.rstrip("\n")
        self.text += line + "\n"
        self._wake()

    def finish(self) -> None:
        """There is nothing more to come."""
        self.finished.set()
        self._wake()

    async def beyond(self, offset: int) -> str:
        """Text from a character on, once there is any; empty when the build has ended."""
        while len(self.text) <= offset and not self.finished.is_set():
            await self._grown.wait()
        return self.text[offset:]

    def _wake(self) -> None:
        self._grown.set()
        self._grown = anyio.Event()


class BuildResult(Struct, frozen=True):
    """What became of a build."""

    digest: str | None = None
    """Of the image; None for source."""
    failure: str | None = None
    """Why there is nothing to run; None if there is."""


class ImagePuller:
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


class VersionBuilder:
    """Builds versions: source by its tool chain, images by pulling them.

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
        images: ImagePuller | None,
        identities: Identities,
    ) -> None:
        self._identities = identities
        self._bundles = bundles
        self._builder = builder
        self._images = images

    async def make(
        self, workspace: WorkspaceName, version: Version, growing: BuildLog
    ) -> BuildResult:
        """Build or pull. Raises ``Unavailable`` if it may be tried again later."""
        try:
            return BuildResult(await self._make(workspace, version, growing))
        except (BuildFailed, NotFound, Conflict, StoreDamaged) as error:
            return BuildResult(failure=str(error))
        except Unavailable:
            raise
        except Exception as error:
            log.exception("build_failed", function=version.function_id, version=version.number)
            return BuildResult(failure=f"building went wrong: {error!r}")

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
