"""``taskyard up``."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from taskyard.cli import exit_status
from taskyard.cli.errors import CommandError, UsageError
from taskyard.cli.quantities import size_bytes
from taskyard.cli.target import control_socket, read_server_file


def up(
    *,
    data: Path | None = None,
    host: str | None = None,
    port: Annotated[int | None, Parameter(name=["--port", "-p"])] = None,
    database: str | None = None,
    listen: tuple[str, ...] = (),
    dev: bool = False,
    config: Path | None = None,
    log_format: Literal["json", "console"] | None = None,
    log_level: Literal["debug", "info", "warning", "error"] | None = None,
    slots: int | None = None,
    cpu: float | None = None,
    memory: str | None = None,
    nats: str | None = None,
    cluster: bool = False,
) -> int:
    """Start the server and its worker. Ctrl-C stops both; running commands continue.

    Args:
        data: Data directory, ./taskyard-data by default. One of an older version is migrated.
        host: Address to listen on, 127.0.0.1 by default.
        port: Port to listen on, 8000 by default.
        database: URL of a PostgreSQL database that keeps the state, postgresql://USER@HOST/DATABASE;
            SQLite in the data directory by default. The password may come from the environment
            (TASKYARD_DATABASE_PASSWORD) or a file (TASKYARD_DATABASE_PASSWORD_FILE).
        listen: NAME=HOST:PORT gives one API its own address at the root; repeatable.
        dev: Development mode: well-known credentials (token dev), loopback only.
        config: Configuration file.
        log_format: Log format.
        log_level: Lowest level to log.
        slots: Maximum number of tasks that the worker runs at once.
        cpu: Cores the worker offers.
        memory: Memory the worker offers, such as 4GiB.
        nats: Address of a NATS server for messages between control planes, nats://HOST:4222.
        cluster: Start such a server beside this one, on 127.0.0.1:4222 by default.
    """
    for each in listen:
        name, equals, address = each.partition("=")
        if not (equals and name and address.rpartition(":")[2].isdecimal()):
            raise UsageError(f"--listen: {each!r} must be NAME=HOST:PORT")
    overrides: dict[str, Any] = {
        "data": data,
        "host": host,
        "port": port,
        "database": database,
        "listen": listen or None,
        "dev": dev or None,
        "log_format": log_format,
        "log_level": log_level,
        "worker_slots": slots,
        "worker_cpu": cpu,
        "worker_memory_bytes": None if memory is None else size_bytes(memory, "--memory"),
    }
    overrides = {name: value for name, value in overrides.items() if value is not None}
    if nats is not None or cluster:
        given = {"url": nats, "serve": cluster or None}
        overrides["nats"] = {name: value for name, value in given.items() if value is not None}
    return _serve(config, overrides)


def _serve(config: Path | None, overrides: dict[str, Any]) -> int:
    from taskyard.core.errors import (  # noqa: PLC0415 - the server's parts load slowly
        InvalidInput,
        StorageFull,
        StoreInUse,
        TaskyardError,
        Unavailable,
    )
    from taskyard.server.run import serve  # noqa: PLC0415 - as above
    from taskyard.server.settings import Settings  # noqa: PLC0415 - as above

    data: Path | None = None
    try:
        settings = Settings.load(config, overrides)
        data = settings.data
        serve(settings)
    except InvalidInput as error:
        raise CommandError(str(error), exit_status.USAGE) from error
    except (StoreInUse, StorageFull) as error:
        raise CommandError(str(error), exit_status.TRY_AGAIN) from error
    except Unavailable as error:
        # A database or NATS: neither is this machine's trouble, and it may be there later.
        raise CommandError(str(error), exit_status.UNREACHABLE) from error
    except TaskyardError as error:
        raise CommandError(str(error), exit_status.TROUBLE) from error
    except OSError as error:
        running = None if data is None else read_server_file(data)
        if data is not None and running is not None and control_socket(data, running) is not None:
            raise CommandError(
                f"a server is already running on {data}: process {running.pid}, {running.url}",
                exit_status.TRY_AGAIN,
                what_to_do="Use that one, or stop it, or choose another --data and --port.",
            ) from error
        hint = "Is the address in use? Choose another --port, or --data that can be written."
        raise CommandError(
            f"the server cannot start: {error}", exit_status.TROUBLE, what_to_do=hint
        ) from error
    return exit_status.OK
