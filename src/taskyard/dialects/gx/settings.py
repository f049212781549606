"""Settings of the GX dialect: the table ``[gx]``."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from taskyard.core.access.redaction import RedactedStruct

MIB: Final = 1 << 20
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]


class Size(Struct, frozen=True, forbid_unknown_fields=True):
    """A machine size: what a task of this type reserves and may use, and how long."""

    cpu: Annotated[float, Meta(ge=0.01, le=1024)]
    """Cores."""
    memory_mib: Annotated[int, Meta(ge=4, le=64 << 20)]
    limit_s: Seconds
    """Seconds it may run."""
    simulated_s: Seconds
    """Most seconds that its simulation takes; at least half of that."""


class GxWork(RedactedStruct, frozen=True, forbid_unknown_fields=True):
    """Real work, done in place of a simulation."""

    command: tuple[str, ...] | str = ()
    """Program and arguments, or a shell command line."""
    env: dict[str, str] = {}
    image: str | None = None
    """Image of a container it is done in; without a command, its own program."""


SIZES: Final[dict[str, Size]] = {
    "gx.tiny": Size(0.25, 128, 60, 3),
    "gx.micro": Size(0.5, 256, 120, 5),
    "gx.small": Size(1, 512, 300, 10),
    "gx.medium": Size(2, 2048, 900, 30),
    "gx.large": Size(4, 4096, 3600, 120),
    "gx.heavy": Size(8, 16384, 14400, 300),
}
"""The six types, by name."""


class GxSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[gx]`` of the settings."""

    workspaces: Count = 1024
    """Workspaces under one key."""
    running: Count = 6
    """Tasks of one workspace that run at once."""
    streams: Count = 10
    """Open streams of one workspace."""
    allow_command: bool | None = None
    """Whether clients may say themselves what is run; only with ``dev`` when None."""
    sizes: dict[str, Size] = {}
    """Sizes that replace the built-in ones, by type."""
    types: dict[str, GxWork] = {}
    """What is run for a type; a simulation for those left out."""
    functions: dict[str, GxWork] = {}
    """Work that clients may ask for by name."""

    def size(self, name: str) -> Size:
        """The size of one of the six types."""
        return self.sizes.get(name) or SIZES[name]

    def idle_work(self) -> list[str]:
        """Names of configured work that says neither a command nor an image."""
        every = {**self.types, **self.functions}
        return sorted(name for name, work in every.items() if not (work.command or work.image))

    def unknown_types(self) -> list[str]:
        """Names that are none of the six types, and mean nothing."""
        return sorted((self.sizes.keys() | self.types.keys()) - SIZES.keys())
