"""Every kind of object store, for suites that run on all of them.

As a program: puts an object that never ends, for whoever kills it in the middle.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg

import postgres
from taskyard.objects.files.store import FileObjectStore
from taskyard.objects.postgres.store import PostgresObjectStore
from taskyard.ports.objects import ObjectStore
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.migrate import migrate

OBJECT_STORES: Final = ["files", "postgres"]
PART: Final = bytes(range(256)) * 4096
"""1 MiB."""
GOING_AFTER: Final = 12
"""Parts that an endless put has taken when it says so."""


class Harness(Protocol):
    """One place where objects are, and what the outside may do to it."""

    kind: str
    place: str
    """What another process opens."""

    def client(self) -> ObjectStore:
        """One more client, as another process would have it."""
        ...

    async def close(self) -> None:
        """Close all clients."""
        ...

    def age(self, seconds: float) -> None:
        """Everything was put so much earlier, and every unfinished put stopped then."""
        ...

    def leftovers(self) -> int:
        """How much there is of puts that did not finish."""
        ...

    def damage(self) -> None:
        """Every object loses a byte, or all of what it is made of."""
        ...


class Files:
    """Objects below a directory."""

    kind = "files"

    def __init__(self, root: Path) -> None:
        self.place = str(root)
        self._root = root

    def client(self) -> ObjectStore:
        """See the protocol."""
        return FileObjectStore(self._root)

    async def close(self) -> None:
        """See the protocol."""

    def age(self, seconds: float) -> None:
        """See the protocol."""
        for path in self._root.rglob("*"):
            at = path.stat().st_mtime - seconds
            os.utime(path, (at, at))

    def leftovers(self) -> int:
        """See the protocol."""
        return len(list(self._root.glob(".unfinished/*")))

    def damage(self) -> None:
        """See the protocol."""
        for path in self._root.rglob("=*"):
            path.write_bytes(path.read_bytes()[:-1])


class Postgres:
    """Objects in a database of their own."""

    kind = "postgres"

    def __init__(self, url: str) -> None:
        self.place = url
        self._clients: list[PostgresObjectStore] = []

    def client(self) -> ObjectStore:
        """See the protocol."""
        self._clients.append(PostgresObjectStore(self.place))
        return self._clients[-1]

    async def close(self) -> None:
        """See the protocol."""
        for client in self._clients:
            await client.close()

    def age(self, seconds: float) -> None:
        """See the protocol."""
        self._run("UPDATE objects SET put_at = put_at - %s", round(seconds * 1e6))
        self._run("UPDATE object_orphans SET active_at = active_at - %s", round(seconds * 1e6))

    def leftovers(self) -> int:
        """See the protocol."""
        orphans, chunks = self._run(
            "SELECT (SELECT count(*) FROM object_orphans), (SELECT count(*) FROM object_chunks"
            " WHERE content_id NOT IN (SELECT content_id FROM objects))"
        )
        return orphans + chunks

    def damage(self) -> None:
        """See the protocol."""
        self._run("DELETE FROM object_chunks")

    def connect(self) -> "psycopg.Connection[Any]":
        """A connection to the tables, in autocommit."""
        options = "-c search_path=taskyard"
        return psycopg.connect(self.place, autocommit=True, options=options)

    def _run(self, sql: str, *values: int) -> tuple[int, ...]:
        with self.connect() as connection:
            cursor = connection.execute(sql.encode(), values)
            return () if cursor.description is None else cursor.fetchall()[0]


def migrated(url: str) -> None:
    """Make our tables."""
    migrate(PostgresDatabase(database_address(url)))


@asynccontextmanager
async def harness(kind: str, directory: Path) -> AsyncIterator[Harness]:
    """An empty place of one of the kinds in :data:`OBJECT_STORES`."""
    if kind == "files":
        yield Files(directory / "objects")
        return
    async with in_database() as place:
        yield place


@asynccontextmanager
async def in_database() -> AsyncIterator[Postgres]:
    """A new database with the tables of objects."""
    database = postgres.new_database(postgres.server().template("objects", migrated))
    place = Postgres(postgres.server().url(database))
    try:
        yield place
    finally:
        await place.close()


@asynccontextmanager
async def opened(kind: str, place: str) -> AsyncIterator[ObjectStore]:
    """A client of a place that another process knows."""
    if kind == "files":
        yield FileObjectStore(Path(place))
        return
    store = PostgresObjectStore(place)
    try:
        yield store
    finally:
        await store.close()


def endless(going: int = GOING_AFTER) -> Iterator[bytes]:
    """Parts without end; says on standard output when so many were taken, and waits."""
    for number in range(1 << 30):
        if number == going:
            sys.stdout.write("going\n")
            sys.stdout.flush()
            time.sleep(3600)
        yield PART


async def _put(kind: str, place: str, key: str) -> None:
    async with opened(kind, place) as store:
        await store.put(key, endless())


if __name__ == "__main__":
    asyncio.run(_put(*sys.argv[1:]))
