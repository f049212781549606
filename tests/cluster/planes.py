"""Several control planes of one installation, each a real server, and what befalls them."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2

import postgres
from eventually import eventually
from lone_postgres import LonePostgres
from natsserver import NatsServer, nats_server
from served import Served

TIMEOUT_S = 10.0


class Planes:
    """An installation on a PostgreSQL and a NATS server of its own.

    Args:
        root: for the planes' data directories.
        database: the server, and the name of the database on it.
        nats: the message server.
        count: of planes.
        more: options of each, by its number.
    """

    def __init__(
        self,
        root: Path,
        database: tuple[postgres.PostgresServer | LonePostgres, str],
        nats: NatsServer,
        count: int = 3,
        more: Callable[[int], Sequence[str]] = lambda _number: (),
    ) -> None:
        self.postgres, self.database = database
        self.nats = nats
        url = self.postgres.url(self.database)
        options = ("--database", url, "--nats", nats.url, "--slots", "8")
        self.all = [
            Served(root / f"plane{number}", *options, *more(number)) for number in range(count)
        ]
        self.seed = 0
        """Of all that is left to chance."""
        self._frozen: dict[int, list[int]] = {}

    def start(self) -> None:
        """Start them together, and wait until each takes requests."""
        first, *others = self.all
        first.start()
        first.await_ready()
        for one in others:
            one.data.mkdir(mode=0o711)
            shutil.copy(first.data / "secret.key", one.data)
            one.start()
        for one in others:
            one.await_ready()

    def end(self) -> None:
        """Leave nothing of them behind."""
        for number in list(self._frozen):
            self.thaw(number)
        for one in self.all:
            one.end()

    def client(self, number: int) -> httpx2.Client:
        """An administrator's client of one plane."""
        client = self.all[number].client()
        client.timeout = httpx2.Timeout(TIMEOUT_S)
        return client

    def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """Ask planes in turn until one answers; fails if none does for a minute."""
        deadline = time.monotonic() + 60
        number = 0
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx2.TransportError), self.client(number) as client:
                answer = client.request(method, path, **more)
                if answer.status_code != 503:
                    return answer
            number = (number + 1) % len(self.all)
            time.sleep(0.05)
        raise AssertionError(f"no control plane answered {method} {path}")

    # What befalls them

    def kill(self, number: int) -> None:
        """SIGKILL for the plane; its store process ends by itself, what it runs goes on."""
        self.thaw(number)
        self.all[number].kill()

    def start_again(self, number: int) -> None:
        """After :meth:`kill`; it may take its time."""
        self.all[number].start()

    def freeze(self, number: int) -> None:
        """SIGSTOP for the plane and its store process."""
        self._stop(number, [self.all[number].pid, *self.all[number].store_pids()])

    def _stop(self, number: int, pids: list[int]) -> None:
        self._frozen[number] = pids
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def freeze_store(self, number: int) -> None:
        """SIGSTOP for the plane's store process alone."""
        self._stop(number, self.all[number].store_pids())

    def thaw(self, number: int) -> None:
        """Let it go on, if it was frozen."""
        for pid in self._frozen.pop(number, []):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def cut_database(self) -> None:
        """End every connection to the database."""
        self.postgres.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            self.database,
        )

    def restart_nats(self) -> None:
        """Kill the message server, and start it again on the same port."""
        self.nats.stop()
        self.nats.start()

    # What the store says

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query on the store's tables answers."""
        import psycopg  # noqa: PLC0415 - an extra

        url, options = self.postgres.url(self.database), "-c search_path=taskyard"
        with psycopg.connect(url, options=options) as connection:
            return connection.execute(sql.encode()).fetchall()

    def findings(self) -> list[Any]:
        """What ``taskyard store check`` finds."""
        command = [str(Path(sys.executable).with_name("taskyard")), "store", "check", "--json"]
        command += ["--database", self.postgres.url(self.database)]
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert told.returncode in {0, 1}, told.stderr
        found: list[Any] = json.loads(told.stdout)["findings"]
        return found

    def leader(self) -> str | None:
        """The plane that leads by the store's clock; None if there is none."""
        found = self.postgres.run(
            "SELECT plane_id FROM taskyard.leadership WHERE expires_at >"
            " extract(epoch FROM clock_timestamp()) * 1000000",
            self.database,
        )
        return str(found[0][0]) if found else None

    def number_of(self, plane: str) -> int | None:
        """Which of :attr:`all` goes by this name."""
        for number, one in enumerate(self.all):
            path = one.data / "plane.json"
            if path.exists() and json.loads(path.read_text())["plane"] == plane:
                return number
        return None

    def await_leader(self) -> str:
        """The plane that leads, as soon as one does."""
        leader = eventually(self.leader, lambda found: found is not None, within_s=20)
        assert leader is not None
        return leader


@contextlib.contextmanager
def installation(root: Path, count: int = 3) -> Iterator[Planes]:
    """A running installation."""
    server = postgres.server()
    # Not one of the test's, which end with it: an installation may serve many.
    database = server.create_database()
    try:
        with installed(root, (server, database), count) as planes:
            yield planes
    finally:
        server.drop_database(database)


@contextlib.contextmanager
def installed(
    root: Path,
    database: tuple[postgres.PostgresServer | LonePostgres, str],
    count: int = 3,
    more: Callable[[int], Sequence[str]] = lambda _number: (),
) -> Iterator[Planes]:
    """A running installation on an empty database."""
    with nats_server(root) as nats:
        planes = Planes(root, database, nats, count, more)
        try:
            planes.start()
            yield planes
        finally:
            planes.end()
