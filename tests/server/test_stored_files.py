"""Output, answers and sources of a store move between files and objects, and into backups."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

import postgres
from fakes.stores import postgres_url
from taskyard.core.errors import NotFound
from taskyard.core.ids import AttemptId
from taskyard.objects.bundles import ObjectBundles
from taskyard.objects.output import ObjectOutput, ObjectResults
from taskyard.objects.postgres.store import PostgresObjectStore
from taskyard.ports.logs import Stream
from taskyard.ports.objects import output_key
from taskyard.runtimes.function.bundles import BundleFiles
from taskyard.server.stored_files import files_of
from taskyard.store.sqlite.database import FILE_NAME, connect
from taskyard.store.sqlite.migrate import migrate
from taskyard.store.transfer.address import Location, PostgresAddress, SqliteAddress, parse_address
from taskyard.store.transfer.checking import check_store
from taskyard.store.transfer.engine import Step
from taskyard.store.transfer.errors import NotAStore
from taskyard.store.transfer.procedures import back_up, copy_store, restore
from taskyard.worker.output.archive import write_archive
from taskyard.worker.output.log_files import LogFiles
from taskyard.worker.output.result_files import ResultFiles

pytestmark = pytest.mark.anyio
PLAIN, PACKED, QUIET, ANSWERED, RUNNING = (
    AttemptId(f"01988a00-0000-7000-8000-00000000000{number}") for number in range(1, 6)
)
LONG: Final = os.urandom(1 << 20) + b"many lines\n" * 200_000
SOURCE: Final = b"def handler(event, context): return 1"
BUNDLE: Final = hashlib.sha256(SOURCE).hexdigest()
ALL: Final = 1 << 30


def unwatched(_step: Step) -> None:
    """Nobody watches."""


def add(directory: Path, attempt_id: str, *, ended: bool = True, **files: bytes) -> Path:
    """An attempt with files; its row has values wherever it must."""
    row: dict[str, object] = {"id": attempt_id, "task_seq": int(attempt_id[-1]), "state": "running"}
    if ended:
        row |= {"state": "succeeded", "finished_at": 2}
    with closing(connect(directory / FILE_NAME)) as connection:
        for _, name, kind, is_required, default, _ in connection.execute(
            "PRAGMA table_info(attempts)"
        ):
            if is_required and default is None:
                row.setdefault(name, 1 if kind == "INTEGER" else "x")
        marks = ", ".join("?" * len(row))
        sql = f"INSERT INTO attempts ({', '.join(row)}) VALUES ({marks})"  # noqa: S608
        connection.execute(sql, list(row.values()))
    place = directory / "attempts" / attempt_id
    place.mkdir(parents=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    return place


@pytest.fixture
def origin(tmp_path: Path) -> Location:
    """A data directory with output of every form."""
    directory = tmp_path / "a"
    directory.mkdir()
    migrate(directory / FILE_NAME)
    add(directory, PLAIN, stdout=b"out", stderr=b"err", order=b"o" * 16)
    packed = add(directory, PACKED, stdout=LONG)
    write_archive(
        packed, "stdout", lambda offset, length: LONG[offset : offset + length], len(LONG), 0
    )
    assert not (packed / "stdout").exists()
    add(directory, QUIET, stderr=b"only errors")
    add(directory, ANSWERED, result=b"an answer", stdout=b"")
    add(directory, RUNNING, ended=False, stdout=b"so far")
    place = directory / "functions" / "bundles" / BUNDLE[:2]
    place.mkdir(parents=True)
    (place / BUNDLE).write_bytes(SOURCE)
    (directory / "secret.key").write_bytes(b"key")
    return Location(SqliteAddress(directory), directory)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Location]:
    """An empty database."""
    yield Location(parse_address(postgres_url(tmp_path)), None)
    postgres.drop_databases()


async def check_objects(location: Location) -> None:
    """Everything that has ended can be read from any control plane."""
    assert isinstance(location.address, PostgresAddress)
    objects = PostgresObjectStore(location.address.conninfo)
    try:
        output = ObjectOutput(objects)
        for attempt_id, out, err in (
            (PLAIN, b"out", b"err"),
            (QUIET, b"", b"only errors"),
        ):
            assert await output.read(attempt_id, Stream.STDOUT, 0, ALL) == out
            assert await output.read(attempt_id, Stream.STDERR, 0, ALL) == err
        assert await output.order(PLAIN, 0, ALL) == b"o" * 16
        assert (await output.size(PACKED, Stream.STDOUT)).stored_bytes == len(LONG)
        assert await output.read(PACKED, Stream.STDOUT, 1 << 20, ALL) == LONG[1 << 20 :]
        with pytest.raises(NotFound):
            await objects.size(output_key(RUNNING, "stdout"))
        assert await ObjectResults(objects).read(ANSWERED) == b"an answer"
        assert await ObjectBundles(objects).get(BUNDLE) == SOURCE
    finally:
        await objects.close()


async def check_files(directory: Path) -> None:
    """Everything that has ended can be read by a server on this directory."""
    files = LogFiles(directory / "attempts")
    assert await files.read(PLAIN, Stream.STDOUT, 0, ALL) == b"out"
    assert await files.read(PLAIN, Stream.STDERR, 0, ALL) == b"err"
    assert await files.order(PLAIN, 0, ALL) == b"o" * 16
    assert await files.read(QUIET, Stream.STDERR, 0, ALL) == b"only errors"
    found = b""
    while part := await files.read(PACKED, Stream.STDOUT, len(found), ALL):
        found += part
    assert found == LONG
    assert await ResultFiles(directory / "attempts").read(ANSWERED) == b"an answer"
    assert await BundleFiles(directory / "functions" / "bundles").get(BUNDLE) == SOURCE


async def test_there_and_back(tmp_path: Path, origin: Location, database: Location) -> None:
    """Twice, as one that was interrupted would; what is there is not copied again."""
    for force in (False, True):
        moved = copy_store(origin, database, unwatched, files=files_of, force=force)
        assert (moved.running, moved.file_count) == (1, 9)
        await check_objects(database)
    back = Location(SqliteAddress(tmp_path / "b"), tmp_path / "b")
    plane = tmp_path / "plane"
    plane.mkdir()
    (plane / "secret.key").write_bytes(b"key")
    database = Location(database.address, plane)
    moved = copy_store(database, back, unwatched, files=files_of)
    assert moved.key == str(tmp_path / "b" / "secret.key")
    await check_files(tmp_path / "b")


async def test_what_a_plane_could_not_store_goes_along(
    tmp_path: Path, origin: Location, database: Location
) -> None:
    """From its data directory, if that is named."""
    copy_store(origin, database, unwatched, files=files_of)
    assert origin.data is not None
    kept = Location(database.address, origin.data)
    back = Location(SqliteAddress(tmp_path / "b"), tmp_path / "b")
    copy_store(kept, back, unwatched, files=files_of)
    await check_files(tmp_path / "b")
    running = tmp_path / "b" / "attempts" / RUNNING / "stdout"
    assert running.read_bytes() == b"so far"


async def test_backups_of_either_are_restored_in_either(
    tmp_path: Path, origin: Location, database: Location
) -> None:
    """With the key where a data directory is named."""
    plane, back = tmp_path / "plane", Location(SqliteAddress(tmp_path / "b"), tmp_path / "b")
    back_up(origin, tmp_path / "1.tar", unwatched, files=files_of)
    into = Location(database.address, plane)
    restored = restore(tmp_path / "1.tar", into, unwatched, files=files_of)
    assert restored.key == str(plane / "secret.key")
    await check_objects(database)
    back_up(into, tmp_path / "2.tar", unwatched, files=files_of)
    restore(tmp_path / "2.tar", back, unwatched, files=files_of)
    await check_files(tmp_path / "b")
    assert (tmp_path / "b" / "secret.key").read_bytes() == b"key"


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_output_is_not_copied(origin: Location, database: Location, damage: str) -> None:
    """It is named."""
    assert origin.data is not None
    packed = origin.data / "attempts" / PACKED / "stdout.gz"
    content = packed.read_bytes()
    packed.write_bytes(content[:-100] if damage == "cut" else b"x" + content[1:])
    with pytest.raises(NotAStore, match=f"{PACKED}/stdout.gz is damaged"):
        copy_store(origin, database, unwatched, files=files_of)


def test_output_that_is_gone_is_found(origin: Location, database: Location) -> None:
    """A warning, in files as in objects."""
    assert origin.data is not None
    with closing(connect(origin.data / FILE_NAME)) as connection:
        connection.execute(
            'UPDATE attempts SET outcome = \'{"stdout":{"stored_bytes":3}}\' WHERE id IN (?, ?)',
            (PLAIN, QUIET),
        )
        connection.execute("INSERT INTO call_results VALUES (?, 200, '{}', 9, NULL)", (ANSWERED,))

    def warnings(location: Location) -> dict[str, tuple[str, ...]]:
        return {one.rule: one.entries for one in check_store(location) if one.severity == "warning"}

    lost = f"{QUIET} has lost 3 bytes of stdout"
    # A worker on another machine has stored it.
    own, stored = origin.data / "attempts", origin.data / "objects"
    for name, key in (
        (f"{PLAIN}/stdout", f"output/{PLAIN}/=stdout"),
        (f"{ANSWERED}/result", f"results/={ANSWERED}"),
    ):
        (stored / key).parent.mkdir(parents=True)
        (own / name).rename(stored / key)
    assert warnings(origin) == {"output": (lost,)}
    for name, key in (
        (f"{PLAIN}/stdout", f"output/{PLAIN}/=stdout"),
        (f"{ANSWERED}/result", f"results/={ANSWERED}"),
    ):
        (stored / key).rename(own / name)
    assert warnings(origin) == {"output": (lost,)}
    copy_store(origin, database, unwatched, files=files_of)
    # There, an attempt with any output has a standard output.
    assert warnings(database) == {}
    for path in (origin.data / "attempts").glob("*/*"):
        path.unlink()
    found = warnings(origin)
    assert found["output"] == (f"{PLAIN} has lost 3 bytes of stdout", lost)
    assert found["results"] == (ANSWERED,)
