"""What the command line takes from its surroundings: environment and configuration files."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from taskyard.cli.errors import UsageError

DEFAULT_DATA = "./taskyard-data"


class Configuration(msgspec.Struct, frozen=True):
    """The client's members of a ``taskyard.toml`` or ``config.toml``; others are the server's."""

    url: str | None = None
    token: str | None = None
    user: str | None = None
    password: str | None = None


class Environment(msgspec.Struct, frozen=True):
    """Environment and configuration files, read once."""

    url: str | None
    token: str | None
    user: str | None
    password: str | None
    data: str
    config: Configuration
    """What the files say; the environment goes before it."""
    config_path: str | None = None


def configuration_paths(environ: Mapping[str, str]) -> list[Path]:
    """Where configuration is looked for, the strongest first."""
    home = environ.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
    return [Path("taskyard.toml"), Path(home) / "taskyard" / "config.toml"]


def read_environment(environ: Mapping[str, str] | None = None) -> Environment:
    """Read the environment and the first configuration file that names a server.

    Raises :class:`UsageError` for a file that cannot be read.
    """
    environ = os.environ if environ is None else environ
    config, config_path = Configuration(), None
    for path in configuration_paths(environ):
        found = _read(path)
        if found is not None and found.url is not None:
            config, config_path = found, str(path)
            break
    return Environment(
        url=environ.get("TASKYARD_URL") or None,
        token=environ.get("TASKYARD_TOKEN") or None,
        user=environ.get("TASKYARD_USER") or None,
        password=environ.get("TASKYARD_PASSWORD"),
        data=environ.get("TASKYARD_DATA") or DEFAULT_DATA,
        config=config,
        config_path=config_path,
    )


def _read(path: Path) -> Configuration | None:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"configuration file {path} cannot be read: {error}") from error
    try:
        return msgspec.convert(tomllib.loads(text), Configuration)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"configuration file {path} is not valid TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise UsageError(
            f"configuration file {path}: url, token, user and password must be text in quotes"
        ) from error
