"""Objects in PostgreSQL: lost connections, and tables that are not as they should be."""

import zlib
from collections.abc import AsyncIterator

import pytest

import postgres
from object_stores import PART, Postgres
from taskyard.core.errors import NotFound, StoreDamaged, Unavailable
from taskyard.objects.postgres.store import PostgresObjectStore

pytestmark = pytest.mark.anyio


def run(place: Postgres, sql: str) -> int:
    """Run a statement; how many rows it concerned."""
    with place.connect() as connection:
        return connection.execute(sql.encode()).rowcount


def cut_off(place: Postgres) -> int:
    """End all connections of object stores; how many."""
    return run(
        place,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'taskyard objects' AND datname = current_database()",
    )


async def test_connections_lost_while_nobody_used_them_are_replaced(place: Postgres) -> None:
    """Whoever comes next does not notice."""
    store = place.client()
    await store.put("a", b"x")
    assert cut_off(place) == 1
    assert await store.read("a", 0, 1) == b"x"
    assert cut_off(place) == 1
    assert await store.put("b", b"y") is True


async def test_a_put_that_the_database_fails_is_swept(place: Postgres) -> None:
    """What it has stored is not seen by anybody, and it may be done again."""
    store = place.client()

    async def content() -> AsyncIterator[bytes]:
        for _ in range(12):
            yield PART
        run(place, "ALTER TABLE object_chunks RENAME TO hidden")
        yield PART
        yield PART
        yield PART

    with pytest.raises(Unavailable, match="the tables of objects are missing"):
        await store.put("a", content())
    run(place, "ALTER TABLE hidden RENAME TO object_chunks")
    assert place.leftovers() > 0
    assert await store.sweep(0) == 1
    assert place.leftovers() == 0
    assert await store.put("a", [PART] * 12) is True
    assert await store.size("a") == 12 * len(PART)


async def test_a_connection_lost_between_batches_is_replaced(place: Postgres) -> None:
    """A long put goes on."""
    store = place.client()

    async def content() -> AsyncIterator[bytes]:
        for _ in range(12):
            yield PART
            cut_off(place)

    assert await store.put("a", content()) is True
    assert await store.read("a", 7 * len(PART), len(PART)) == PART


async def test_a_missing_part_is_told(place: Postgres) -> None:
    """Ranges that do not need it can be read."""
    store = PostgresObjectStore(place.place, chunk_bytes=1000)
    try:
        await store.put("a", bytes(10_000))
        assert run(place, "DELETE FROM object_chunks WHERE number = 5") == 1
        assert await store.read("a", 0, 5000) == bytes(5000)
        assert await store.read("a", 6000, 9000) == bytes(4000)
        for offset in (0, 4999, 5000, 5999):
            with pytest.raises(StoreDamaged, match="the object a is damaged"):
                await store.read("a", offset, 9000)
    finally:
        await store.close()


@pytest.mark.parametrize("data", [zlib.compress(bytes(1 << 26)), b"nonsense", b""])
async def test_a_damaged_part_is_told(place: Postgres, data: bytes) -> None:
    """One that would unpack to much more as well; it is not unpacked."""
    store = place.client()
    await store.put("a", bytes(500_000))
    with place.connect() as connection:
        connection.execute("UPDATE object_chunks SET data = %s WHERE number = 1", [data])
    with pytest.raises(StoreDamaged, match="the object a is damaged"):
        await store.read("a", 0, 500_000)


async def test_chunks_are_of_the_length_that_an_object_was_stored_with(place: Postgres) -> None:
    """Whatever the length is for new ones."""
    content = bytes(range(256)) * 100
    for length in (1, 7, 1000, 1 << 20):
        store = PostgresObjectStore(place.place, chunk_bytes=length)
        await store.put(f"a{length}", content)
        await store.close()
    for length in (1, 7, 1000, 1 << 20):
        assert await place.client().read(f"a{length}", 123, 2345) == content[123:2468]


async def test_repeating_output_takes_little_room(place: Postgres) -> None:
    """What cannot be compressed is stored as it is."""
    store = place.client()
    await store.put("log", b"2026-11-29T15:00:00 INFO it goes on and on\n" * 50_000)
    with place.connect() as connection:
        found = connection.execute("SELECT sum(length(data)) FROM object_chunks").fetchone()
    assert found is not None
    assert found[0] < 50_000


async def test_nothing_is_done_with_a_closed_store(place: Postgres) -> None:
    """It says so."""
    store = PostgresObjectStore(place.place)
    await store.put("a", b"x")
    await store.close()
    await store.close()
    with pytest.raises(Unavailable, match="the object store is closed"):
        await store.size("a")


async def test_a_database_that_cannot_be_reached_is_told(place: Postgres) -> None:
    """As one whose tables were not made."""
    for url, text in (
        (postgres.server().url("none"), "the object store cannot be used: .*none"),
        ("postgresql://nobody@127.0.0.1:1/x", "the object store cannot be used: "),
        (
            postgres.server().url("postgres"),
            "the tables of objects are missing: migrate the database",
        ),
    ):
        store = PostgresObjectStore(url)
        with pytest.raises(Unavailable, match=text):
            await store.put("a", b"x")
        await store.close()
    with pytest.raises(NotFound):
        await place.client().size("a")
