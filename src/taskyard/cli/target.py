"""Finding the server: which address, with which credential, and how we know."""

import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import msgspec

from taskyard.cli import exit_status
from taskyard.cli.environment import DEFAULT_DATA, Environment
from taskyard.cli.errors import CommandError

DEFAULT_URL = "http://127.0.0.1:8000"
_PROBE_S = 2.0
_HEALTH_BYTES = 65_536


class ServerFile(msgspec.Struct, frozen=True):
    """``server.json`` in a data directory: who runs on it."""

    pid: int
    url: str | None = None
    control: str | None = None
    dev: bool = False


class Target(msgspec.Struct, frozen=True):
    """A server to talk to."""

    url: str
    token: str | None = None
    user: str | None = None
    password: str | None = None
    local: bool = False
    """At the control socket: admin of any workspace, without a credential."""
    found: str = ""
    """How it was found, for messages."""
    instead: str = ""
    """The variable whose credential goes before a data directory's own user; else empty."""


def read_server_file(data: Path) -> ServerFile | None:
    """Who runs, or ran, on a data directory; None when nobody does."""
    try:
        return msgspec.json.decode((data / "server.json").read_bytes(), type=ServerFile)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise CommandError(
            f"{data / 'server.json'} cannot be read: {error}",
            exit_status.UNREACHABLE,
            what_to_do="Give its address with --url, and a --token.",
        ) from error


def control_socket(data: Path, server: ServerFile) -> Path | None:
    """The control socket of a running server; None if it does not answer us."""
    path = data / (server.control or "control.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except OSError:
            return None
    return path


def find_target(
    url: str | None, token: str | None, data: str | None, environment: Environment
) -> Target:
    """The server to talk to: flags, environment, configuration, data directory, default address.

    A configured credential goes to the configured server only. Raises :class:`CommandError` when
    no server is found.
    """
    wanted = url or (None if data else environment.url)
    if wanted is not None:
        return _with_credential(wanted, token, environment, "--url" if url else "TASKYARD_URL")
    if data is None and environment.config.url is not None:
        config = environment.config
        if token or environment.token or environment.user:
            return _with_credential(
                str(config.url), token, environment, str(environment.config_path)
            )
        return Target(
            str(config.url),
            config.token,
            None if config.token else config.user,
            config.password,
            found=str(environment.config_path),
        )
    is_default = data is None and environment.data == DEFAULT_DATA
    return _on_directory(Path(data or environment.data), token, environment, is_default=is_default)


class Health(msgspec.Struct, frozen=True):
    """What a server says of itself to everybody."""

    live: bool
    checks: dict[str, bool]
    dev: bool = False


def _at_default_address() -> Target | None:
    """A server that listens where one does by default; None if there is none of ours.

    Without a credential, unless it says that the well-known one is good.
    """
    host, _, port = DEFAULT_URL.removeprefix("http://").partition(":")
    asked = HTTPConnection(host, int(port), timeout=_PROBE_S)
    try:
        asked.request("GET", "/health")
        health = msgspec.json.decode(asked.getresponse().read(_HEALTH_BYTES), type=Health)
    except (OSError, HTTPException, msgspec.DecodeError):
        return None
    finally:
        asked.close()
    return Target(DEFAULT_URL, "dev" if health.dev else None, found=f"the server at {DEFAULT_URL}")


def _with_credential(url: str, token: str | None, environment: Environment, found: str) -> Target:
    token = token or environment.token
    if token is not None:
        return Target(url, token, found=found)
    if environment.user is not None:
        return Target(url, user=environment.user, password=environment.password, found=found)
    if url == environment.config.url:
        config = environment.config
        user = None if config.token else config.user
        return Target(url, config.token, user, config.password, found=found)
    return Target(url, found=found)


def _on_directory(
    data: Path, token: str | None, environment: Environment, *, is_default: bool
) -> Target:
    server = read_server_file(data)
    found = f"the server on {data}"
    if token or environment.token or environment.user:
        url = (server.url if server else None) or DEFAULT_URL
        target = _with_credential(url, token, environment, found)
        if token or server is None:
            return target
        variable = "TASKYARD_TOKEN" if environment.token else "TASKYARD_USER"
        return msgspec.structs.replace(target, instead=variable)
    if server is None:
        listening = _at_default_address() if is_default else None
        if listening is not None:
            return listening
        also = f", none is listening at {DEFAULT_URL}" if is_default else ""
        raise CommandError(
            f"no server found: none is running on {data}{also}, and no address was given",
            exit_status.UNREACHABLE,
            what_to_do="Start one with 'taskyard up', or give its address with --url or"
            " TASKYARD_URL.",
        )
    path = control_socket(data, server)
    if path is not None:
        return Target(f"unix:{path.absolute()}", local=True, found=found)
    if server.dev:
        return Target(server.url or DEFAULT_URL, "dev", found=found)
    raise CommandError(
        f"the server on {data} (process {server.pid}) does not answer at its control socket",
        exit_status.UNREACHABLE,
        what_to_do=f"Start it with 'taskyard up --data {data}', or use --url and --token.",
    )
