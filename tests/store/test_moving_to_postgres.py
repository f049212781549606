"""Stores move from SQLite to PostgreSQL and back, with everything they know."""

import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from copied_databases import at, read_back, run
from hypothesis import HealthCheck, given, settings
from test_moving_stores import KILLED, Interrupted, with_schema
from test_schemas import POSTGRES_ONLY
from whole_stores import Contents, checksums, fill, located, many_rows, unwatched

from fakes.stores import FAST, postgres_url
from taskyard.core.errors import StorageFull, StoreDamaged, StoreInUse
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.migrate import migrate
from taskyard.store.transfer import engine, postgres_connection
from taskyard.store.transfer.address import Location
from taskyard.store.transfer.checking import check_store
from taskyard.store.transfer.engine import Step
from taskyard.store.transfer.errors import (
    Lost,
    NotAStore,
    NotVerified,
)
from taskyard.store.transfer.procedures import back_up, copy_store, restore
from taskyard.store.transfer.tables import OF_THE_DATABASE

NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


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


def test_a_sound_database_is_found_sound(url: str) -> None:
    """And damage in it is found, while it is used."""
    assert check_store(at(url)) == []
    run(url, "INSERT INTO task_labels VALUES ('default', 'k', 'v', 999)")
    (finding,) = check_store(at(url))
    assert (finding.rule, finding.count) == ("orphans", 1)
    assert finding.entries == ("task_labels default/k/999 there is no such task",)


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


def test_what_only_a_server_database_has_stays_there() -> None:
    """Whoever adds a table decides whether it goes along."""
    assert POSTGRES_ONLY <= OF_THE_DATABASE
