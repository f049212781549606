"""Settings for the work of one workspace."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from taskyard.core.errors import InvalidInput

WhenSandboxed = Literal["auto", "always", "never"]
Directory = Annotated[str, Meta(pattern=r"^/[^\x00]*$", max_length=4096)]


class WorkSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[workspace_work.NAME]`` of the file. Documented in ``docs/reference/settings.md``."""

    user: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """As ``work_user``, or the name or number of a user; as that says when None."""
    sandbox: WhenSandboxed | None = None
    """As ``work_sandbox``; as that says when None."""
    directories: tuple[Directory, ...] | None = None
    """As ``work_directories``; as that says when None."""


def work_from_text(text: str) -> dict[str, object]:
    """The tables as the environment holds them: an object in JSON. Raises ``InvalidInput``."""
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise InvalidInput("workspace_work", f"must be an object in JSON: {error}") from error


def check_directories(
    data: Path, directories: tuple[str, ...] | None, work: Mapping[str, WorkSettings]
) -> None:
    """Raise ``InvalidInput`` for a directory that would show the data directory to tasks."""
    given = {"work_directories": directories or ()}
    given |= {
        f"workspace_work.{name}.directories": one.directories or () for name, one in work.items()
    }
    place = os.path.realpath(data).rstrip("/") + "/"
    for field, several in given.items():
        for directory in several:
            real = os.path.realpath(directory).rstrip("/") + "/"
            if real.startswith(place) or place.startswith(real):
                raise InvalidInput(
                    field, f"{directory} would show the data directory {data} to tasks"
                )
