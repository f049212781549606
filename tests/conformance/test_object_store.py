"""What every object store promises."""

import hashlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

import object_stores
from object_stores import OBJECT_STORES, PART, Harness, harness
from taskyard.core.errors import InvalidInput, NotFound
from taskyard.ports.objects import LARGEST_READ_BYTES, ObjectStore

pytestmark = pytest.mark.anyio
KEY = "output/01988a00-0000-7000-8000-000000000001/stdout"
MIB = 1 << 20
ODD_KEYS = ["", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "../a", ".a", "a/.b", "ä", "a\0b"]
ODD_KEYS += ["a b", "a\n", "=a", "a/=b", "-a", "x" * 129, "a/" * 300 + "a", "%", "a%b", "\udc80"]


@pytest.fixture(params=OBJECT_STORES)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    """Each kind in turn, empty."""
    async with harness(request.param, tmp_path) as one:
        yield one


@pytest.fixture
def store(place: Harness) -> ObjectStore:
    """A client."""
    return place.client()


def varied(size: int) -> bytes:
    """Bytes of which no part is like another one, and half of which can be compressed."""
    digests = (hashlib.sha256(b"%d" % number).digest() for number in range(size // 64 + 1))
    return b"".join(digest + bytes(32) for digest in digests)[:size]


def never() -> Iterator[bytes]:
    """Content that must not be asked for."""
    yield from pytest.fail("it was asked for")


async def at_once(*calls: Callable[[], Awaitable[object]]) -> list[object]:
    """Do all of it at the same time; what they answered, in no order."""
    answers: list[object] = []

    async def do(call: Callable[[], Awaitable[object]]) -> None:
        answers.append(await call())

    with anyio.fail_after(50):
        async with anyio.create_task_group() as group:
            for call in calls:
                group.start_soon(do, call)
    return answers


async def everything(store: ObjectStore, key: str) -> bytes:
    """All of an object."""
    size, whole = await store.size(key), b""
    while part := await store.read(key, len(whole), LARGEST_READ_BYTES):
        whole += part
    assert len(whole) == size
    return whole


async def test_what_was_put_is_there(place: Harness) -> None:
    """Also for another client, whatever its size; and the empty object is one as well."""
    for number, size in enumerate((0, 1, 65_535, 65_536, 65_537, 262_144, MIB, 3 * MIB + 17)):
        content = varied(size)
        assert await place.client().put(f"a/{number}", content) is True
        assert await place.client().size(f"a/{number}") == size
        assert await everything(place.client(), f"a/{number}") == content
    assert place.leftovers() == 0


async def test_content_comes_in_parts_of_any_length(store: ObjectStore) -> None:
    """From plain and asynchronous iterators alike; empty parts are nothing special."""
    content = varied(5 * MIB + 3)
    cuts = [0, 0, 1, 10, 10, 300_000, 4 * MIB, 4 * MIB + 1, len(content), len(content)]
    parts = [content[begin:end] for begin, end in pairwise(cuts)]

    async def slowly() -> AsyncIterator[bytes]:
        for part in parts:
            await anyio.lowlevel.checkpoint()
            yield part

    assert await store.put("plain", parts)
    assert await store.put("iterator", iter(parts))
    assert await store.put("asynchronous", slowly())
    assert await store.put("nothing", [])
    for key in ("plain", "iterator", "asynchronous"):
        assert await everything(store, key) == content
    assert await store.size("nothing") == 0
    assert await store.read("nothing", 0, 10) == b""


async def test_ranges_are_read(store: ObjectStore) -> None:
    """Across every boundary there may be inside; short at the end only."""
    content = varied(2 * MIB + 100)
    await store.put(KEY, content)
    for begin in (0, 1, 65_535, 65_536, 131_071, 262_143, MIB - 1, MIB, 2 * MIB + 99):
        for length in (0, 1, 2, 65_536, 300_000, 3 * MIB):
            assert await store.read(KEY, begin, length) == content[begin : begin + length]
    assert await store.read(KEY, len(content), 1) == b""
    assert await store.read(KEY, 1 << 50, 10) == b""
    assert await store.read(KEY, (1 << 63) - 1, 1 << 62) == b""


async def test_no_read_is_larger_than_8_mib(store: ObjectStore) -> None:
    """Whatever was asked for."""
    await store.put("large", [PART] * 9)
    assert len(await store.read("large", 0, 1 << 60)) == LARGEST_READ_BYTES
    assert await store.read("large", LARGEST_READ_BYTES, 1 << 60) == PART


async def test_what_was_not_put_is_not_found(store: ObjectStore) -> None:
    """Nor is a part of a key, or one that goes on."""
    await store.put("a/b", b"x")
    for key in ("a", "a/b/c", "a/bb", "A/b", "b", KEY):
        for call in (store.size(key), store.read(key, 0, 1)):
            with pytest.raises(NotFound) as caught:
                await call
            assert (caught.value.kind, caught.value.key) == ("object", key)
    await store.delete(["a", "a/b/c", KEY])
    assert await store.read("a/b", 0, 1) == b"x"


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_odd_keys_are_refused(store: ObjectStore, key: str) -> None:
    """In a sentence that says what keys look like, before anything is done."""
    for call in (store.put(key, never()), store.size(key), store.read(key, 0, 1)):
        with pytest.raises(InvalidInput, match="key: must be made of letters"):
            await call
    with pytest.raises(InvalidInput, match="key: must be made of letters"):
        await store.delete(["a", key])


async def test_odd_ranges_are_refused(store: ObjectStore) -> None:
    """A range has a beginning and a length."""
    await store.put("a", b"abc")
    for offset, length, field in ((-1, 1, "offset"), (0, -1, "length")):
        with pytest.raises(InvalidInput, match=f"{field}: must be at least 0"):
            await store.read("a", offset, length)


async def test_an_object_is_never_changed(store: ObjectStore) -> None:
    """Who puts another one under its key is told, and the content is not even asked for."""
    assert await store.put(KEY, b"first") is True
    assert await store.put(KEY, b"second") is False
    assert await store.put(KEY, never()) is False
    assert await everything(store, KEY) == b"first"


async def test_a_deleted_object_is_gone(store: ObjectStore) -> None:
    """And its key is free again; deleting it again is nothing."""
    for key in ("a", "a/b", "a/b/c", "a-b"):
        await store.put(key, varied(MIB + 5))
    await store.delete(["a/b", "a-b", "unknown"])
    await store.delete(["a/b", "a-b"])
    await store.delete([])
    assert [one.key for one in await store.list_objects("")] == ["a", "a/b/c"]
    with pytest.raises(NotFound):
        await store.read("a/b", 0, 1)
    assert await store.put("a/b", b"again") is True
    assert await everything(store, "a/b") == b"again"


async def test_objects_are_listed_in_order_of_their_keys(store: ObjectStore) -> None:
    """Page by page, by any beginning of a key."""
    keys = ["a", "a-b", "a.b", "a/0", "a/b", "a/b-1", "a/b/c", "a/b/c/d", "aB", "ab", "b", "B/1"]
    for key in keys:
        await store.put(key, key.encode())

    async def listed(prefix: str, after: str = "", limit: int = 1000) -> list[str]:
        found = await store.list_objects(prefix, after=after, limit=limit)
        assert all(one.size_bytes == len(one.key) and 0 <= one.age_s < 60 for one in found)
        return [one.key for one in found]

    in_order = sorted(keys)
    assert await listed("") == in_order
    for prefix in ("a", "a/", "a/b", "a/b/", "a/b/c/d", "a-", "c", "B", "a/b/c/d/e", "b/"):
        assert await listed(prefix) == [key for key in in_order if key.startswith(prefix)]
    for after in [*in_order, "a/", "a/a", "0", "a/b/", "zz", "a/b/c/d/e"]:
        assert await listed("", after) == [key for key in in_order if key > after]
        behind = [key for key in in_order if key.startswith("a/b") and key > after]
        assert await listed("a/b", after) == behind
    pages: list[str] = []
    while page := await listed("", pages[-1] if pages else "", 5):
        pages += page
    assert pages == in_order
    for odd in ("a\0", "a%", "ä", "*"):
        with pytest.raises(InvalidInput, match="no key of an object contains"):
            await store.list_objects(odd)
        with pytest.raises(InvalidInput, match="no key of an object contains"):
            await store.list_objects("", after=odd)


async def test_a_put_that_fails_leaves_nothing(place: Harness) -> None:
    """Whether its content fails or whoever puts it is cancelled, and wherever that happens."""
    store = place.client()

    class Trouble(Exception):
        pass

    def breaks(after: int) -> Iterator[bytes]:
        for _ in range(after):
            yield PART
        raise Trouble

    for after in (0, 1, 9):
        with pytest.raises(Trouble):
            await store.put(KEY, breaks(after))

    async def hangs(scope: anyio.CancelScope) -> AsyncIterator[bytes]:
        for _ in range(9):
            yield PART
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await store.put(KEY, hangs(scope))
    assert scope.cancelled_caught
    assert await store.list_objects("") == []
    assert place.leftovers() == 0
    assert await store.put(KEY, b"whole") is True


async def test_nothing_is_there_before_all_of_it_is(store: ObjectStore) -> None:
    """While it is being put, an object is neither found nor listed."""

    async def content() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield PART
            with pytest.raises(NotFound):
                await store.size(KEY)
            assert await store.list_objects("") == []

    assert await store.put(KEY, content()) is True
    assert await store.size(KEY) == 9 * MIB


async def test_a_put_that_was_killed_leaves_nothing_to_see(place: Harness) -> None:
    """What it has stored is swept, but not while it might go on."""
    command = [sys.executable, object_stores.__file__, place.kind, place.place, KEY]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    async with await anyio.open_process(command, env=env, stderr=None) as child:
        try:
            assert child.stdout is not None
            assert await child.stdout.receive() == b"going\n"
        finally:
            child.kill()
    store = place.client()
    assert place.leftovers() > 0
    with pytest.raises(NotFound):
        await store.size(KEY)
    assert await store.list_objects("") == []
    assert await store.sweep(60) == 0
    assert place.leftovers() > 0
    place.age(120)
    assert await store.sweep(60) == 1
    assert place.leftovers() == 0
    assert await store.put(KEY, b"whole") is True


async def test_a_sweep_leaves_objects_and_puts_under_way_alone(place: Harness) -> None:
    """However old the objects are."""
    store, other = place.client(), place.client()
    await store.put("old", varied(3 * MIB))
    place.age(100_000)

    async def content() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield PART
            assert await other.sweep(60) == 0

    assert await store.put(KEY, content()) is True
    assert await everything(other, "old") == varied(3 * MIB)
    assert await everything(other, KEY) == PART * 9


async def test_a_put_that_was_swept_fails(place: Harness) -> None:
    """It does not leave an object of which parts are missing."""
    store, other = place.client(), place.client()

    async def content() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield PART
        place.age(120)
        assert await other.sweep(60) == 1
        yield PART

    with pytest.raises(Exception, match="swept away before it was complete"):
        await store.put(KEY, content())
    assert await store.list_objects("") == []
    assert place.leftovers() == 0


async def test_of_puts_at_once_one_counts(place: Harness) -> None:
    """None fails, one is told that its object is new, and nothing is mixed."""
    for number, size in enumerate((10, 3 * MIB, 5 * MIB)):
        key = f"a/{number}"
        contents = [bytes([letter]) * size for letter in b"abc"]
        answers = await at_once(*(partial(place.client().put, key, one) for one in contents))
        assert sorted(map(bool, answers)) == [False, False, True]
        assert await everything(place.client(), key) in contents
    assert place.leftovers() == 0


async def test_only_what_was_put_long_ago_is_deleted(place: Harness) -> None:
    """Putting it again makes it young."""
    store = place.client()
    for key in ("old", "again", "large"):
        await store.put(key, varied(MIB))
    place.age(100)
    await store.put("young", b"")
    await store.put("again", b"whatever")
    ages = {one.key: one.age_s for one in await store.list_objects("")}
    assert (ages["old"] >= 100, ages["again"] < 50, ages["young"] < 50) == (True, True, True)
    await store.delete(["old", "again", "young"], older_than_s=60)
    assert [one.key for one in await store.list_objects("")] == ["again", "large", "young"]
    assert await everything(store, "again") == varied(MIB)


async def test_what_was_put_is_there_whoever_deletes_old_ones(place: Harness) -> None:
    """Put again at the very moment at which another client removes it as an old one."""
    one, two = place.client(), place.client()
    for number in range(20):
        key = f"a/{number}"
        await one.put(key, varied(1000))
        place.age(100)
        calls: list[Callable[[], Awaitable[object]]] = [
            partial(two.delete, [key], older_than_s=60),
            partial(one.put, key, varied(1000)),
        ]
        await at_once(*(calls if number % 2 else calls[::-1]))
        assert await everything(two, key) == varied(1000)


async def test_puts_and_deletes_at_once_leave_no_half(place: Harness) -> None:
    """Whoever reads meanwhile finds all of it or none."""
    one, two, three = place.client(), place.client(), place.client()
    content = varied(2 * MIB)

    async def put() -> None:
        for _ in range(10):
            await one.put(KEY, content)

    async def delete() -> None:
        for _ in range(20):
            await two.delete([KEY])

    async def read() -> None:
        for _ in range(40):
            try:
                assert await three.read(KEY, 0, len(content)) == content
            except NotFound:
                continue

    await at_once(put, delete, read)
    await one.delete([KEY])
    assert await one.list_objects("") == []
    assert place.leftovers() == 0


async def test_large_objects_are_never_in_memory(place: Harness) -> None:
    """Neither when they are put nor when they are read."""
    tracemalloc = pytest.importorskip("tracemalloc")
    store = place.client()
    await store.put("warm", PART)
    tracemalloc.start()
    try:
        await store.put(KEY, (PART for _ in range(64)))
        for offset in range(0, 64 * MIB, MIB):
            assert await store.read(KEY, offset, MIB) == PART
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 * MIB
