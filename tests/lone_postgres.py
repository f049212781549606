"""A PostgreSQL server of a test's own, to be stopped, restarted and frozen."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import postgres


class LonePostgres:
    """A server that nobody else uses.

    Args:
        root: its directory.
        durable: with PostgreSQL's own settings, not those that make tests quick.
        settings: more of them.
    """

    def __init__(
        self, root: Path, *, durable: bool = False, settings: Mapping[str, str] | None = None
    ) -> None:
        place = postgres.programs()
        assert place is not None
        self._place = place
        self._root = root
        self._durable = durable
        self._settings = settings
        self.port = postgres.create(root, place)
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []
        self.start()

    def url(self, database: str = "taskyard") -> str:
        """Where it is: on loopback, as that of another machine would be reached."""
        password = postgres.PASSWORD.replace(" ", "%20")
        return f"postgresql://{postgres.USER}:{password}@127.0.0.1:{self.port}/{database}"

    def run(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the superuser."""
        import psycopg  # noqa: PLC0415 - an optional dependency

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return [] if cursor.description is None else cursor.fetchall()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self._process = postgres.start_programs(
            self._root, self._place, self.port, durable=self._durable, more=self._settings
        )

    def stop(self) -> None:
        """Stop it at once, as a machine that loses its power does."""
        process, self._process = self._process, None
        if process is not None:
            self.thaw()
            postgres.stop_programs(process)

    def restart(self) -> None:
        """Stop it at once, and start it again; it recovers then."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP for all its processes: it takes connections and bytes, and answers nothing."""
        assert self._process is not None
        pids = [self._process.pid, *_children(self._process.pid)]
        self._frozen = pids
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, if it was frozen."""
        pids, self._frozen = self._frozen, []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def cut(self) -> None:
        """End every connection of Taskyard's."""
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'taskyard%' AND pid <> pg_backend_pid()"
        )


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


@contextlib.contextmanager
def lone_postgres(
    *, durable: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[LonePostgres]:
    """A running server with an empty database ``taskyard``; skips where there can be none."""
    postgres.server()
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    root = Path(tempfile.mkdtemp(prefix="ty-lone", dir=where))
    try:
        server = LonePostgres(root, durable=durable, settings=settings)
        try:
            server.run("CREATE DATABASE taskyard")
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)
