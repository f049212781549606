"""What messages between control planes promise, whatever carries them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from eventually import eventually_async
from natsserver import nats_server
from taskyard.core.errors import NotFound, Overloaded, Unavailable
from taskyard.core.ids import PlaneId
from taskyard.ports.errors import PayloadTooLarge, TimedOut, Unreachable
from taskyard.ports.messages import LEADER, MOST_BYTES, MOST_PUBLISHED_BYTES, Messages
from taskyard.transport.handlers import AT_ONCE
from taskyard.transport.local import local_message_hub
from taskyard.transport.nats.messages import nats_messages
from taskyard.transport.nats.options import nats_options

pytestmark = pytest.mark.anyio

A, B, C = PlaneId("a"), PlaneId("b"), PlaneId("c")
SOON_S = 20.0
"""Far more than an answer takes."""

Connect = Callable[[PlaneId], Messages]
Planes = tuple[Messages, Messages, Messages]


@asynccontextmanager
async def _local(_root: Path) -> AsyncIterator[Planes]:
    async with local_message_hub() as hub:
        yield hub.plane(A), hub.plane(B), hub.plane(C)


@asynccontextmanager
async def _nats(root: Path) -> AsyncIterator[Planes]:
    with nats_server(root) as server:
        async with AsyncExitStack() as stack:
            a, b, c = [
                await stack.enter_async_context(nats_messages(nats_options(server.url), "t", one))
                for one in (A, B, C)
            ]
            yield a, b, c


@pytest.fixture(params=[_local, _nats], ids=["local", "nats"])
async def planes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Planes]:
    """Three planes of one installation."""
    async with request.param(tmp_path) as made:
        yield made


async def _echo(payload: bytes) -> bytes:
    return b"echo " + payload


async def test_request_is_answered_by_the_plane_it_is_for(planes: Planes) -> None:
    """By that one alone; a plane can ask itself as well."""
    a, b, c = planes
    heard: list[PlaneId] = []
    for plane in planes:

        async def answer(payload: bytes, name: PlaneId = plane.plane_id) -> bytes:
            heard.append(name)
            return name.encode() + payload

        plane.serve("name", answer)
    assert await a.request(B, "name", b"1", SOON_S) == b"b1"
    assert await c.request(A, "name", b"", SOON_S) == b"a"
    assert await b.request(B, "name", b"3", SOON_S) == b"b3"
    assert heard == [B, A, B]


async def test_many_requests_at_once_keep_their_answers(planes: Planes) -> None:
    """None gets another one's answer."""
    a, b, _ = planes
    b.serve("echo", _echo)
    answers: dict[int, bytes] = {}

    async def ask(number: int) -> None:
        answers[number] = await a.request(B, "echo", b"%d" % number, SOON_S)

    async with anyio.create_task_group() as group:
        for number in range(300):
            group.start_soon(ask, number)
    assert answers == {number: b"echo %d" % number for number in range(300)}


async def test_unknown_plane_is_unreachable_at_once(planes: Planes) -> None:
    """Without waiting for the timeout."""
    with anyio.fail_after(SOON_S):
        with pytest.raises(Unreachable, match="control plane nobody"):
            await planes[0].request(PlaneId("nobody"), "echo", b"", 3600)


async def test_request_that_nobody_serves_is_unreachable(planes: Planes) -> None:
    """As from a plane of another version."""
    with pytest.raises(Unreachable, match="'what'"):
        await planes[0].request(B, "what", b"", SOON_S)


async def test_no_answer_in_time_is_timed_out_and_cancels_the_handler(planes: Planes) -> None:
    """Whoever asked may ask again, and no work is left behind."""
    a, b, _ = planes
    cancelled = anyio.Event()

    async def never(_: bytes) -> bytes:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return b""

    b.serve("never", never)
    with anyio.fail_after(SOON_S):
        with pytest.raises(TimedOut, match="control plane b did not answer 'never'"):
            await a.request(B, "never", b"", 0.1)
        await cancelled.wait()


