"""Stores move from SQLite to PostgreSQL and back, with everything they know."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from test_moving_stores import KILLED, Interrupted, unwatched, with_schema
from test_schemas import POSTGRES_ONLY
from whole_stores import Contents, checksums, fill, located, many_rows

import postgres
from fakes.stores import FAST, postgres_url
from taskyard.core.errors import StorageFull, StoreDamaged, StoreInUse, TaskyardError, Unavailable
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.migrate import migrate
from taskyard.store.sqlite import migrate as sqlite_migrate
from taskyard.store.sqlite.database import connect
from taskyard.store.transfer import engine, postgres_connection, sqlite_database
from taskyard.store.transfer.address import Location, parse_address
from taskyard.store.transfer.checking import check_store
from taskyard.store.transfer.engine import Step
from taskyard.store.transfer.errors import (
    Lost,
    NotAllowedThere,
    NotAStore,
    NotEmpty,
    NotVerified,
    SchemaMismatch,
    WrongAddress,
)
from taskyard.store.transfer.procedures import back_up, copy_store, restore
from taskyard.store.transfer.tables import OF_THE_DATABASE, Checksum

NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """An empty database of the present schema."""
    return postgres_url(tmp_path)


def at(url: str) -> Location:
    """The store of a database."""
    return Location(parse_address(url), None)


def run(url: str, sql: str) -> list[tuple[object, ...]]:
    """Run a statement in the store's schema."""
    with PostgresDatabase(database_address(url), "test").raw() as connection:
        cursor = connection.execute(sql.encode())
        return [] if cursor.description is None else cursor.fetchall()


def read_back(url: str, directory: Path) -> dict[str, Checksum]:
    """What is in a database, seen by way of SQLite."""
    copy_store(at(url), located(directory), unwatched, key_elsewhere=True)
    return checksums(directory)


@given(made=with_schema())
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_contents_there_and_back(url: str, made: Contents) -> None:
    """Are the same rows in every table, also by way of backups."""
    with tempfile.TemporaryDirectory(dir=FAST) as root:
        first, second, third = (Path(root) / name for name in "abc")
        fill(first, made)
        before = checksums(first)
        there = at(url)
        copied = copy_store(located(first), there, unwatched, force=True, key_elsewhere=True)
        assert copied.tables == before
        back = copy_store(there, located(second), unwatched, key_elsewhere=True)
        assert back.tables == before == checksums(second)
        archive = Path(root) / "taskyard.tar"
        assert back_up(there, archive, unwatched).tables == before
        restore(archive, located(third), unwatched)
        assert checksums(third) == before
        restore(archive, there, unwatched, force=True)
        assert back_up(there, archive, unwatched, force=True).tables == before


