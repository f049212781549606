"""Named queries: what the code asks for exists in every database's words."""

import ast
import re
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Final

import pytest
from psycopg.pq import ExecStatus

import taskyard.store.sql
from fakes.stores import postgres_url, prepare
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.placeholders import numbered
from taskyard.store.postgres.values import encoder
from taskyard.store.sql.queries import queries
from taskyard.store.sqlite.database import FILE_NAME, connect

SQLITE, POSTGRES = PACKAGES = "taskyard.store.sqlite", "taskyard.store.postgres"
FILES = {name.partition(".")[0] for package in PACKAGES for name in queries(package)}
"""What the first half of a name can be."""
OF_ONE_DATABASE: Final = {
    SQLITE: {"tasks.last_seq"},
    POSTGRES: {"changes", "condition", "connection", "locks", "shards"},
}
"""Queries and files that others lack: what drivers ask for, and what only several writers need."""
STATEMENT: Final = re.compile(r"(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
SUBQUERY: Final = re.compile(r"(?:FROM|JOIN|LATERAL)\s*\((?=\s*SELECT)")


def names_in_code() -> set[str]:
    """Every text in the store's code that looks like the name of a query."""
    found = set()
    for path in Path(taskyard.store.sql.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                file, _, name = node.value.partition(".")
                if file in FILES and name.isidentifier():
                    found.add(node.value)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_in_the_code_is_a_query(package: str) -> None:
    """A misspelt name would be found only when somebody needs it."""
    used = names_in_code()
    assert len(used) > 150
    others = OF_ONE_DATABASE[POSTGRES] - OF_ONE_DATABASE[package]
    missing = used - queries(package).keys()
    assert {name for name in missing if name.partition(".")[0] not in others} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_database_replaces_only_what_exists(package: str) -> None:
    """What only one database has is asked for by its own driver."""
    own = {entry.name for entry in (resources.files(package) / "queries").iterdir()}
    assert own
    assert own <= {f"{file}.sql" for file in FILES}


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_in_braces_is_left(package: str) -> None:
    """Columns and other queries are filled in; those of a table with an alias carry that."""
    named = queries(package)
    assert not [name for name, sql in named.items() if re.search(r"\{[\w.]+\}|\{\{", sql)]
    assert "t.seq, t.id, t.workspace, t.spec" in named["jobs.executions_of_job"]
    assert named["endpoints.call_by_id"].endswith("WHERE c.id = :id")


def test_databases_have_the_same_queries() -> None:
    """Where they differ in their words, each has its own."""
    named = {
        package: {
            name
            for name in queries(package)
            if not {name, name.partition(".")[0]} & OF_ONE_DATABASE[package]
            and STATEMENT.match(queries(package)[name])
        }
        for package in PACKAGES
    }
    assert named[SQLITE] == named[POSTGRES]


def test_postgresql_understands_every_query(tmp_path: Path) -> None:
    """Each is prepared, and its placeholders are of types that values can be sent as."""
    refused = {}
    database = PostgresDatabase(database_address(postgres_url(tmp_path)))
    with closing(database.raw()) as connection:
        for name, sql in queries(POSTGRES).items():
            if not STATEMENT.match(sql):
                continue  # a part of others
            key = name.encode()
            result = connection.pgconn.prepare(key, numbered(sql).sql.encode())
            if result.status != ExecStatus.COMMAND_OK:
                refused[name] = result.error_message.decode()
                continue
            described = connection.pgconn.describe_prepared(key)
            for number in range(described.nparams):
                encoder(described.param_type(number))
    assert refused == {}


def test_sqlite_understands_every_query(tmp_path: Path) -> None:
    """Each is compiled."""
    prepare(tmp_path)
    refused = {}
    with closing(connect(tmp_path / FILE_NAME)) as connection:
        for name, sql in queries(SQLITE).items():
            if not STATEMENT.match(sql):
                continue
            names = dict.fromkeys(re.findall(r":(\w+)", sql))
            values = names or [None] * sql.count("?")
            try:
                connection.execute(f"EXPLAIN {sql}", values)
            except Exception as error:  # noqa: BLE001 - told for all of them at once
                refused[name] = str(error)
    assert refused == {}


def test_subqueries_have_names() -> None:
    """PostgreSQL before 16 wants one for each that is read from."""
    named = re.compile(r"\s*(AS\s+)?(?!(WHERE|ON|ORDER|GROUP)\b)\w")
    nameless = [
        name
        for name, sql in queries(POSTGRES).items()
        for match in SUBQUERY.finditer(sql)
        if not named.match(sql[_closed(sql, match.end()) :])
    ]
    assert nameless == []


def _closed(sql: str, begin: int) -> int:
    """Behind the parenthesis that closes the one before a position."""
    depth = 1
    for position, letter in enumerate(sql[begin:], begin):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return position + 1
    raise ValueError(f"a parenthesis is not closed in {sql!r}")
