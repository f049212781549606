"""``taskyard up``."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from taskyard.cli.errors import UsageError
from taskyard.cli.quantities import size_bytes
from taskyard.cli.serving import serve_until_stopped


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
    return serve_until_stopped(config, overrides)