def test_interrupted_copies_go_on(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There and back; until the end no server takes the target for a store."""
    monkeypatch.setattr(engine, "BATCH_ROWS", 9)
    fill(tmp_path / "a", many_rows(40))
    before = checksums(tmp_path / "a")
    for here, there in ((located(tmp_path / "a"), at(url)), (at(url), located(tmp_path / "b"))):
        tries = 0
        while interrupted_after(here, there, 4):
            tries += 1
            if there == at(url):
                with pytest.raises(StoreDamaged, match="unfinished copy of a store; finish it"):
                    migrate(PostgresDatabase(database_address(url)))
                with pytest.raises(NotAStore, match="unfinished copy; finish it"):
                    check_store(there)
        assert tries > 4
    assert checksums(tmp_path / "b") == before
    assert run(url, "SELECT to_regclass('transfer')") == [(None,)]
    migrate(PostgresDatabase(database_address(url)))


def interrupted_after(here: Location, there: Location, batches: int) -> bool:
    """Copy; True if that needed more batches than so many, and was interrupted."""
    left = batches

    def watch(step: Step) -> None:
        nonlocal left
        left -= step.phase == "copy" and step.bytes > 0
        if left < 0:
            raise Interrupted

    try:
        copy_store(here, there, watch)
    except Interrupted:
        return True
    return False


def test_copies_that_were_killed_go_on(tmp_path: Path, url: str) -> None:
    """By SIGKILL at several moments, in both directions."""
    fill(tmp_path / "a", many_rows(60))
    first, third = f"sqlite:{tmp_path / 'a'}", f"sqlite:{tmp_path / 'b'}"
    for here, there in ((first, url), (url, third)):
        for steps in (5, 22, 60):
            command = [sys.executable, "-c", KILLED, here, there, str(steps)]
            assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        subprocess.run([sys.executable, "-c", KILLED, here, there, "0"], check=True)
    assert checksums(tmp_path / "b") == checksums(tmp_path / "a")


def test_numbers_go_on_behind_the_last(tmp_path: Path, url: str) -> None:
    """Of tasks, and of tables that number their rows, also where the last ones are gone."""
    fill(tmp_path / "a", many_rows(10))
    copy_store(located(tmp_path / "a"), at(url), unwatched)
    assert run(url, "SELECT nextval('task_seq')") == [(10,)]
    insert = (
        "INSERT INTO audit (at, actor, workspace, action, outcome)"
        " VALUES (1, '', '', '', 'done') RETURNING number"
    )
    assert run(url, insert) == [(28,)]
    run(url, "DELETE FROM audit WHERE number > 9")
    copy_store(at(url), located(tmp_path / "b"), unwatched)
    copy_store(located(tmp_path / "b"), at(url), unwatched, force=True)
    assert run(url, insert) == [(29,)]


def test_from_one_database_to_another(tmp_path: Path, url: str) -> None:
    """With the positions that tasks have had which are deleted."""
    fill(tmp_path / "a", many_rows(10))
    copy_store(located(tmp_path / "a"), at(url), unwatched)
    run(url, "SELECT nextval('task_seq') FROM generate_series(1, 5)")
    (tmp_path / "other").mkdir()
    other = postgres_url(tmp_path / "other")
    copy_store(at(url), at(other), unwatched)
    assert run(other, "SELECT nextval('task_seq')") == [(15,)]
    assert read_back(other, tmp_path / "b") == checksums(tmp_path / "a")
    back_up(at(url), tmp_path / "x.tar", unwatched)
    restore(tmp_path / "x.tar", at(other), unwatched, force=True)
    assert run(other, "SELECT nextval('task_seq')") == [(15,)]


def test_an_empty_store_gives_the_first_numbers(tmp_path: Path, url: str) -> None:
    """As a new one does."""
    fill(tmp_path / "a", {})
    copy_store(located(tmp_path / "a"), at(url), unwatched)
    assert run(url, "SELECT nextval('task_seq')") == [(1,)]


def test_a_database_in_use_is_not_copied(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither from nor to: whether a plane beats or a server is merely connected."""
    monkeypatch.setattr(postgres_connection, "GONE_WITHIN_S", 0.1)
    fill(tmp_path / "a", many_rows(2))
    ways = ((located(tmp_path / "a"), at(url)), (at(url), located(tmp_path / "b")))
    for here, there in ways:
        run(url, f"INSERT INTO planes VALUES ('p', 'north', '10.0.0.1:8000', '1', {NOW}, 1)")  # noqa: S608
        with pytest.raises(StoreInUse, match=r"in use by north \(10.0.0.1:8000\); stop all"):
            copy_store(here, there, unwatched)
        run(url, "DELETE FROM planes")
        with (
            PostgresDatabase(database_address(url), "taskyard").raw(),
            pytest.raises(StoreInUse, match="in use by taskyard"),
        ):
            copy_store(here, there, unwatched)
    assert not (tmp_path / "b" / "taskyard.sqlite3").exists()


def test_planes_that_have_just_ended_use_nothing(tmp_path: Path, url: str) -> None:
    """Also those that could not say so: they do not beat again."""
    fill(tmp_path / "a", many_rows(2))
    run(url, f"INSERT INTO planes VALUES ('p', 'north', '10.0.0.1:8000', '1', {NOW}, 1)")  # noqa: S608
    copy_store(located(tmp_path / "a"), at(url), unwatched)


def test_only_one_copies(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one at the same time is refused."""
    monkeypatch.setattr(postgres_connection, "LOCK_WAIT_S", 0.1)
    fill(tmp_path / "a", many_rows(2))

    def watch(step: Step) -> None:
        if step.phase == "verify" and step.table_number == 1:
            with pytest.raises(StoreInUse, match="being copied by another process"):
                copy_store(located(tmp_path / "c"), at(url), unwatched)

    fill(tmp_path / "c", many_rows(3))
    copy_store(located(tmp_path / "a"), at(url), watch)


def test_a_full_database_is_replaced_only_by_force(tmp_path: Path, url: str) -> None:
    """And one with tables of something else never."""
    fill(tmp_path / "a", many_rows(2))
    fill(tmp_path / "b", many_rows(5))
    copy_store(located(tmp_path / "a"), at(url), unwatched)
    with pytest.raises(NotEmpty, match="holds a store already"):
        copy_store(located(tmp_path / "b"), at(url), unwatched)
    copy_store(located(tmp_path / "b"), at(url), unwatched, force=True)
    assert read_back(url, tmp_path / "c") == checksums(tmp_path / "b")
    other = postgres.server().url(postgres.new_database())
    with psycopg.connect(other) as connection:
        connection.execute("CREATE TABLE invoices (number int)")
    with pytest.raises(TaskyardError, match=r"database of something else: .*invoices"):
        copy_store(located(tmp_path / "b"), at(other), unwatched, force=True)


def test_text_that_postgresql_cannot_hold(tmp_path: Path, url: str) -> None:
    """Is named; nothing of it is a store."""
    made = many_rows(3)
    made["tasks"][1]["message"] = "zero \0 inside"
    fill(tmp_path / "a", made)
    with pytest.raises(NotAStore, match=r"zero character in message of the row \(1,\) of tasks"):
        copy_store(located(tmp_path / "a"), at(url), unwatched)


def test_names_are_copied_as_columns_have_them(tmp_path: Path, url: str) -> None:
    """Earlier releases wrote them with what PostgreSQL cannot hold; specifications keep it."""
    made = many_rows(3)
    made["tasks"][1] |= {"name": "a\0b", "spec": '{"name":"a\\u0000b"}'}
    fill(tmp_path / "a", made)
    copy_store(located(tmp_path / "a"), at(url), unwatched, key_elsewhere=True)
    found = run(url, "SELECT name, spec FROM tasks WHERE seq = 1")
    assert found == [("a\ufffdb", '{"name":"a\\u0000b"}')]


def test_a_database_that_goes_away_in_the_middle(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is told, and the copy goes on when it is back."""
    monkeypatch.setattr(engine, "BATCH_ROWS", 9)
    fill(tmp_path / "a", many_rows(40))

    def watch(step: Step) -> None:
        if step.table == "events" and step.rows == 27:
            with psycopg.connect(url) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'taskyard store'"
                    " AND datname = current_database()"
                )

    with pytest.raises(Lost, match="run the same command again once"):
        copy_store(located(tmp_path / "a"), at(url), watch)
    copy_store(located(tmp_path / "a"), at(url), unwatched)
    with pytest.raises(Lost):
        copy_store(at(url), located(tmp_path / "b"), watch)
    assert read_back(url, tmp_path / "b") == checksums(tmp_path / "a")


def test_a_target_that_others_changed_is_noticed(tmp_path: Path, url: str) -> None:
    """It does not become a store."""
    fill(tmp_path / "a", many_rows(5))

    def watch(step: Step) -> None:
        if step.phase == "verify" and step.table_number == 1:
            run(url, "UPDATE tasks SET spec = '{ }' WHERE seq = 3")

    with pytest.raises(NotVerified, match="other contents in its 5 rows"):
        copy_store(located(tmp_path / "a"), at(url), watch)


@pytest.fixture
def refusing() -> Iterator[dict[str, str]]:
    """Databases that cannot be copied to, by the kind."""
    server = postgres.server()
    name = postgres.new_database()
    replica = postgres.new_database()
    server.run(f"ALTER DATABASE {replica} SET default_transaction_read_only = on")
    # Roles are the server's, which all processes of a run share.
    role = f"mover_{os.getpid()}"
    server.run(f"CREATE ROLE {role} LOGIN")
    yield {
        "password": server.loopback_url(name, password="wrong one"),
        "missing": server.url("no_such_database"),
        "port": "postgresql://taskyard@127.0.0.1:1/taskyard",
        "host": "postgresql://taskyard@nowhere.invalid/taskyard",
        "read_only": server.url(replica),
        "rights": server.url(name, role),
    }
    server.run(f"DROP DATABASE {name} WITH (FORCE)")
    server.run(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("password", NotAllowedThere, "refuses the user or password; give the password with"),
        ("missing", NotAStore, "does not exist; check the name of the database"),
        ("port", Lost, "cannot be reached"),
        ("host", Lost, "cannot be reached"),
        ("read_only", Unavailable, "only reads"),
        ("rights", TaskyardError, "rights"),
    ],
)
def test_what_cannot_be_copied_to(
    tmp_path: Path, refusing: dict[str, str], kind: str, error: type[TaskyardError], words: str
) -> None:
    """Is told in words, without a password, and nothing is made of it."""
    fill(tmp_path / "a", many_rows(2))
    with pytest.raises(error, match=words) as raised:
        copy_store(located(tmp_path / "a"), at(refusing[kind]), unwatched)
    assert "wrong one" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not the address of a store"),
        ("/var/lib/taskyard", "write sqlite:/var/lib/taskyard for a data directory"),
        ("sqlite:", "needs a data directory"),
        ("mysql://host/db", "not at mysql://"),
        ("postgresql://host", "must have the name of a database"),
        ("postgresql://user:secret@host/db?nonsense=1", "PostgreSQL URL"),
    ],
)
def test_addresses_of_no_store(text: str, words: str) -> None:
    """Say what one looks like, and never quote a password."""
    with pytest.raises(WrongAddress, match=words) as raised:
        parse_address(text)
    assert "secret@" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ("INSERT INTO schema_migrations VALUES ('9999-later')", SchemaMismatch, "newer version"),
        ("DELETE FROM schema_migrations WHERE id LIKE '0001%'", SchemaMismatch, "older version"),
        ("DELETE FROM schema_migrations", NotAStore, "no Taskyard store"),
    ],
)
def test_schemas_of_other_versions(
    tmp_path: Path, url: str, change: str, error: type[TaskyardError], words: str
) -> None:
    """Are refused on the side that is read."""
    run(url, change)
    for use in (
        lambda: copy_store(at(url), located(tmp_path / "b"), unwatched),
        lambda: back_up(at(url), tmp_path / "x.tar", unwatched),
        lambda: check_store(at(url)),
    ):
        with pytest.raises(error, match=words):
            use()
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "x.tar").exists()


