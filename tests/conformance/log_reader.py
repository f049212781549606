"""Reads a change log, and what tests write into it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from fakes.stores import opened_postgres, postgres_url
from taskyard.core.changes import Change, Committed, Outdated
from taskyard.ports.changes import ChangeLog, LoggedCommit, LogPosition
from taskyard.store.postgres.store import PostgresStore

APPEND = (
    "INSERT INTO changes (at, data) VALUES"
    " ((extract(epoch FROM clock_timestamp()) * 1000000)::bigint, %s)"
)


class Reader:
    """Reads a log from its present end on."""

    def __init__(self, log: ChangeLog, position: LogPosition, limit: int = 100) -> None:
        self.log = log
        self.position = position
        self.limit = limit
        self.commits: list[LoggedCommit] = []

    async def read(self) -> list[LoggedCommit]:
        """What is new; all pages of it."""
        found: list[LoggedCommit] = []
        while True:
            page = await self.log.after(self.position, self.limit)
            assert len(page.commits) <= self.limit
            found += page.commits
            self.position = page.position
            if not page.is_full:
                self.commits += found
                return found

    async def changes(self) -> list[Change]:
        """The changes that are new."""
        return [
            change
            for one in await self.read()
            if one.committed is not None
            for change in one.committed.changes
        ]

    def marks(self) -> list[str]:
        """What :func:`marked` wrote, in the order in which it was read."""
        return [
            entry.key
            for one in self.commits
            if one.committed is not None
            for entry in one.committed.outdated
        ]


def marked(key: str) -> bytes:
    """A row that can be told from others."""
    return msgspec.json.encode(Committed((), (Outdated("test", key),)))


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[PostgresStore]:
    """A store, closed afterwards."""
    store = await opened_postgres(directory)
    try:
        yield store
    finally:
        await store.close()


def connect(directory: Path) -> "psycopg.Connection[Any]":
    """A connection to the store's database that begins transactions by itself."""
    return psycopg.connect(postgres_url(directory), options="-c search_path=taskyard")
