"""Names of images, as engines take them: ``[HOST[:PORT]/]PATH[:TAG][@DIGEST]``."""

import re
from typing import Final

from msgspec import Struct

from taskyard.core.errors import InvalidInput

_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?\Z"
)
_PATH: Final = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\Z"
)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_DIGEST: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}\Z"
)
_LONGEST: Final = 255


class ImageName(Struct, frozen=True):
    """An image name in parts."""

    host: str | None
    """Registry with its port; the engine's own default when None."""
    path: str
    tag: str | None
    """None only if there is a digest and no tag was given."""
    digest: str | None = None

    @property
    def repository(self) -> str:
        """The name without tag and digest."""
        return self.path if self.host is None else f"{self.host}/{self.path}"

    @property
    def version(self) -> str:
        """What to ask the registry for: the digest, which says it all, or else the tag."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        """The whole name; a digest makes the tag superfluous, and some engines refuse both."""
        if self.digest is not None:
            return f"{self.repository}@{self.digest}"
        return f"{self.repository}:{self.version}"


def parse_image(text: str) -> ImageName:
    """Take an image name apart. Raises :class:`InvalidInput` for the field ``image``.

    The first part is a host if it has a dot or a port, or is ``localhost``: the rule of the
    reference grammar of registries. The tag is ``latest`` if neither tag nor digest is given.
    """
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.match(digest):
        raise InvalidInput("image", "has an invalid digest; expected sha256: and 64 hex digits")
    host: str | None = None
    first, slash, others = rest.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        host, rest = first, others
        if not _HOST.match(host):
            raise InvalidInput("image", "has an invalid registry; expected HOST or HOST:PORT")
    path, colon, tag = rest.rpartition(":")
    if not colon:
        path, tag = rest, ""
    if colon and not _TAG.match(tag):
        raise InvalidInput("image", "contains characters that are not allowed in a tag")
    if not _PATH.match(path) or len(path) + len(host or "") >= _LONGEST:
        raise InvalidInput(
            "image", "must look like [HOST[:PORT]/]path[:tag][@digest], in lower case"
        )
    return ImageName(host, path, tag or (None if digest else "latest"), digest or None)
