"""The server: whether it answers, how it isolates tasks, and what it has parked."""

import errno
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from taskyard.cli.doctor.finding import Finding, fail, ok, warn
from taskyard.cli.errors import CommandError
from taskyard.cli.target import control_socket, read_server_file
from taskyard.store.sqlite.database import FILE_NAME, connect


def check_server(data: Path, host: str, port: int) -> Finding:
    """Whether a server runs on the data directory; if not, whether one could listen."""
    try:
        server = read_server_file(data)
    except CommandError as stop:
        return fail("server", stop.message, "Remove the file if no server runs.")
    if server is not None and control_socket(data, server) is not None:
        return ok("server", f"process {server.pid} answers on {data}, {server.url}")
    if server is not None and _alive(server.pid):
        return warn(
            "server",
            f"process {server.pid} is running on {data}, but does not answer",
            "See its log; it may be starting or stopping.",
        )
    return check_port(host, port)


def check_port(host: str, port: int) -> Finding:
    """Whether an address can be listened on."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        return fail(
            "server", f"{host} is not an address of this machine: {error}", "Choose --host."
        )
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                hint = f"CommandError who uses it, or start with --port {port + 1}."
                return warn("server", f"port {port} of {host} is in use", hint)
            return fail("server", f"cannot listen at {host}:{port}: {error}", "Choose --port.")
    return ok("server", f"none runs; port {port} of {host} is free")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def overrides_of(database: str | None, nats: str | None) -> dict[str, Any]:
    """Settings that the options of the command stand for."""
    overrides: dict[str, Any] = {}
    if database is not None:
        overrides["database"] = database
    if nats is not None:
        overrides["nats"] = {"url": nats}
    return overrides


_ISOLATION = {
    "users": "each workspace's commands, functions and builds run as a user of its own",
    "sandbox": "commands, functions and builds run in sandboxes",
}


def check_work(data: Path, database: str | None = None, nats: str | None = None) -> Finding:
    """What a server started by this user, with the settings found here, would do."""
    from taskyard.core.errors import InvalidInput  # noqa: PLC0415 - loads the server's settings
    from taskyard.server.settings import Settings  # noqa: PLC0415 - as above
    from taskyard.server.work import warnings_of, work_rules  # noqa: PLC0415 - as above

    try:
        given = {"data": data} | overrides_of(database, nats)
        rules = work_rules(Settings.load(None, given))
    except InvalidInput as error:
        return fail("isolation", str(error), "Correct the setting; the server would not start.")
    warnings = warnings_of(rules)
    if not warnings:
        return ok("isolation", _ISOLATION[rules.isolation])
    return warn(
        "isolation",
        "; ".join(warnings),
        "Run the server as root, or install bubblewrap and allow user name spaces; otherwise give"
        " tokens only to people whom you would let work as this user.",
    )


def check_reach(data: Path) -> Finding:
    """Whether users of workspaces can get to what functions are made of."""
    from taskyard.core.errors import InvalidInput  # noqa: PLC0415 - loads the server's settings
    from taskyard.runtimes.function.reachability import closed_places, obstacle_to_reach  # noqa: PLC0415 - loads a runtime
    from taskyard.server.settings import Settings  # noqa: PLC0415 - as above
    from taskyard.server.work import work_rules  # noqa: PLC0415 - as above

    try:
        changes_user = work_rules(Settings.load(None, {"data": data})).changes_user
    except InvalidInput:
        changes_user = False  # Another check reports that.
    closed = closed_places(data.absolute() / "functions") if changes_user else []
    if not closed:
        return ok("reach", "functions can reach all files they need")
    shown = ", ".join(closed)
    obstacle = obstacle_to_reach(closed)
    if obstacle is None:
        return ok("reach", f"closed to users, but mounted for functions: {shown}")
    return warn(
        "reach",
        f"functions of workspaces cannot reach {shown} ({obstacle})",
        "Install Taskyard and tool chains, and keep the data, where every user has access, such"
        " as /opt and /var/lib; or give the server the right to mount.",
    )


_SHOWN = 3


def check_parked(data: Path) -> Finding | None:
    """Whether anything is parked; None without a store."""
    path = data / FILE_NAME
    if not path.exists():
        return None
    try:
        with closing(connect(path, read_only=True)) as connection:
            rows = connection.execute(
                "SELECT kind, key, reason FROM parked ORDER BY since"
            ).fetchall()
    except sqlite3.Error:
        return None  # Made by an older release, or not a store: other checks say so.
    if not rows:
        return ok("parked", "nothing is parked")
    shown = "; ".join(f"{kind} {key}: {reason}" for kind, key, reason in rows[:_SHOWN])
    more = f"; and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return warn(
        "parked",
        f"{len(rows)} parked: {shown}{more}",
        "Remove the cause, then restart the server or wait; see 'taskyard parked'.",
    )
