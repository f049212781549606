"""The schema on PostgreSQL: made once, killed at any step, and only where it belongs."""

import os
import subprocess
import sys
import threading

import psycopg
import pytest

import postgres
from taskyard.core.errors import StoreDamaged, TaskyardError, Unavailable
from taskyard.store.postgres import migrate as migrate_module
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.database import PostgresDatabase, check_server
from taskyard.store.postgres.migrate import migrate, migrations
from taskyard.store.sql.migrations import Migration

KILLED = """
import os, signal, sys
import psycopg
from taskyard.store.postgres import migrate as migrate_module
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.database import PostgresDatabase, check_server

migrate_module.migrations()
execute, count = psycopg.Connection.execute, 0

def killing_at(left):
    def seen(self, *args, **kwargs):
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(self, *args, **kwargs)
    return seen

for url in sys.stdin.read().split():
    pid = os.fork()
    if pid == 0:
        psycopg.Connection.execute = killing_at(count)
        migrate_module.migrate(PostgresDatabase(database_address(url)))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != -signal.SIGKILL:
        sys.exit(0 if status == 0 and count > 8 else 1)
    count += 1
sys.exit(2)
"""
ROLE = "guest_of_tests"


def database(name: str, user: str = postgres.USER) -> PostgresDatabase:
    """A database by its name."""
    return PostgresDatabase(database_address(postgres.server().url(name, user)))


def content(name: str) -> list[tuple[object, ...]]:
    """Every column, index and constraint, and which migrations were applied."""
    server = postgres.server()
    columns = server.run(
        "SELECT table_schema, table_name, column_name, data_type, is_nullable, column_default"
        " FROM information_schema.columns"
        " WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, 3",
        name,
    )
    indexes = server.run(
        "SELECT indexdef FROM pg_indexes WHERE schemaname !~ '^pg_' ORDER BY 1", name
    )
    applied = server.run("SELECT id FROM taskyard.schema_migrations ORDER BY id", name)
    return [*columns, *indexes, *applied]


def test_an_empty_database_gets_the_schema_and_an_id() -> None:
    """Once: the next start changes nothing, and another database is another installation."""
    name = postgres.new_database()
    installation = migrate(database(name))
    before = content(name)
    assert migrate(database(name)) == installation
    assert content(name) == before
    assert before[-len(migrations()) :] == [(one.id,) for one in migrations()]
    assert migrate(database(postgres.new_database())) != installation


def test_killed_at_any_statement_the_next_start_does_what_is_missing() -> None:
    """All of a migration is there, or nothing; no lock is in the way."""
    whole = postgres.new_database()
    migrate(database(whole))
    names = [postgres.new_database() for _ in range(26 + 8 * len(migrations()))]
    urls = "\n".join(postgres.server().url(name) for name in names)
    subprocess.run(
        [sys.executable, "-c", KILLED], input=urls.encode(), check=True, timeout=50, cwd="/"
    )
    for name in names:
        migrate(database(name))
        assert content(name) == content(whole)


