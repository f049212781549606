"""What ``taskyard doctor`` says of PostgreSQL and NATS."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import Inside

import postgres
from lone_postgres import lone_postgres
from natsserver import NatsServer, nats_server
from taskyard.cli.doctor import database as checks
from taskyard.cli.doctor.database import check_database
from taskyard.cli.doctor.finding import Finding, Status


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's own are."""
    for name in ("DATABASE", "DATABASE_PASSWORD", "DATABASE_PASSWORD_FILE"):
        monkeypatch.delenv(f"TASKYARD_{name}", raising=False)


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server for all tests here."""
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


def findings(data: Path, database: str | None = None, nats: str | None = None) -> list[Finding]:
    """All of them; whatever is not well says what to do."""
    found = list(check_database(data, database, nats))
    for one in found:
        assert (one.what_to_do == "") == (one.status is Status.OK), one
    return found


def only(found: list[Finding], check: str) -> Finding:
    """The one finding of a check."""
    (one,) = [one for one in found if one.check == check]
    return one


def tables(name: str) -> list[tuple[object, ...]]:
    """What a database has that is not PostgreSQL's own."""
    return postgres.server().run(
        "SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n"
        " ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_|^information_schema' ORDER BY 1, 2",
        name,
    )


def test_without_either_nothing_is_said(tmp_path: Path) -> None:
    """As most machines have neither."""
    assert findings(tmp_path) == []


@pytest.mark.long
def test_a_good_database_is_left_as_it_was(tmp_path: Path, nats: NatsServer) -> None:
    """Every check is content, and an empty database stays empty."""
    with lone_postgres(durable=True) as server:
        found = findings(tmp_path, server.url(), nats.url)
        schemas = server.run("SELECT count(*) FROM pg_namespace WHERE nspname = 'taskyard'")
    assert [one for one in found if one.status is not Status.OK] == []
    assert [one.check for one in found] == [
        *("database", "durability", "autovacuum", "connections"),
        *("database clock", "old transactions", "nats"),
    ]
    assert schemas == [(0,)]
    assert postgres.PASSWORD not in str(found)


def test_settings_that_lose_data_are_failures(tmp_path: Path) -> None:
    """The server of tests has all of them."""
    found = findings(tmp_path, postgres.server().url(postgres.new_database()))
    durability = [one for one in found if one.check == "durability"]
    assert [one.status for one in durability] == [Status.FAIL, Status.FAIL, Status.WARN]
    assert [one.detail.split()[0] for one in durability] == [
        *("fsync", "full_page_writes", "synchronous_commit")
    ]
    assert only(found, "autovacuum").what_to_do.startswith("ALTER SYSTEM SET autovacuum = on")


def _newer(name: str, schema: str = "CREATE SCHEMA taskyard;") -> None:
    table = "CREATE TABLE taskyard.schema_migrations (id text);"
    row = "INSERT INTO taskyard.schema_migrations VALUES ('9999-later')"
    postgres.server().run(schema + table + row, name)


def _foreign(name: str) -> None:
    postgres.server().run("CREATE TABLE orders (id int)", name)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [(_newer, "newer version of Taskyard"), (_foreign, "has the table public.orders")],
)
def test_a_database_that_would_be_refused(
    tmp_path: Path, prepare: Callable[[str], None], said: str
) -> None:
    """Says why, and changes nothing."""
    name = postgres.new_database()
    prepare(name)
    before = tables(name)
    (found,) = findings(tmp_path, postgres.server().url(name))
    assert found.status is Status.FAIL
    assert said in found.detail
    assert tables(name) == before


