"""What workers on other machines may put into the control planes' object store, and how it ends."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from fakes.held_calls import VERSION, call
from taskyard.core.errors import (
    InvalidInput,
    NotAllowed,
    NotFound,
    Overloaded,
    StoreDamaged,
    TaskyardError,
    Unavailable,
)
from taskyard.core.functions.functions import Version
from taskyard.core.ids import AttemptId, WorkerId, WorkspaceName
from taskyard.objects.files.store import FileObjectStore
from taskyard.objects.joined import (
    JoinedObjects,
    JoinedResults,
    JoinedSources,
    serving_objects,
)
from taskyard.objects.joined.serving import OF_WORKER, ServedObjects
from taskyard.objects.joined.wire import Put, Taken, answered, encode
from taskyard.ports.errors import PayloadTooLarge, Unreachable
from taskyard.ports.messages import Handler
from taskyard.runtimes.function.bundles import BundleFiles

pytestmark = pytest.mark.anyio

W1, W2 = WorkerId("w1"), WorkerId("w2")
MINE = AttemptId("00000000-0000-0000-0000-000000000001")
OTHERS = AttemptId("00000000-0000-0000-0000-000000000002")
KEY = f"output/{MINE}/stdout"
WS = WorkspaceName("default")
DEPLOYED = replace(VERSION, credentials="their-registry")
UPLOAD = "ab" * 16


class Link:
    """Implements ``ports.messages.PlaneMessages`` without a wire."""

    is_connected = True
    refused_at = None
    room_bytes = 1 << 20

    def __init__(self, plane: ServedObjects, worker_id: WorkerId) -> None:
        self._worker_id = worker_id
        self._answers: dict[str, Callable[[WorkerId, str, bytes], Awaitable[bytes]]] = {
            "put": plane.on_put,
            "put-p": plane.on_put,
            "get": plane.on_get,
            "version": plane.on_version,
            "known": plane.on_known,
        }
        self.asked: list[tuple[str, int]] = []
        self.lost_after: int | None = None

    async def ask_planes(self, what: str, payload: bytes, timeout_s: float) -> bytes:
        """Straight to the plane."""
        del timeout_s
        if self.lost_after == len(self.asked):
            self.lost_after = None
            raise Unreachable
        self.asked.append((what, len(payload)))
        return await self._answers[what](self._worker_id, what, payload)

    def serve(self, what: str, handler: Handler) -> None:
        """Nobody asks."""


class Plane:
    """A control plane, and its object store."""

    def __init__(
        self, root: Path, served: ServedObjects, holders: dict[AttemptId, WorkerId]
    ) -> None:
        self.objects = FileObjectStore(root / "objects")
        self.bundles = BundleFiles(root / "bundles")
        self.served = served
        self.holders = holders
        self.version = DEPLOYED

    async def deploy(self, content: bytes) -> None:
        """Have calls run this."""
        bundle = await self.bundles.put(content)
        self.version = replace(DEPLOYED, bundle=bundle, size_bytes=len(content))

    def sources(self, worker_id: WorkerId = W1) -> JoinedSources:
        """A worker's end, for functions."""
        return JoinedSources(Link(self.served, worker_id))

    def worker(self, worker_id: WorkerId = W1) -> tuple[JoinedObjects, Link]:
        """A worker's end."""
        link = Link(self.served, worker_id)
        return JoinedObjects(link), link


@asynccontextmanager
async def _plane(root: Path, most_bytes: int | None = None) -> AsyncIterator[Plane]:
    holders = {MINE: W1, OTHERS: W2}

    async def holder_of(attempt_id: AttemptId) -> WorkerId | None:
        return holders.get(attempt_id)

    objects, bundles = FileObjectStore(root / "objects"), BundleFiles(root / "bundles")
    made: Plane

    async def version_of(
        worker_id: WorkerId, workspace: WorkspaceName, attempt_id: AttemptId, number: int
    ) -> Version:
        assert workspace == WS
        if holders.get(attempt_id) != worker_id:
            raise NotAllowed
        return replace(made.version, number=number)

    async with serving_objects(objects, bundles, holder_of, version_of, "p", most_bytes) as served:
        made = Plane(root, served, holders)
        yield made


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    """One of two workers' attempts."""
    async with _plane(tmp_path) as plane:
        yield plane


