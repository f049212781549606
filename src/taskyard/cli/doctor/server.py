"""The server: whether one answers, or whether its port is free."""

import errno
import os
import socket
from pathlib import Path

from taskyard.cli.doctor.finding import Finding, fail, ok, warn
from taskyard.cli.errors import Stop
from taskyard.cli.target import control_socket, read_server_file


def check_server(data: Path, host: str, port: int) -> Finding:
    """Whether a server runs on the data directory; if not, whether one could listen."""
    try:
        server = read_server_file(data)
    except Stop as stop:
        return fail("server", stop.message, "Remove the file if no server runs.")
    if server is not None and control_socket(data, server) is not None:
        return ok("server", f"process {server.pid} answers on {data}, {server.url}")
    if server is not None and _alive(server.pid):
        return warn(
            "server",
            f"process {server.pid} should run on {data}, but does not answer",
            "Look at its log; it may be starting or stopping.",
        )
    return check_port(host, port)


def check_port(host: str, port: int) -> Finding:
    """Whether an address can be listened on."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        return fail("server", f"{host} is no address of this machine: {error}", "Choose --host.")
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                hint = f"Stop who uses it, or start with --port {port + 1}."
                return warn("server", f"port {port} of {host} is taken", hint)
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
