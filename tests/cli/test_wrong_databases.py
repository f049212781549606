"""What ``taskyard up`` says of a database that it cannot have; nothing is changed."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import postgres
from lone_postgres import LonePostgres, lone_postgres
from served import Served, serving
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.migrate import migrate

USAGE: Final = 2
UNFIT: Final = 125
AWAY: Final = 69
_CONTENT: Final = (
    "SELECT n.nspname, c.relname, pg_relation_size(c.oid) FROM pg_class AS c"
    " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
    " WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2"
)


def refused(data: Path, *options: str) -> tuple[int, str]:
    """Exit status and what was said by a server that ought not to start."""
    served = Served(data, *options)
    served.start()
    process = served._process
    assert process is not None
    try:
        process.join(60)
        said = served.log.read_text(errors="replace") if served.log.exists() else ""
        assert process.exitcode is not None, f"it runs: {said}"
        return process.exitcode, said
    finally:
        served.end()


def check(data: Path, url: str, status: int, said: str) -> None:
    """It is refused with this status and these words, in a line without secrets or traceback."""
    before = sorted(data.rglob("*")) if data.exists() else None
    found, text = refused(data, "--database", url)
    assert (found, said in text) == (status, True), (found, text)
    assert "Traceback" not in text
    assert "bug" not in text
    assert postgres.PASSWORD not in text
    if before is not None:
        assert [one for one in before if not one.exists()] == []


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("mysql://u@127.0.0.1/d", USAGE, "must be a URL like postgresql://"),
        ("/var/lib/taskyard", USAGE, "must be a URL like postgresql://"),
        ("postgresql://u@127.0.0.1", USAGE, "must have the name of a database"),
        ("postgresql://127.0.0.1/d", USAGE, "must have a user"),
        ("postgresql://u@127.0.0.1:1/d", AWAY, "check that it runs"),
        ("postgresql://u@nowhere.invalid/d", AWAY, "check the name of the host"),
    ],
)
def test_wrong_urls(tmp_path: Path, url: str, status: int, said: str) -> None:
    """Usage errors are told from servers that are not there."""
    check(tmp_path / "data", url, status, said)


def test_wrong_credentials(tmp_path: Path) -> None:
    """The password is not shown."""
    server, name = postgres.server(), postgres.new_database()
    wrong = server.loopback_url(name, password="not this one")
    check(tmp_path / "data", wrong, AWAY, "check the user and the password")
    check(tmp_path / "data", server.loopback_url("missing"), AWAY, "CREATE DATABASE")


_WRONG: Final[dict[str, tuple[str, bool, int, str]]] = {
    "of something else": ("CREATE TABLE public.shop (id int)", False, UNFIT, "CREATE SCHEMA"),
    "newer": (
        "INSERT INTO taskyard.schema_migrations (id) VALUES ('9999-later')",
        True,
        UNFIT,
        "newer",
    ),
    "read only": (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on',"
        " current_database()); END $$",
        False,
        AWAY,
        "default_transaction_read_only",
    ),
}


@pytest.mark.parametrize("kind", _WRONG)
def test_a_database_that_is_not_for_us(tmp_path: Path, kind: str) -> None:
    """It is left as it was."""
    statement, migrated, status, said = _WRONG[kind]
    server, name = postgres.server(), postgres.new_database()
    if migrated:
        migrate(PostgresDatabase(database_address(server.url(name))))
    server.run(statement, name)
    before = server.run(_CONTENT, name)
    check(tmp_path / "data", server.url(name), status, said)
    assert server.run(_CONTENT, name) == before


def test_directories_and_databases_that_do_not_belong_together(tmp_path: Path) -> None:
    """SQLite's with PostgreSQL, a plane's without, and another installation's."""
    server, name, other = postgres.server(), postgres.new_database(), postgres.new_database()
    with serving(tmp_path / "sqlite"), serving(tmp_path / "plane", "--database", server.url(name)):
        pass
    with serving(tmp_path / "other", "--database", server.url(other)):
        pass
    before = [server.run(_CONTENT, one) for one in (name, other)]
    check(tmp_path / "sqlite", server.url(name), UNFIT, "taskyard store copy")
    status, said = refused(tmp_path / "plane")
    assert status == UNFIT, said
    assert "database" in said
    check(tmp_path / "plane", server.url(other), UNFIT, "give the right --database")
    assert [server.run(_CONTENT, one) for one in (name, other)] == before


@contextlib.contextmanager
def standby(primary: LonePostgres, root: Path) -> Iterator[int]:
    """A replica of a server; answers its port."""
    place = postgres.programs()
    assert place is not None
    port = postgres.create(root, place)
    data = root / "data"
    as_nobody: list[str] = postgres._as_nobody()
    subprocess.run([*as_nobody, "rm", "-r", str(data)], check=True, cwd="/")
    copy = [*as_nobody, str(place / "pg_basebackup"), "-D", str(data), "-R", "-c", "fast"]
    subprocess.run([*copy, "-d", primary.url("postgres")], check=True, cwd="/", capture_output=True)
    # It starts with the primary's password file and settings, on a port of its own.
    process = postgres.start_programs(root, place, port, durable=False, more={"hot_standby": "on"})
    try:
        yield port
    finally:
        postgres.stop_programs(process)


@pytest.mark.long
def test_a_replica(tmp_path: Path) -> None:
    """Alone it is refused; of all servers the one is found that takes writes."""
    with (
        tempfile.TemporaryDirectory(prefix="ty-standby") as place,
        lone_postgres() as primary,
        standby(primary, Path(place)) as port,
    ):
        alone = primary.url().replace(f":{primary.port}/", f":{port}/")
        check(tmp_path / "data", alone, AWAY, "give the address of the primary")
        both = alone.replace(f"127.0.0.1:{port}", f"127.0.0.1:{port},127.0.0.1:{primary.port}")
        with (
            serving(tmp_path / "data", "--database", both) as served,
            served.client() as client,
        ):
            client.post("/tasks", json={"command": "true"}).raise_for_status()
