"""What an operator can say about the dialect; documented in ``docs/reference/settings.md``."""

from typing import Annotated, Literal

from msgspec import Meta, Struct


class DroveSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[drove]`` of the settings."""

    anonymous: bool = False
    """Whether everybody may do everything without any credential."""
    open_logs: bool = False
    """Whether every role may read output."""
    placement_wait_s: Annotated[float, Meta(ge=0.1, le=60)] = 3.0
    """Seconds within which a created task has to be placed; otherwise it is refused."""
    stale_task_age_s: Annotated[float, Meta(ge=60, le=31_536_000)] = 172_800.0
    """Seconds that the record of an ended task is kept."""
    allowed_mount_dirs: tuple[str, ...] | None = None
    """Directories of hosts that tasks may mount; what the server's worker allows when None."""
    config_dirs: tuple[str, ...] = ()
    """Directories of hosts that tasks may take configuration files from."""
    pull: Literal["always", "missing"] = "always"
    """When images are fetched: before each task, or only those that the engine does not have."""
    forward_env: tuple[str, ...] = ()
    """Variables of workers that tasks may ask for; ``*`` at the end of one stands for anything."""
    args: bool = True
    """Whether tasks may have arguments."""
    devices: bool = False
    """Whether tasks may use devices of hosts."""
    default_user: Annotated[str, Meta(min_length=1)] | None = None
    """``USER[:GROUP]`` that containers run as; the image's when None."""
    open_files: Annotated[int, Meta(ge=0, le=1 << 30)] = 470_000
    """Files a container may have open at once; 0 leaves that to the engine."""
    events_kept: Annotated[int, Meta(ge=100, le=10_000_000)] = 200_000
    """Events of the last hour that are kept at most."""
