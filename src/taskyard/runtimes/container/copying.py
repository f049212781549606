"""Bringing a container's output into its attempt's files."""

from collections.abc import Callable
from typing import Final

import anyio
import structlog
from anyio.abc import TaskStatus

from taskyard.runtimes.container.output import Output
from taskyard.runtimes.container.watch import Watch
from taskyard.runtimes.engine.client import Attachment, EngineClient
from taskyard.runtimes.engine.errors import EngineRefused, EngineUnreachable
from taskyard.runtimes.engine.frames import Frames, LogFrames

_log = structlog.get_logger(__name__)

_SETTLE_S: Final = 10.0
"""How long an attachment may take to bring the rest of a container that has ended."""
_SOCKET_BYTES: Final = 64 << 10
"""What the kernel keeps for a reader of a Unix socket, at the least."""
_AGAIN_S: Final = 0.2
_LATER_S: Final = 0.5


class Copying:
    """The way of one container's output.

    :meth:`attach` before the start brings everything unless the connection breaks; then, or for a
    container that an earlier process started, :meth:`follow` reads the engine's log meanwhile and
    :meth:`read_all` brings the rest at the end.
    """

    def __init__(
        self,
        engine: EngineClient,
        watch: Watch,
        container: str,
        output: Output,
        *,
        stdin: bytes | None,
        is_podman: bool,
        on_failure: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._watch = watch
        self._container = container
        self._output = output
        self._stdin = stdin
        self._on_failure = on_failure
        self._is_podman = is_podman
        self._frames = Frames if is_podman else LogFrames
        self._generation = watch.generation
        self._is_whole = False
        self._missed = False
        self._over = anyio.Event()
        self.begun = anyio.Event()
        """To be set when the container runs."""
        self.failed: OSError | None = None
        """Why output could not be written."""

    def miss(self) -> None:
        """Nobody was attached from the start, or not any more."""
        self._missed = True
        self._over.set()

    @property
    def is_complete(self) -> bool:
        """Whether the attachment brought everything, to the last byte.

        An attachment just ends, whether the container or the engine has gone; only an engine that
        was there all the time makes its end the container's. Over a network that is not enough:
        what lies in between may end one connection and leave the others.
        """
        if self.failed is not None:
            return True
        was_there = self._generation == self._watch.generation
        whole = not self._missed and self._is_whole and was_there and self._engine.address.is_local
        return whole and not self._may_lack_its_end

    @property
    def _may_lack_its_end(self) -> bool:
        """Podman's monitor ends with the container, and does not wait for an attachment that is
        behind by more than a socket holds: then the log alone knows how it ended.
        """
        return self._is_podman and self._output.taken_bytes > _SOCKET_BYTES

    async def attach(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Copy through an attachment; started when that is made or cannot be."""
        said = False
        try:
            async with self._engine.attached(
                self._container, stdin=self._stdin is not None
            ) as attachment:
                task_status.started()
                said = True
                await self._copy(attachment)
        except (EngineUnreachable, EngineRefused) as error:
            _log.info("attachment broke", container=self._container, why=str(error))
        self._over.set()
        if not said:
            task_status.started()
        await self.begun.wait()
        # Mostly the container has ended too, and this never comes back from its sleep.
        await anyio.sleep(_LATER_S)
        await self.follow()

    async def _copy(self, attachment: Attachment) -> None:
        frames = Frames()
        self._output.follow_on()
        async with anyio.create_task_group() as group:
            if self._stdin is not None:
                group.start_soon(self._give, attachment, self._stdin)
            try:
                while data := await attachment.read():
                    for stream, piece in frames.feed(data):
                        self._output.take(stream, piece)
                    self._output.flush_soon()
                self._is_whole = frames.is_whole
            except (EngineUnreachable, ValueError) as error:
                _log.info("attachment broke", container=self._container, why=str(error))
            except OSError as error:
                self._fail(error)
            group.cancel_scope.cancel()

    async def _give(self, attachment: Attachment, data: bytes) -> None:
        await self.begun.wait()
        try:
            await attachment.give(data)
        except EngineUnreachable as error:
            # As for a pipe: it is nobody's fault if the work does not read it all.
            _log.debug("standard input not taken", container=self._container, why=str(error))

    async def follow(self) -> None:
        """Copy from the engine's log until cancelled; what it leaves out comes at the end."""
        while self.failed is None:
            try:
                await self._read(follow=True)
            except (EngineUnreachable, EngineRefused) as error:
                _log.info("log broke off", container=self._container, why=str(error))
            await anyio.sleep(_AGAIN_S)
            await self._watch.connected.wait()

    async def settle(self) -> None:
        """The container has ended: wait for what an attachment still brings."""
        with anyio.move_on_after(_SETTLE_S):
            await self._over.wait()

    async def read_all(self) -> None:
        """Bring everything that is missing, from the log of an ended container.

        Raises :class:`EngineUnreachable`, :class:`EngineRefused`, and ``OSError`` for the files.
        """
        await self._read(follow=False)
        if self.failed is not None:
            raise self.failed

    def _fail(self, error: OSError) -> None:
        self.failed = error
        self._on_failure()

    async def _read(self, *, follow: bool) -> None:
        frames = self._frames()
        self._output.rewind()
        async with self._engine.log(self._container, follow=follow) as pieces:
            async for data in pieces:
                try:
                    for stream, piece in frames.feed(data):
                        self._output.take(stream, piece)
                    self._output.flush_soon()
                except ValueError as error:
                    raise EngineUnreachable(str(error)) from error
                except OSError as error:
                    self._fail(error)
                    return
        if not frames.is_whole:
            raise EngineUnreachable("the log ended in the middle of a frame")
