"""Runs a server or a worker in this process; what can go wrong, as sentences and exit codes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskyard.cli import exit_status
from taskyard.cli.errors import CommandError
from taskyard.cli.target import control_socket, read_server_file

if TYPE_CHECKING:
    from taskyard.core.stay import Stay


def serve_until_stopped(config: Path | None, overrides: dict[str, Any]) -> int:
    """Serve with these settings."""
    from taskyard.server.run import serve  # noqa: PLC0415 - the server's parts load slowly
    from taskyard.server.settings import Settings  # noqa: PLC0415 - as above

    data: Path | None = None
    with _told():
        try:
            settings = Settings.load(config, overrides)
            data = settings.data
            serve(settings)
        except OSError as error:
            raise _not_started(data, error) from error
    return exit_status.OK


def join_and_work(
    text: str, config: Path | None, overrides: dict[str, Any], stay: "Stay", *, as_json: bool
) -> int:
    """Work for whom a join string names, with these settings."""
    from taskyard.core.access.join_string import join_string  # noqa: PLC0415 - as above
    from taskyard.server.joined_worker import work  # noqa: PLC0415 - as above
    from taskyard.server.settings import Settings  # noqa: PLC0415 - as above

    with _told():
        try:
            work(Settings.load(config, overrides), join_string(text), stay, as_json=as_json)
        except OSError as error:
            raise CommandError(
                f"the worker cannot start: {error}",
                exit_status.TROUBLE,
                what_to_do="Choose another --data, one that can be written.",
            ) from error
    return exit_status.OK


@contextmanager
def _told() -> Iterator[None]:
    """Raise what keeps it from serving as ``CommandError``."""
    from taskyard.core.errors import (  # noqa: PLC0415 - loads slowly
        InvalidInput,
        StorageFull,
        StoreInUse,
        TaskyardError,
        Unavailable,
    )

    try:
        yield
    except InvalidInput as error:
        raise CommandError(str(error), exit_status.USAGE) from error
    except (StoreInUse, StorageFull) as error:
        raise CommandError(str(error), exit_status.TRY_AGAIN) from error
    except Unavailable as error:
        # A database or NATS: neither is this machine's trouble, and it may be there later.
        raise CommandError(str(error), exit_status.UNREACHABLE) from error
    except TaskyardError as error:
        raise CommandError(str(error), exit_status.TROUBLE) from error


def _not_started(data: Path | None, error: OSError) -> CommandError:
    running = None if data is None else read_server_file(data)
    if data is not None and running is not None and control_socket(data, running) is not None:
        return CommandError(
            f"a server is already running on {data}: process {running.pid}, {running.url}",
            exit_status.TRY_AGAIN,
            what_to_do="Use that one, or stop it, or choose another --data and --port.",
        )
    hint = "Is the address in use? Choose another --port, or --data that can be written."
    return CommandError(f"the server cannot start: {error}", exit_status.TROUBLE, what_to_do=hint)