async def _whole(plane: Plane, key: str) -> bytes:
    found = bytearray()
    while part := await plane.objects.read(key, len(found), 1 << 20):
        found += part
    return bytes(found)


async def test_an_object_goes_in_pieces_to_the_plane_that_took_the_first(plane: Plane) -> None:
    """It arrives as it is; a second time it is there already, and its pieces stay here."""
    worker, link = plane.worker()
    content = bytes(range(256)) * 8000
    assert await worker.put(KEY, content)
    assert await _whole(plane, KEY) == content
    assert [what for what, _ in link.asked] == ["put", "put-p", "put-p", "put-p"]
    assert max(size for _, size in link.asked) < (512 << 10) + 1024
    link.asked.clear()
    assert not await worker.put(KEY, content)
    assert len(link.asked) <= 2
    assert await worker.put(f"output/{MINE}/stderr", b"")
    assert await _whole(plane, f"output/{MINE}/stderr") == b""


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (f"output/{OTHERS}/stdout", NotAllowed),
        (f"results/{OTHERS}", NotAllowed),
        ("results/00000000-0000-0000-0000-000000000009", NotAllowed),
        (f"output/{MINE}/else", InvalidInput),
        (f"output/{MINE}", InvalidInput),
        ("bundles/" + "a" * 64, InvalidInput),
    ],
)
async def test_a_worker_puts_what_is_its_own(
    plane: Plane, key: str, error: type[TaskyardError]
) -> None:
    """Nothing of other workers' attempts, nor of none, nor sources."""
    worker, _ = plane.worker()
    with pytest.raises(error):
        await worker.put(key, b"x" * 1_000_000)
    with pytest.raises(NotFound):
        await plane.objects.size(key)


async def test_what_is_taken_from_a_worker_meanwhile_is_not_stored(plane: Plane) -> None:
    """The upload ends with an error, and leaves nothing."""
    worker, _ = plane.worker()

    def content() -> Iterator[bytes]:
        yield b"x" * 1_000_000
        plane.holders[MINE] = W2
        yield b"x" * 1_000_000

    with pytest.raises(NotAllowed):
        await worker.put(KEY, content())
    with pytest.raises(NotFound):
        await plane.objects.size(KEY)


async def test_an_upload_that_was_cut_off_begins_again(plane: Plane) -> None:
    """What came of it before is not part of the next one."""
    worker, link = plane.worker()
    link.lost_after = 2
    with pytest.raises(Unavailable):
        await worker.put(KEY, b"x" * 2_000_000)
    with pytest.raises(NotFound):
        await plane.objects.size(KEY)
    assert await worker.put(KEY, b"y" * 2_000_000)
    assert await _whole(plane, KEY) == b"y" * 2_000_000


async def test_pieces_that_do_not_go_on_are_refused(plane: Plane) -> None:
    """So are those of an upload that nobody knows, and of another worker's."""
    taken = await plane.served.on_put(W1, "put", encode(Put(UPLOAD, KEY, 0, b"abc")))
    assert answered(Taken, taken) == Taken("p")
    for worker_id, piece in (
        (W1, Put(UPLOAD, KEY, 0, b"abc")),
        (W1, Put(UPLOAD, KEY, 4, b"abc")),
        (W1, Put(UPLOAD, f"output/{MINE}/stderr", 3, b"abc")),
        (W2, Put(UPLOAD, KEY, 3, b"abc")),
        (W1, Put("cd" * 16, KEY, 3, b"abc")),
    ):
        with pytest.raises(TaskyardError, match="begin again"):
            await plane.served.on_put(worker_id, "put", encode(piece))
    last = await plane.served.on_put(W1, "put", encode(Put(UPLOAD, KEY, 3, b"d", is_last=True)))
    assert answered(Taken, last) == Taken("p", is_stored=True, is_new=True)
    assert await _whole(plane, KEY) == b"abcd"


