"""What an operator decides about containers and their images."""

from msgspec import Struct

from taskyard.core.access.container_rule import ContainerRule
from taskyard.runtimes.engine.address import AUTO, TlsFiles


class PrunePolicy(Struct, frozen=True):
    """Which images may go; with both None none ever does."""

    unused_s: float | None = None
    """Seconds an image may lie unused."""
    cache_bytes: int | None = None
    """Bytes that images pulled by this worker may take together; the longest unused go first."""


class ContainerSettings(Struct, frozen=True):
    """What an operator decides about containers."""

    engine: str = AUTO
    """``auto``, ``off``, or an address, see ``parse_engine_address`` in ``runtimes/engine``."""
    network: str | None = None
    """Network mode of containers whose task names none; the engine's default when None."""
    volumes: tuple[str, ...] = ()
    """Directories that containers may see, with all below them."""
    file_dirs: tuple[str, ...] = ()
    """Directories of this machine that files may be copied from into containers."""
    protected: tuple[str, ...] = ()
    """What containers never see of this machine, besides its kernel's files and its engines."""
    rule: ContainerRule = ContainerRule()
    tls: TlsFiles | None = None
    prune: PrunePolicy = PrunePolicy()
    syslog_to_private: bool = False
    """Whether output may be forwarded to log servers at private addresses."""
    sweep_s: float = 60.0
    """Seconds between two looks for containers that no attempt belongs to."""
