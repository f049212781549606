"""The WebSocket of a workspace: the whole list, at once, after changes, and each second."""

import asyncio
import contextlib
from typing import Any, Final

import anyio
import structlog
from litestar.types import Receive, Scope, Send

from taskyard.core.errors import NotAuthenticated, Overloaded, Unavailable
from taskyard.core.lists import ListKey
from taskyard.dialects.gx.boards import AllSnapshots, Board
from taskyard.dialects.gx.errors import TOO_MANY_STREAMS, Refusal, answer_of
from taskyard.dialects.gx.settings import GxSettings
from taskyard.dialects.gx.workspaces import Workspace, enter
from taskyard.dialects.http.host import Host
from taskyard.dialects.http.peers import address_of
from taskyard.dialects.http.refusing import refuse_upgrade

STOPPING: Final = (1001, "the service is stopping")
WITHDRAWN: Final = (1008, "the key was withdrawn")
DEFECT: Final = (1011, "internal server error")

log = structlog.get_logger(__name__)


class Streams:
    """All open streams, by workspace."""

    def __init__(self, host: Host, settings: GxSettings, snapshots: AllSnapshots) -> None:
        self._host = host
        self._settings = settings
        self._snapshots = snapshots
        self._boards: dict[ListKey, Board] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one stream, or refuse it before the upgrade."""
        # An ASGI server waits for this before it takes an answer.
        await receive()
        try:
            workspace = await enter(
                self._host.engine, self._settings, scope["query_string"], address_of(scope)
            )
            board = await self._board(workspace.key)
            stream = _Stream(workspace, board)
            if len(board) >= self._settings.streams:
                raise Refusal(TOO_MANY_STREAMS)  # noqa: TRY301 - answered like all others
            board.enter(stream.call)
        except Exception as error:  # noqa: BLE001 - the top of a request
            await refuse_upgrade(scope, send, answer_of(error))
            return
        try:
            await self._serve(stream, scope, receive, send)
        finally:
            board.leave(stream.call)
            if not len(board) and self._boards.get(workspace.key) is board:
                del self._boards[workspace.key]

    async def _board(self, key: ListKey) -> Board:
        shown = await self._host.engine.lists.look(key)
        board = self._boards.get(key)
        if board is None or board.shown is not shown:
            board = self._boards[key] = Board(
                shown, self._snapshots.of(shown), asyncio.get_running_loop()
            )
        return board

    async def _serve(self, stream: "_Stream", scope: Scope, receive: Receive, send: Send) -> None:
        try:
            clock = self._host.engine.clock
            with self._host.streams.enter(clock, stream.workspace.caller) as opened:
                await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
                await stream.run(receive, send)
        except (Overloaded, Unavailable, NotAuthenticated) as error:
            await refuse_upgrade(scope, send, answer_of(error))
            return
        if opened.credential_ended:
            stream.goodbye = WITHDRAWN
        elif self._host.streams.closing:
            stream.goodbye = STOPPING
        if stream.goodbye is not None:
            code, reason = stream.goodbye
            with contextlib.suppress(OSError):  # it left by itself meanwhile
                await send({"type": "websocket.close", "code": code, "reason": reason})


class _Stream:
    """One reader."""

    __slots__ = ("_board", "_wake", "goodbye", "workspace")

    def __init__(self, workspace: Workspace, board: Board) -> None:
        self.workspace = workspace
        self._board = board
        self._wake = asyncio.Event()
        self.goodbye: tuple[int, str] | None = None
        """Why it is to be closed from our side."""

    def call(self) -> None:
        """There is something to send."""
        self._wake.set()

    async def run(self, receive: Receive, send: Send) -> None:
        """Until the reader leaves, or this is cancelled."""
        async with anyio.create_task_group() as group:

            async def listen() -> None:
                # What it says is read and ignored.
                while (await receive())["type"] != "websocket.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(listen)
            try:
                await self._send_all(send)
            except OSError:
                log.debug("stream_left", workspace=self.workspace.id)
            except Exception:
                log.exception("stream_failed", workspace=self.workspace.id)
                self.goodbye = DEFECT
            group.cancel_scope.cancel()

    async def _send_all(self, send: Send) -> None:
        while True:
            self._wake.clear()
            message: Any = {"type": "websocket.send", "text": self._board.text, "bytes": None}
            await send(message)
            await self._wake.wait()