async def test_uploads_are_bounded(tmp_path: Path) -> None:
    """In number for each worker, and in size."""
    async with _plane(tmp_path, most_bytes=1_000_000) as plane:
        attempts = [AttemptId(f"00000000-0000-0000-0000-1000000000{n:02}") for n in range(20)]
        plane.holders.update(dict.fromkeys(attempts, W1))
        puts = [
            Put(f"{number:032x}", f"results/{one}", 0, b"x") for number, one in enumerate(attempts)
        ]
        for put in puts[:OF_WORKER]:
            await plane.served.on_put(W1, "put", encode(put))
        with pytest.raises(Overloaded):
            await plane.served.on_put(W1, "put", encode(puts[OF_WORKER]))
        other, _ = plane.worker(W2)
        with pytest.raises(PayloadTooLarge, match="task_output_bytes"):
            await other.put(f"output/{OTHERS}/stdout", b"x" * 1_500_000)
        with pytest.raises(NotFound):
            await plane.objects.size(f"output/{OTHERS}/stdout")


@pytest.mark.parametrize("size", [1, 100_000, (4 << 20) + 17])
async def test_sources_are_read_for_calls(plane: Plane, size: int) -> None:
    """Whole, however many pieces that takes; nothing is told that is of no use for them."""
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    await plane.deploy(content)
    worker = plane.sources()
    found = await worker.version(call(MINE), 3)
    assert (found.number, found.bundle) == (3, plane.version.bundle)
    assert (found.credentials, found.created_by) == ("", "")
    assert await worker.bundle(call(MINE), found) == content


async def test_sources_of_calls_of_others_are_refused(plane: Plane) -> None:
    """To whoever knows all about them; objects are not read at all."""
    await plane.deploy(b"secret")
    other = plane.sources(W2)
    for attempt_id in (MINE, AttemptId("unknown")):
        with pytest.raises(NotAllowed):
            await other.version(call(attempt_id), 1)
        with pytest.raises(NotAllowed):
            await other.bundle(call(attempt_id), plane.version)
    objects, _ = plane.worker(W2)
    for key in (f"bundles/{plane.version.bundle}", KEY):
        with pytest.raises(NotAllowed):
            await objects.read(key, 0, 10)
        with pytest.raises(NotAllowed):
            await objects.size(key)


async def test_a_source_that_is_not_what_was_deployed_is_refused(plane: Plane) -> None:
    """By the worker too, whatever it was that changed it."""
    await plane.deploy(b"good")
    wanted = plane.version
    await plane.deploy(b"evil")
    with pytest.raises(StoreDamaged, match="deploy it again"):
        await plane.sources().bundle(call(MINE), wanted)
    await plane.deploy(b"")
    with pytest.raises(StoreDamaged):
        await plane.sources().bundle(call(MINE), wanted)


async def test_an_answer_that_is_there_already_stays(plane: Plane) -> None:
    """Its acknowledgement was lost; nothing is deleted, which a worker may not."""
    objects, _ = plane.worker()
    results = JoinedResults(objects)
    await results.write(MINE, b"answer")
    await results.write(MINE, b"answer")
    assert await _whole(plane, f"results/{MINE}") == b"answer"


async def test_a_worker_learns_which_attempts_are_its_own(plane: Plane) -> None:
    """However many it asks for."""
    worker, _ = plane.worker()
    unknown = [AttemptId(f"00000000-0000-0000-0000-2000000000{n:02}") for n in range(99)]
    with anyio.fail_after(10):
        assert await worker.known([*unknown, OTHERS, *unknown, MINE]) == {MINE}