async def test_errors_arrive_by_their_kind(planes: Planes) -> None:
    """With message and data; what is not ours tells nothing of the inside."""
    a, b, _ = planes

    async def missing(_: bytes) -> bytes:
        raise NotFound("task", "t1")

    async def busy(_: bytes) -> bytes:
        raise Overloaded("too many", 2.5)

    async def defect(_: bytes) -> bytes:
        raise ZeroDivisionError("secret")

    for what, handler in (("missing", missing), ("busy", busy), ("defect", defect)):
        b.serve(what, handler)
    with pytest.raises(NotFound) as found:
        await a.request(B, "missing", b"", SOON_S)
    assert (found.value.kind, found.value.key) == ("task", "t1")
    assert str(found.value) == str(NotFound("task", "t1"))
    with pytest.raises(Overloaded) as full:
        await a.request(B, "busy", b"", SOON_S)
    assert (str(full.value), full.value.retry_after_s) == ("too many", 2.5)
    with pytest.raises(Unavailable) as failed:
        await a.request(B, "defect", b"", SOON_S)
    assert "secret" not in str(failed.value)


async def test_leader_is_whoever_leads(planes: Planes) -> None:
    """Requests to the leader go there, and nowhere when nobody leads."""
    a, b, c = planes
    for plane in planes:

        async def answer(_: bytes, name: PlaneId = plane.plane_id) -> bytes:
            return name.encode()

        plane.serve("name", answer)

    async def leader() -> bytes | None:
        try:
            return await a.request(LEADER, "name", b"", SOON_S)
        except Unreachable as error:
            assert str(error) == "no control plane leads at the moment"  # noqa: PT017 - or answered
            return None

    assert await leader() is None
    async with b.leading():
        # The others hear of it a moment later.
        assert await eventually_async(leader) == b"b"
    await eventually_async(leader, lambda name: name is None)
    async with c.leading():
        assert await eventually_async(leader) == b"c"


async def test_published_reaches_all_others(planes: Planes) -> None:
    """Each of them once, the publisher not; by its word."""
    heard: list[tuple[PlaneId, bytes]] = []
    for plane in planes:

        def listen(payload: bytes, name: PlaneId = plane.plane_id) -> None:
            heard.append((name, payload))

        plane.listen("changes", listen)
    planes[0].publish("other", b"0")
    planes[0].publish("changes", b"1")
    await eventually_async(lambda: sorted(heard), lambda now: now == [(B, b"1"), (C, b"1")])
    planes[1].publish("changes", b"2")
    await eventually_async(lambda: sorted(heard[2:]), lambda now: now == [(A, b"2"), (C, b"2")])


async def test_failing_listener_keeps_nothing_from_the_others(planes: Planes) -> None:
    """Nor from itself the next time."""
    heard: list[bytes] = []

    def fail(payload: bytes) -> None:
        heard.append(payload)
        raise ZeroDivisionError

    planes[1].listen("changes", fail)
    planes[1].listen("changes", heard.append)
    planes[0].publish("changes", b"1")
    planes[0].publish("changes", b"2")
    await eventually_async(lambda: heard, lambda now: now == [b"1", b"1", b"2", b"2"])


async def test_large_payloads_arrive_whole(planes: Planes) -> None:
    """Both ways, though no message of a server may be as large."""
    a, b, _ = planes
    b.serve("echo", _echo)
    payload = bytes(range(256)) * (5 << 12)
    assert await a.request(B, "echo", payload, SOON_S) == b"echo " + payload


async def test_what_is_too_large_is_refused(planes: Planes) -> None:
    """By whoever sends it, before anything is sent."""
    a, b, _ = planes

    async def large(_: bytes) -> bytes:
        return bytes(MOST_BYTES + 1)

    b.serve("large", large)
    with pytest.raises(PayloadTooLarge, match=str(MOST_BYTES)):
        await a.request(B, "large", bytes(MOST_BYTES + 1), SOON_S)
    with pytest.raises(PayloadTooLarge, match=str(MOST_BYTES)):
        await a.request(B, "large", b"", SOON_S)
    with pytest.raises(PayloadTooLarge, match=str(MOST_PUBLISHED_BYTES)):
        a.publish("changes", bytes(MOST_PUBLISHED_BYTES + 1))


async def test_too_many_requests_are_refused(planes: Planes) -> None:
    """A plane that handles as many as it can says so at once; afterwards it takes more."""
    a, b, _ = planes
    release, under_way = anyio.Event(), 0

    async def wait(_: bytes) -> bytes:
        nonlocal under_way
        under_way += 1
        await release.wait()
        return b""

    b.serve("wait", wait)

    async def ask() -> None:
        await a.request(B, "wait", b"", SOON_S * 2)

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(ask)
        await eventually_async(lambda: under_way, lambda count: count == AT_ONCE)
        with pytest.raises(Overloaded):
            await a.request(B, "wait", b"", SOON_S)
        release.set()
    assert await a.request(B, "wait", b"", SOON_S) == b""
