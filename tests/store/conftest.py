"""All asynchronous tests here run on asyncio; databases of PostgreSQL."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from postgres_table import QUERIES, TABLE

import postgres
from fakes.stores import postgres_url
from taskyard.store.postgres import statements as statements_module
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.connection import PostgresConnection
from taskyard.store.postgres.database import PostgresDatabase


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """An empty database of the present schema."""
    return postgres_url(tmp_path)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> PostgresDatabase:
    """A database with one table, and queries about it."""
    monkeypatch.setattr(statements_module, "SQL", QUERIES)
    name = postgres.new_database()
    postgres.server().run(TABLE, name)
    return PostgresDatabase(database_address(postgres.server().url(name)))


@pytest.fixture
def connection(database: PostgresDatabase) -> Iterator[PostgresConnection]:
    """A connection that writes."""
    with closing(database.connect()) as opened:
        yield opened