def test_a_sound_database_is_found_sound(url: str) -> None:
    """And damage in it is found, while it is used."""
    assert check_store(at(url)) == []
    run(url, "INSERT INTO task_labels VALUES ('default', 'k', 'v', 999)")
    (finding,) = check_store(at(url))
    assert (finding.rule, finding.count) == ("orphans", 1)
    assert finding.entries == ("task_labels default/k/999 there is no such task",)


def test_a_backup_replaces_a_store_only_by_force(tmp_path: Path, url: str) -> None:
    """An unfinished one is begun again without."""
    for name, count in (("a", 5), ("b", 3)):
        fill(tmp_path / name, many_rows(count))
    copy_store(located(tmp_path / "a"), at(url), unwatched)
    file = tmp_path / "taskyard.tar"
    back_up(located(tmp_path / "b"), file, unwatched)
    with pytest.raises(NotEmpty, match="holds a store already"):
        restore(file, at(url), unwatched)
    assert read_back(url, tmp_path / "c") == checksums(tmp_path / "a")

    def watch(step: Step) -> None:
        if step.phase == "verify":
            raise Interrupted

    with pytest.raises(Interrupted):
        restore(file, at(url), watch, force=True)
    restore(file, at(url), unwatched)
    assert read_back(url, tmp_path / "d") == checksums(tmp_path / "b")


