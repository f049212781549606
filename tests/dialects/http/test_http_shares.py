"""Shares of what is common, and the bodies that are counted by them."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.errors import Busy, Overloaded
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant
from taskyard.dialects.drove import errors as drove
from taskyard.dialects.fastlane import errors as fastlane
from taskyard.dialects.greencloud import errors as greencloud
from taskyard.dialects.gx import errors as gx
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.bodies import Bodies, read_body
from taskyard.dialects.http.proxies import Proxies
from taskyard.dialects.http.shares import Shares
from taskyard.dialects.http.streams import Streams
from taskyard.dialects.native import errors as native
from taskyard.server.connection_limit import MOST_CONNECTIONS, ConnectionLimit

A, B, C = WorkspaceName("a"), WorkspaceName("b"), WorkspaceName("c")


def test_one_gets_its_share_and_all_together_no_more_than_there_is() -> None:
    """Each is told what it can do; what is given back can be taken again."""
    shares = Shares("apples", 10, 60)
    shares.take(A, 6)
    with pytest.raises(Overloaded, match=r"reached the limit of 6 apples") as own:
        shares.take(A)
    assert not isinstance(own.value, Busy)
    shares.take(B, 4)
    with pytest.raises(Busy, match=r"limit of 10 apples"):
        shares.take(C)
    shares.give_back(A, 2)
    shares.take(C, 2)
    assert (shares.held_by(A), shares.held_by(B), shares.held_by(C), shares.taken) == (4, 4, 2, 10)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=60))
def test_books_are_kept(moves: list[tuple[str, int]]) -> None:
    """Whatever is taken and given back in whatever order; nobody is remembered for nothing."""
    shares, held = Shares("apples", 12, 50), dict.fromkeys("abc", 0)
    for who, count in moves:
        if count == 0 and held[who]:
            shares.give_back(who, held[who])
            held[who] = 0
        elif count:
            fits = held[who] + count <= 6 and sum(held.values()) + count <= 12
            try:
                shares.take(who, count)
            except Overloaded:
                assert not fits
            else:
                assert fits
                held[who] += count
        assert shares.taken == sum(held.values()) <= 12
        assert {who: shares.held_by(who) for who in "abc"} == held
    assert set(shares._by_holder) == {who for who, count in held.items() if count}


@pytest.mark.parametrize(
    "answer",
    [
        lambda error: native.problem_of(error, "id"),
        fastlane.answer_of,
        greencloud.answer_of,
        gx.answer_of,
        drove.answer_of,
    ],
)
def test_every_dialect_tells_the_two_apart(answer: Callable[[Exception], Answer | None]) -> None:
    """503 if the server is full, 429 if the caller has its share; both say when to come back."""
    for error, status in (
        (Busy("the server is full", 5.0), 503),
        (Overloaded("you have enough", 5.0), 429),
    ):
        given = answer(error)
        assert given is not None
        assert given.status == status
        assert dict(given.headers)[b"retry-after"] == b"5"
        assert str(error).encode() in given.body


class Request:
    """A request whose body comes when the test says so."""

    def __init__(self, bodies: Bodies, workspace: WorkspaceName | None, length: int = 0) -> None:
        headers = [(b"content-length", b"%d" % length)] if length else []
        self.scope: Any = {"headers": headers, "state": {}, "client": ("192.0.2.1", 7)}
        self.send, self._receive = anyio.create_memory_object_stream[dict[str, Any]](9)
        self._bodies = bodies
        self._workspace = workspace
        self.may_answer = anyio.Event()
        self.body: bytes | Exception | None = None

    def piece(self, data: bytes, *, more: bool = True) -> None:
        """Something arrives."""
        self.send.send_nowait({"type": "http.request", "body": data, "more_body": more})

    async def run(self) -> None:
        """Read the body; answer once the test lets it."""
        receive: Any = self._receive.receive

        async def app(scope: Any, receive: Any, _send: Any) -> None:
            try:
                self.body = await read_body(scope, receive, 100, self._workspace)
            except Exception as error:  # noqa: BLE001 - looked at by the test
                self.body = error
            await self.may_answer.wait()

        async def unused(_message: Any) -> None:
            raise AssertionError

        with self.send, self._receive:
            await self._bodies.counted(app)(self.scope, receive, unused)


@pytest.mark.anyio
async def test_a_body_counts_until_its_request_is_answered() -> None:
    """By what has arrived of it; what was announced is refused before it is read."""
    bodies = Bodies(Shares("bytes of request bodies", 100, 50))
    slow, other = Request(bodies, A), Request(bodies, A, length=45)
    async with anyio.create_task_group() as group:
        group.start_soon(slow.run)
        slow.piece(b"x" * 10)
        await anyio.wait_all_tasks_blocked()
        assert bodies.shares.held_by(A) == 10
        group.start_soon(other.run)
        other.piece(b"y" * 5)
        await anyio.wait_all_tasks_blocked()
        assert isinstance(other.body, Overloaded)
        slow.piece(b"x" * 10, more=False)
        await anyio.wait_all_tasks_blocked()
        assert slow.body == b"x" * 20
        assert bodies.shares.held_by(A) == 20
        slow.may_answer.set()
        other.may_answer.set()
    assert bodies.shares.taken == 0


@pytest.mark.anyio
async def test_bodies_without_a_workspace_count_for_their_address() -> None:
    """And what is there at once counts for nobody."""
    bodies = Bodies(Shares("bytes of request bodies", 100, 10))
    stranger, prompt = Request(bodies, None), Request(bodies, A)
    async with anyio.create_task_group() as group:
        group.start_soon(stranger.run)
        group.start_soon(prompt.run)
        stranger.piece(b"x" * 10)
        prompt.piece(b"y" * 90, more=False)
        await anyio.wait_all_tasks_blocked()
        assert bodies.shares.held_by(("address", "192.0.2.1")) == bodies.shares.taken == 10
        assert prompt.body == b"y" * 90
        stranger.piece(b"x")
        await anyio.wait_all_tasks_blocked()
        assert isinstance(stranger.body, Overloaded)
        for one in (stranger, prompt):
            one.may_answer.set()
    assert bodies.shares.taken == 0


class Now:
    """A clock that is never asked."""

    def now(self) -> Instant:
        """Any time."""
        return Instant(0)

    async def sleep(self, seconds: float) -> None:
        """Not here."""
        raise AssertionError(seconds)


def caller(workspace: WorkspaceName, address: str = "192.0.2.1") -> Caller:
    """Somebody of a workspace."""
    return Caller("token x", workspace, Role.READ, address)


@pytest.mark.anyio
async def test_streams_of_one_workspace_leave_room_for_those_of_others() -> None:
    """It has half of them, and each that ends makes room for another."""
    streams = Streams(limit=4)
    with ExitStack() as stack:
        stack.enter_context(streams.enter(Now(), caller(A)))
        stack.enter_context(streams.enter(Now(), caller(B)))
        with ExitStack() as second:
            second.enter_context(streams.enter(Now(), caller(A)))
            with pytest.raises(Overloaded, match="limit of 2 live streams"):
                second.enter_context(streams.enter(Now(), caller(A)))
        stack.enter_context(streams.enter(Now(), caller(A)))
        assert len(streams) == 3
    assert len(streams) == 0


def test_waiting_requests_of_one_workspace_leave_room_for_those_of_others() -> None:
    """The same; who is of no workspace counts by the address."""
    streams = Streams(waits=4)
    strangers = [caller(INSTALLATION, f"192.0.2.{n}") for n in (1, 1, 1, 2)]
    with ExitStack() as stack:
        stack.enter_context(streams.waiting(caller(A)))
        for one in strangers[:2]:
            stack.enter_context(streams.waiting(one))
        with pytest.raises(Overloaded, match="requests that wait"):
            stack.enter_context(streams.waiting(strangers[2]))
        stack.enter_context(streams.waiting(strangers[3]))
        with pytest.raises(Busy):
            stack.enter_context(streams.waiting(caller(B)))


def test_connections_are_counted_by_address_but_not_those_of_trusted_proxies() -> None:
    """One customer's network of IPv6 is one address."""
    connection_limit = ConnectionLimit(Proxies(["10.0.0.0/8"]), percent=1)
    most = MOST_CONNECTIONS // 100
    entered = [connection_limit.enter(f"2001:db8::{n:x}") for n in range(most)]
    with pytest.raises(Overloaded):
        connection_limit.enter("2001:db8::ffff")
    assert connection_limit.enter("2001:db8:1::1") is not None
    assert entered[0] is not None
    connection_limit.leave(entered[0])
    assert connection_limit.enter("2001:db8::ffff") is not None
    assert {connection_limit.enter("10.1.2.3") for _ in range(2 * most)} == {None}
    assert connection_limit.enter(None) is None