def test_a_role_without_rights(tmp_path: Path) -> None:
    """Says which to give."""
    server, name = postgres.server(), postgres.new_database()
    server.run("CREATE ROLE weak_for_doctor LOGIN")
    try:
        (found,) = findings(tmp_path, server.url(name, "weak_for_doctor"))
        assert found.status is Status.FAIL
        assert "CREATE SCHEMA taskyard AUTHORIZATION" in found.detail + found.what_to_do
        server.run("ALTER ROLE weak_for_doctor CONNECTION LIMIT 20")
        server.run("CREATE SCHEMA taskyard AUTHORIZATION weak_for_doctor", name)
        limited = only(findings(tmp_path, server.url(name, "weak_for_doctor")), "connections")
        assert limited.status is Status.WARN
        assert "enough for 1 control planes" in limited.detail
        server.run("ALTER ROLE weak_for_doctor CONNECTION LIMIT 0")
        (none,) = findings(tmp_path, server.url(name, "weak_for_doctor"))
        assert none.what_to_do == "Raise the role's CONNECTION LIMIT."
        server.run("ALTER ROLE weak_for_doctor CONNECTION LIMIT -1")
        server.run("ALTER SCHEMA taskyard OWNER TO taskyard", name)
        _newer(name, schema="")
        (closed,) = findings(tmp_path, server.url(name, "weak_for_doctor"))
        assert closed.what_to_do.startswith("Connect as the owner of the schema taskyard")
    finally:
        postgres.drop_databases()
        server.run("DROP ROLE weak_for_doctor")


@pytest.mark.parametrize(
    ("url", "said", "what_to_do"),
    [
        ("postgresql://u@127.0.0.1:1/d", "cannot be reached", "Check that it runs"),
        ("mysql://u@h/d", "must be a URL", "Correct it"),
    ],
)
def test_a_database_that_cannot_be_reached(
    tmp_path: Path, url: str, said: str, what_to_do: str
) -> None:
    """What to look at."""
    (found,) = findings(tmp_path, url)
    assert found.status is Status.FAIL
    assert said in found.detail
    assert found.what_to_do.startswith(what_to_do)


def test_a_wrong_password_is_told_and_not_shown(tmp_path: Path) -> None:
    """Nor is it anywhere else in what is printed."""
    url = postgres.server().loopback_url(postgres.new_database(), password="secret-but-wrong")
    (found,) = findings(tmp_path, url)
    assert found.what_to_do == "Check the user and the password."
    assert "secret-but-wrong" not in str(found)


def test_transactions_that_hold_vacuum_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named by process, with how to end them."""
    import psycopg  # noqa: PLC0415 - an optional dependency

    monkeypatch.setattr(checks, "OLD_S", 0.0)
    url = postgres.server().url(postgres.new_database())
    with psycopg.connect(url, application_name="a report") as idle:
        idle.execute("SELECT pg_current_xact_id()")
        found = only(findings(tmp_path, url), "old transactions")
        assert found.status is Status.WARN
        assert "(a report) waits in a transaction" in found.detail
        assert f"pg_terminate_backend({idle.info.backend_pid})" in found.what_to_do


def test_nats_that_is_away_or_delivers_nothing(tmp_path: Path) -> None:
    """Each with what to do."""
    (away,) = findings(tmp_path, nats="nats://127.0.0.1:1")
    assert away.status is Status.FAIL
    config = tmp_path / "nats.conf"
    config.write_text(
        'authorization { users = [{user: u, password: p, permissions: {publish: "other"}}] }'
    )
    with nats_server(tmp_path, "-c", str(config)) as server:
        (refused,) = findings(tmp_path, nats=server.url)
        assert "credentials" in refused.detail
        (mute,) = findings(tmp_path, nats=server.url.replace("//", "//u:p@"))
        assert "delivers nothing on taskyard.>" in mute.detail


def test_the_command_takes_both(tmp_path: Path, inside: Inside, nats: NatsServer) -> None:
    """As options; a failure is the command's."""
    options = ("--database", "postgresql://u@127.0.0.1:1/d", "--nats", nats.url)
    status, out, _ = inside("doctor", "--data", str(tmp_path), "--json", *options)
    assert status == 1
    found = {one["check"]: one["status"] for one in json.loads(out)}
    assert (found["database"], found["nats"]) == ("fail", "ok")