def test_a_damaged_backup_replaces_nothing(tmp_path: Path, url: str) -> None:
    """It is read before anything is touched."""
    fill(tmp_path / "a", many_rows(5))
    copy_store(located(tmp_path / "a"), at(url), unwatched)
    file = tmp_path / "taskyard.tar"
    back_up(at(url), file, unwatched)
    content = bytearray(file.read_bytes())
    content[content.index(b"task-000003")] ^= 1
    file.write_bytes(content)
    with pytest.raises(NotAStore, match="its table tasks has changed; use another backup"):
        restore(file, at(url), unwatched, force=True)
    assert read_back(url, tmp_path / "b") == checksums(tmp_path / "a")


def test_a_full_disk_in_the_middle(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is told, and the copy goes on once there is room."""
    monkeypatch.setattr(engine, "BATCH_ROWS", 9)
    fill(tmp_path / "a", many_rows(40))
    run(
        url,
        "CREATE FUNCTION full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$",
    )
    run(
        url,
        "CREATE TRIGGER full_disk BEFORE INSERT ON events"
        " FOR EACH ROW WHEN (NEW.task_seq = 20) EXECUTE FUNCTION full()",
    )
    with pytest.raises(StorageFull, match="is full; make room, then run the same command again"):
        copy_store(located(tmp_path / "a"), at(url), unwatched)
    run(url, "DROP TRIGGER full_disk ON events")
    copy_store(located(tmp_path / "a"), at(url), unwatched)
    assert read_back(url, tmp_path / "b") == checksums(tmp_path / "a")


def test_a_server_that_starts_in_the_middle_is_noticed(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it changes would be missing from the copy, which does not become a store."""
    monkeypatch.setattr(postgres_connection, "GONE_WITHIN_S", 0.1)
    fill(tmp_path / "a", many_rows(5))
    copy_store(located(tmp_path / "a"), at(url), unwatched)
    with ExitStack() as servers:

        def watch(step: Step) -> None:
            if step.phase == "verify" and step.table_number == 1:
                database = PostgresDatabase(database_address(url), "taskyard north")
                servers.enter_context(database.raw())

        with pytest.raises(StoreInUse, match="in use by taskyard north"):
            copy_store(at(url), located(tmp_path / "b"), watch)
    assert not (tmp_path / "b" / "taskyard.sqlite3").exists()


def older(archive: Path, count: int) -> None:
    """Have an archive say that so many of the migrations were not there yet."""
    with tarfile.open(archive) as tar:
        members = [(one, tar.extractfile(one)) for one in tar.getmembers()]
        contents = [(one, file.read()) for one, file in members if file is not None]
    with tarfile.open(archive, "w") as tar:
        for member, saved in contents:
            content = saved
            if member.name == "taskyard-backup.json":
                head = json.loads(saved)
                if count:
                    head["schema"]["migrations"] = head["schema"]["migrations"][:-count]
                else:
                    head["schema"]["migrations"].append("9999-later")
                content = json.dumps(head).encode()
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_backups_of_other_versions(tmp_path: Path, url: str) -> None:
    """Older ones go into a store on their database, which is brought up to date at the end."""
    before = [migration for migration in sqlite_migrate.migrations() if migration.id < "0015"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_migrate, "migrations", lambda: tuple(before))
        patch.setattr(sqlite_database, "migrations", lambda: tuple(before))
        (tmp_path / "a").mkdir()
        sqlite_migrate.migrate(tmp_path / "a" / "taskyard.sqlite3")
        with closing(connect(tmp_path / "a" / "taskyard.sqlite3")) as connection:
            connection.execute("INSERT INTO lists VALUES ('w', 'g', 'me', 3)")
            connection.execute("INSERT INTO groups VALUES ('w', 'g', 0, 7)")
        file = tmp_path / "old.tar"
        back_up(located(tmp_path / "a"), file, unwatched)
    with pytest.raises(SchemaMismatch, match="restore it into a data directory, which brings it"):
        restore(file, at(url), unwatched)
    restore(file, located(tmp_path / "b"), unwatched)
    with closing(connect(tmp_path / "b" / "taskyard.sqlite3")) as connection:
        (limit,) = connection.execute("SELECT given_limit FROM lists").fetchone()
    assert limit == 7, "the migration that came later has not run on these rows"
    assert check_store(located(tmp_path / "b")) == []
    back_up(located(tmp_path / "b"), file, unwatched, force=True)
    older(file, 0)
    with pytest.raises(SchemaMismatch, match="newer version of Taskyard; upgrade"):
        restore(file, located(tmp_path / "c"), unwatched)
    back_up(at(url), file, unwatched, force=True)
    older(file, 1)
    with pytest.raises(SchemaMismatch, match="restore it into a PostgreSQL database"):
        restore(file, located(tmp_path / "c"), unwatched)
    with pytest.raises(SchemaMismatch, match="another version of Taskyard"):
        restore(file, at(url), unwatched, force=True)
    assert not (tmp_path / "c").exists()


def test_what_only_a_server_database_has_stays_there() -> None:
    """Whoever adds a table decides whether it goes along."""
    assert POSTGRES_ONLY <= OF_THE_DATABASE
