"""A full disk: what makes room is stored with the reserve, nothing else; and it heals by itself."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskyard.core.errors import StorageFull
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.transactions import QueueEntry, commit
from taskyard.store.sqlite import disk_space as room_module
from taskyard.store.sqlite.database import SqliteConnection, connect
from taskyard.store.sqlite.disk_space import Reserve, SqliteDiskSpace

KIB, MIB = 1 << 10, 1 << 20


class Disk:
    """A file system that says what it is told to say."""

    def __init__(self) -> None:
        self.free = 100 * MIB
        self.now = 0.0

    def free_bytes(self, _directory: Path) -> int:
        """See the module."""
        return self.free

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """One with room."""
    disk = Disk()
    monkeypatch.setattr(room_module, "free_bytes", disk.free_bytes)
    return disk


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database whose pages are limited, as a full disk limits them."""
    connection = connect(tmp_path / "db")
    connection.execute("CREATE TABLE t (a BLOB)")
    connection.execute("CREATE TABLE tasks (seq INTEGER)")  # a connection looks at it
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    yield connection
    connection.close()


class GrowingRoom(SqliteDiskSpace):
    """The pages that a reserve stands for become free when it is given up."""

    def give_up(self) -> bool:
        """See the base."""
        given = super().give_up()
        if given:
            self._connection.execute("PRAGMA max_page_count = 1000")
        return given


def entry(who: str, *, urgent: bool) -> QueueEntry[str]:
    """Something that takes more pages than there are."""

    def write(connection: Connection) -> str:
        connection.select("INSERT INTO t VALUES (zeroblob(40000))")
        return who

    return QueueEntry(who, write, urgent=urgent)


def held(reserve: Reserve) -> bool:
    """Whether it is there now."""
    return reserve.is_held


def done(
    connection: sqlite3.Connection, space: SqliteDiskSpace, *entries: QueueEntry[str]
) -> dict[str, bool]:
    """Who was stored, and who was told that the disk is full."""
    outcomes = commit(SqliteConnection(connection), entries, lambda _c: None, lambda: None, space)
    assert all(error is None or isinstance(error, StorageFull) for _, _, error in outcomes)
    return {who: error is None for who, _, error in outcomes}


def test_only_what_makes_room_is_stored_on_a_full_disk(
    connection: sqlite3.Connection, tmp_path: Path, disk: Disk
) -> None:
    """With the reserve; others are refused until it is there again, which happens by itself."""
    reserve = Reserve(tmp_path, 64 * KIB)
    room = GrowingRoom(connection, tmp_path / "db", reserve, disk.monotonic)
    assert held(reserve)
    assert done(connection, room, entry("submit", urgent=False)) == {"submit": False}
    assert held(reserve)
    disk.free = 0
    both = (entry("kill", urgent=True), entry("submit", urgent=False))
    assert done(connection, room, *both) == {"kill": True, "submit": False}
    assert not held(reserve)
    disk.now += 10
    assert done(connection, room, *both) == {"kill": True, "submit": False}
    disk.free = MIB
    assert done(connection, room, *both) == {"kill": True, "submit": False}
    disk.now += 10
    assert done(connection, room, *both) == {"kill": True, "submit": True}
    assert held(reserve)


def test_without_a_reserve_nothing_changes(
    connection: sqlite3.Connection, tmp_path: Path, disk: Disk
) -> None:
    """What does not fit is refused, and the next one is tried."""
    room = GrowingRoom(connection, tmp_path / "db", Reserve(tmp_path, 0), disk.monotonic)
    assert done(connection, room, entry("kill", urgent=True)) == {"kill": False}
    connection.execute("PRAGMA max_page_count = 1000")
    assert done(connection, room, entry("submit", urgent=False)) == {"submit": True}


def test_a_reserve_takes_blocks(tmp_path: Path) -> None:
    """A file with holes would keep nothing."""
    reserve = Reserve(tmp_path, 256 * KIB)
    assert not held(reserve)
    assert reserve.restore()
    assert reserve.restore()
    status = reserve.path.stat()
    assert (status.st_size, status.st_blocks * 512 >= 256 * KIB) == (256 * KIB, True)
    assert status.st_mode & 0o077 == 0
    assert reserve.give_up()
    assert not reserve.give_up()


def test_a_reserve_is_small_on_a_small_disk(tmp_path: Path, disk: Disk) -> None:
    """It is not made where it would take the last room."""
    reserve = Reserve(tmp_path, 1 << 60)
    assert reserve.size_bytes < 1 << 60
    disk.free = reserve.size_bytes
    assert not reserve.restore()
    assert not reserve.is_low
    disk.free = reserve.size_bytes // 9
    assert reserve.is_low


def test_a_reserve_that_somebody_removed_comes_back(
    connection: sqlite3.Connection, tmp_path: Path, disk: Disk
) -> None:
    """With the next look at the disk; where there is no room by then, nothing else is stored."""
    reserve = Reserve(tmp_path, 64 * KIB)
    room = SqliteDiskSpace(connection, tmp_path / "db", reserve, disk.monotonic)
    for free, is_back in ((100 * MIB, True), (0, False)):
        reserve.path.unlink()
        disk.free = free
        disk.now += 6
        room.tidy(1)
        assert held(reserve) is is_back
        assert room.is_short() is not is_back


def test_a_long_log_is_given_back_in_a_lull(tmp_path: Path, disk: Disk) -> None:
    """Not while there is much to do, and not under a reader's feet."""
    path = tmp_path / "db"
    connection, wal = connect(path), tmp_path / "db-wal"
    room = SqliteDiskSpace(connection, path, Reserve(tmp_path, 0), disk.monotonic)
    connection.execute("CREATE TABLE t (a BLOB)")
    connection.execute("CREATE TABLE tasks (seq INTEGER)")  # a connection looks at it
    connection.execute("INSERT INTO t VALUES (zeroblob(?))", (8 * MIB,))
    room.tidy(1000)
    assert wal.stat().st_size > 8 * MIB
    reader = connect(path, read_only=True)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM t").fetchone()
    connection.execute("INSERT INTO t VALUES (zeroblob(10))")
    disk.now += 6
    room.tidy(1)
    assert wal.stat().st_size > 8 * MIB
    reader.close()
    disk.now += 1
    room.tidy(1)
    assert wal.stat().st_size > 8 * MIB
    disk.now += 5
    room.tidy(1)
    assert wal.stat().st_size == 0
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (5000,)
    connection.close()
