"""The dialect kit: what every dialect's application does alike, with one that is made up."""

from typing import Any

import anyio
import pytest
from litestar.types import Receive, Scope

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import NotAllowed, NotFound
from taskyard.core.ids import WorkspaceName
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.application import application
from taskyard.dialects.http.dialect import CALLER_KEY, Call, Dialect, DialectContext
from taskyard.dialects.http.routes import Route, Routes
from taskyard.dialects.http.sockets import Socket
from taskyard.dialects.http.streams import Streams, while_present

pytestmark = pytest.mark.anyio
CALLER = Caller("token x", WorkspaceName("a"), Role.READ)


class Engine:
    """Remembers what is audited."""

    def __init__(self) -> None:
        self.audit = self
        self.audited: list[tuple[Any, ...]] = []

    async def not_allowed(self, *what: Any) -> None:
        """The audit trail's."""
        self.audited.append(what[:1] + what[2:])


class Made(Dialect["Call[Made]", None]):
    """Says its errors with a status alone."""

    name = "made"

    async def enter(
        self, route: Route["Call[Made]", None], scope: Scope, receive: Receive
    ) -> "Call[Made]":
        """Everybody is let in."""
        del route
        scope["state"][CALLER_KEY] = CALLER
        return Call(self, CALLER, scope, receive)

    def answer_of(self, error: Exception, scope: Scope) -> Answer | None:
        """Two kinds are known."""
        del scope
        return {NotAllowed: Answer(403), NotFound: Answer(404)}.get(type(error))

    def defect(self, scope: Scope) -> Answer:
        """500."""
        del scope
        return Answer(500)

    def no_route(self, scope: Scope, allowed: list[str]) -> Answer:
        """404 or 405."""
        del scope
        return Answer(405 if allowed else 404)


routes = Routes[Call[Made], None](access=None)


@routes.get("/things/{id}")
async def show(call: Call[Made]) -> Answer:
    """Raises what the path asks for."""
    errors: dict[str, Exception] = {
        "secret": NotAllowed(),
        "none": NotFound("thing", "none"),
        "bad": ValueError(),
    }
    if (error := errors.get(call.path("id"))) is not None:
        raise error
    return Answer(200, call.path("id").encode())


@routes.socket("/things/{id}/ws")
async def follow(call: Call[Made], socket: Socket) -> None:
    """Refuses one thing, says the name of all others."""
    if call.path("id") == "none":
        raise NotFound("thing", "none")
    await socket.accept()
    await socket.send_text(call.path("id"))
    await socket.close(1000, "done")


async def asked(
    path: str, method: str | None = "GET", engine: Engine | None = None
) -> list[dict[str, Any]]:
    """What is sent for a request; for a WebSocket, when the method is None."""
    anything: Any = engine or Engine()
    app = application(Made(DialectContext(anything, Streams())), routes)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"path": path, "headers": [], "state": {}, "query_string": b""}
    scope["extensions"] = {"websocket.http.response": {}}
    if method is not None:
        scope["method"] = method
    await app(scope, receive, send)
    return sent


async def test_requests_find_their_handlers() -> None:
    """Encoded slashes inside of a segment are slashes to the handler."""
    start, body = await asked("/things/a\udc2fb/")
    assert (start["status"], body["body"]) == (200, b"a/b")
    start, body = await asked("/things/a", "HEAD")
    assert (start["status"], body["body"]) == (200, b"")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nope", "GET", 404),
        ("/nope", "OPTIONS", 404),
        ("/things/a", "POST", 405),
        ("/things/a/ws", "GET", 404),
        ("/things/a", "OPTIONS", 204),
        ("/things/none", "GET", 404),
        ("/things/bad", "GET", 500),
    ],
)
async def test_everything_is_answered(path: str, method: str, status: int) -> None:
    """Where no route is, and whatever a handler raises."""
    start, _ = await asked(path, method)
    assert start["status"] == status
    if method == "OPTIONS" and status == 204:
        assert dict(start["headers"])[b"allow"] == b"GET, HEAD, OPTIONS"


async def test_missing_roles_are_audited_by_route() -> None:
    """Not by path: what is asked for may be anything."""
    engine = Engine()
    start, _ = await asked("/things/secret", engine=engine)
    assert start["status"] == 403
    assert engine.audited == [(CALLER, "made.request", "GET /things/{id}")]


async def test_sockets_are_served_or_refused_before_the_upgrade() -> None:
    """With the same answers as other requests."""
    accept, text, close = await asked("/things/a/ws", None)
    assert (accept["type"], text["text"], close["code"]) == ("websocket.accept", "a", 1000)
    for path in ("/things/none/ws", "/things/a", "/nope"):
        start, _ = await asked(path, None)
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 404), path


async def test_work_for_a_reader_ends_with_the_reader() -> None:
    """And what the work raises is raised, unless the reader has left."""
    left = anyio.Event()

    async def receive() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    async def fail() -> None:
        raise OSError

    async def leave() -> None:
        left.set()
        await anyio.sleep_forever()

    assert await while_present(receive, anyio.lowlevel.checkpoint)
    with pytest.raises(OSError):  # noqa: PT011 - of any kind
        await while_present(receive, fail)
    with anyio.fail_after(5):
        assert not await while_present(receive, leave)