def test_several_at_once_take_turns() -> None:
    """Each finds the schema complete, and all are the same installation."""
    name = postgres.new_database()
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(migrate(database(name)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def _refused(name: str, user: str = postgres.USER) -> TaskyardError:
    """How a database is refused; nothing in it is changed."""
    tables = "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid ="
    tables += " relnamespace WHERE n.nspname !~ '^pg_' ORDER BY 1, 2"
    before = postgres.server().run(tables, name)
    with pytest.raises(TaskyardError) as error:
        migrate(database(name, user))
    assert postgres.server().run(tables, name) == before
    return error.value


def test_the_database_of_something_else_is_left_alone() -> None:
    """Whatever its schema is called, ours included."""
    server = postgres.server()
    for schema in ("public", "taskyard"):
        name = postgres.new_database()
        server.run(f"CREATE SCHEMA IF NOT EXISTS {schema}", name)
        server.run(f"CREATE TABLE {schema}.customers (id int)", name)
        error = _refused(name)
        assert isinstance(error, StoreDamaged)
        assert f"{schema}.customers" in str(error)
        assert "create a database for Taskyard" in str(error)


def test_a_schema_made_for_us_is_taken_beside_others() -> None:
    """Who makes it says that both are to share the database."""
    server = postgres.server()
    name = postgres.new_database()
    server.run("CREATE TABLE public.customers (id int)", name)
    server.run("CREATE SCHEMA taskyard", name)
    assert migrate(database(name))
    assert server.run("SELECT count(*) FROM public.customers", name) == [(0,)]


def test_a_newer_schema_is_left_alone() -> None:
    """It is upgraded only by the release that knows it."""
    name = postgres.new_database()
    migrate(database(name))
    postgres.server().run("INSERT INTO taskyard.schema_migrations VALUES ('9999-future')", name)
    error = _refused(name)
    assert isinstance(error, StoreDamaged)
    assert "newer version" in str(error)


def test_an_older_schema_is_brought_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what it lacks, in order."""
    name = postgres.new_database()
    migrate(database(name))
    later = [
        Migration("9001-one", "CREATE TABLE one (x bigint);\nCREATE TABLE two (x bigint);"),
        Migration("9002-two", "INSERT INTO two VALUES (1);"),
    ]
    known = migrations()
    monkeypatch.setattr(migrate_module, "migrations", lambda: (*known, *later))
    migrate(database(name))
    assert postgres.server().run("SELECT x FROM taskyard.two", name) == [(1,)]


def test_a_migration_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before it stay; the next start tries again from there."""
    name = postgres.new_database()
    known = migrations()
    steps = [Migration("9001-bad", "CREATE TABLE one (x bigint);\nSELECT * FROM missing;")]
    monkeypatch.setattr(migrate_module, "migrations", lambda: (*known, *steps))
    with pytest.raises(Unavailable, match="missing"):
        migrate(database(name))
    server = postgres.server()
    assert server.run("SELECT to_regclass('taskyard.one')", name) == [(None,)]
    steps[0] = Migration("9001-bad", "CREATE TABLE one (x bigint);")
    migrate(database(name))
    assert server.run("SELECT count(*) FROM taskyard.one", name) == [(0,)]


@pytest.fixture
def guest() -> str:
    """A role that may connect, and nothing else."""
    name = f"{ROLE}_{os.getpid()}"
    if (name,) not in postgres.server().run("SELECT rolname FROM pg_roles"):
        postgres.server().run(f"CREATE ROLE {name} LOGIN")
    return name


def test_a_role_without_rights_is_told_which_it_needs(guest: str) -> None:
    """To make the schema, and to use one that another role made."""
    server = postgres.server()
    name = postgres.new_database()
    error = _refused(name, guest)
    assert isinstance(error, Unavailable)
    assert "CREATE SCHEMA taskyard AUTHORIZATION" in str(error)
    migrate(database(name))
    assert "rights" in str(_refused(name, guest))
    server.run(f"GRANT USAGE ON SCHEMA taskyard TO {guest}", name)
    server.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA taskyard TO {guest}", name)
    assert "GRANT ALL ON ALL TABLES IN SCHEMA taskyard" in str(_refused(name, guest))
    server.run(f"GRANT ALL ON ALL TABLES IN SCHEMA taskyard TO {guest}", name)
    server.run(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA taskyard TO {guest}", name)
    assert migrate(database(name, guest))


def test_a_role_that_owns_the_schema_needs_no_other_rights(guest: str) -> None:
    """So that an administrator makes the schema, and we fill it."""
    name = postgres.new_database()
    postgres.server().run(f"CREATE SCHEMA taskyard AUTHORIZATION {guest}", name)
    assert migrate(database(name, guest))


def test_a_database_that_only_reads_is_refused() -> None:
    """As a replica does, or one that was set so."""
    name = postgres.new_database()
    postgres.server().run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "only reads" in str(_refused(name))


class _Fake:
    """A server that answers what a test says."""

    def __init__(self, version: int, answer: tuple[object, ...]) -> None:
        self.info = self
        self.server_version = version
        self._answer = answer

    def execute(self, sql: str) -> "_Fake":
        """Whatever is asked."""
        del sql
        return self

    def fetchone(self) -> tuple[object, ...]:
        """The answer."""
        return self._answer


@pytest.mark.parametrize(
    ("version", "answer", "said"),
    [
        (130_020, ("UTF8", False, "off"), "needs 14 or newer"),
        (140_000, ("SQL_ASCII", False, "off"), "ENCODING 'UTF8'"),
        (180_004, ("UTF8", True, "off"), "give the address of the primary"),
    ],
)
def test_servers_that_are_unfit_are_refused(
    version: int, answer: tuple[object, ...], said: str
) -> None:
    """Too old, of another encoding, or a replica."""
    fake: object = _Fake(version, answer)
    with pytest.raises(TaskyardError, match=said):
        check_server(fake, "it")  # type: ignore[arg-type]


def test_a_database_that_lost_its_row_is_damaged() -> None:
    """The id of an installation is never made up again."""
    name = postgres.new_database()
    migrate(database(name))
    postgres.server().run("DELETE FROM taskyard.installation", name)
    assert isinstance(_refused(name), StoreDamaged)


def test_the_driver_is_what_is_tested() -> None:
    """A server of the oldest release that is promised, or a newer one."""
    with psycopg.connect(postgres.server().url("postgres")) as connection:
        assert connection.info.server_version >= 140_000
