"""What every store of bundles and of large results promises."""

import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from object_stores import OBJECT_STORES, Harness, harness
from taskyard.core.errors import NotFound, StoreDamaged
from taskyard.core.ids import AttemptId
from taskyard.objects.bundles import ObjectBundles
from taskyard.objects.output import ObjectResults
from taskyard.runtimes.function.bundles import BundleFiles
from taskyard.worker.output.result_files import ResultFiles

pytestmark = pytest.mark.anyio
ROUNDS = 20
BIG = 1 << 20


class Files:
    """Bundles and results below a directory; each client is a new object."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def bundles(self) -> Any:
        """One more client."""
        return BundleFiles(self._directory / "bundles")

    def results(self) -> Any:
        """One more client."""
        return ResultFiles(self._directory / "attempts")

    def age(self) -> None:
        """Everything was put two days ago."""
        at = time.time() - 2 * 86_400
        for path in (self._directory / "bundles").glob("*/*"):
            os.utime(path, (at, at))

    def damage(self) -> None:
        """Every bundle is cut short."""
        for path in (self._directory / "bundles").glob("*/*"):
            path.write_bytes(path.read_bytes()[:-1])


class Objects:
    """Bundles and results as objects."""

    def __init__(self, place: Harness) -> None:
        self._place = place

    def bundles(self) -> Any:
        """One more client."""
        return ObjectBundles(self._place.client())

    def results(self) -> Any:
        """One more client."""
        return ObjectResults(self._place.client())

    def age(self) -> None:
        """Everything was put two days ago."""
        self._place.age(2 * 86_400)

    def damage(self) -> None:
        """Every bundle is cut short."""
        self._place.damage()


@pytest.fixture(params=["files", *(f"objects in {kind}" for kind in OBJECT_STORES)])
async def kind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """Every kind, empty."""
    if request.param == "files":
        yield Files(tmp_path)
        return
    async with harness(request.param.removeprefix("objects in "), tmp_path) as place:
        yield Objects(place)


async def at_once(*calls: Callable[[], Any]) -> None:
    """Do all of it at the same time."""
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for call in calls:
                group.start_soon(call)


async def test_bundles_are_named_by_their_content(kind: Any) -> None:
    """Another client finds them; the same content is one bundle, and nothing is one as well."""
    one, two = kind.bundles(), kind.bundles()
    for content in (b"source", b"", b"\x00\xff" * BIG):
        name = await one.put(content)
        assert name == hashlib.sha256(content).hexdigest()
        assert await two.put(content) == name
        assert await two.get(name) == content


@pytest.mark.parametrize("name", ["0" * 64, "", "..", "0", "../" * 21 + "0", "A" * 64])
async def test_what_was_not_put_is_not_found(kind: Any, name: str) -> None:
    """Whatever the name looks like."""
    await kind.bundles().put(b"source")
    with pytest.raises(NotFound) as caught:
        await kind.bundles().get(name)
    assert caught.value.kind == "bundle"


async def test_damaged_bundles_are_put_anew(kind: Any) -> None:
    """They are not handed out before."""
    store = kind.bundles()
    name = await store.put(b"source")
    kind.damage()
    with pytest.raises(StoreDamaged):
        await store.get(name)
    assert await store.put(b"source") == name
    assert await store.get(name) == b"source"


async def test_only_old_bundles_are_removed(kind: Any) -> None:
    """None of those to be kept, and none that was put again; nothing is there to begin with."""
    store = kind.bundles()
    await store.keep_only(frozenset())
    kept, again, gone = [await store.put(content) for content in (b"kept", b"again", b"gone")]
    kind.age()
    young = await store.put(b"young")
    await store.put(b"again")
    await store.keep_only(frozenset({kept, "0" * 64}))
    for name in (kept, again, young):
        assert await store.get(name)
    with pytest.raises(NotFound):
        await store.get(gone)


async def test_a_bundle_that_was_put_is_there(kind: Any) -> None:
    """Also if it was put again while another client removed it as an old one."""
    one, two = kind.bundles(), kind.bundles()
    for number in range(ROUNDS):
        content = bytes([number]) * 1000
        name = await one.put(content)
        kind.age()
        calls = [lambda: two.keep_only(frozenset()), lambda: one.put(content)]  # noqa: B023
        await at_once(*(calls if number % 2 else calls[::-1]))
        assert await two.get(name) == content


async def test_a_bundle_is_whole_whoever_puts_it(kind: Any) -> None:
    """Two that put the same at once, beside two that remove the same at once."""
    one, two = kind.bundles(), kind.bundles()
    content = b"x" * BIG
    await at_once(lambda: one.put(content), lambda: two.put(content), lambda: one.put(content))
    name = await one.put(content)
    assert await one.get(name) == content
    for number in range(10):
        await one.put(bytes([number]))
    kind.age()
    await at_once(lambda: one.keep_only(frozenset({name})), lambda: two.keep_only({name}))
    assert await two.get(name) == content
    with pytest.raises(NotFound):
        await two.get(hashlib.sha256(b"\x00").hexdigest())


async def test_results_are_found_by_attempt(kind: Any) -> None:
    """The last one that was written; of others there is none."""
    attempt_id = AttemptId("a")
    for body in (b"first", b"", b"\x00\xff" * BIG):
        await kind.results().write(attempt_id, body)
        assert await kind.results().read(attempt_id) == body
    with pytest.raises(NotFound) as caught:
        await kind.results().read(AttemptId("b"))
    assert (caught.value.kind, caught.value.key) == ("result", "b")


async def test_results_written_at_once_leave_one_whole(kind: Any) -> None:
    """Neither fails, and nothing is mixed."""
    one, two = kind.results(), kind.results()
    bodies = [b"1" * BIG, b"22" * BIG]
    for number in range(5):
        attempt_id = AttemptId(f"a{number}")
        await at_once(
            lambda: one.write(attempt_id, bodies[0]),  # noqa: B023
            lambda: two.write(attempt_id, bodies[1]),  # noqa: B023
        )
        assert await one.read(attempt_id) in bodies
