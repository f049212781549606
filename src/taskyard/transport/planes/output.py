"""Output of attempts that run beside other control planes, read by offset from any plane.

Nothing is copied: each read is a request to the plane beside the attempt's worker, which reads its
files. Ranges are bounded, so that no message is large and a slow reader holds nothing.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup
from msgspec import Struct

from taskyard.core.attempts import StreamSize
from taskyard.core.errors import InvalidInput, NotFound, Overloaded
from taskyard.core.ids import AttemptId, PlaneId
from taskyard.ports.errors import PortError, TimedOut, Unreachable
from taskyard.ports.logs import LocalLogStore, Stream
from taskyard.ports.messages import Messages

SIZE: Final = "output_size"
READ: Final = "output_read"
ORDER: Final = "output_order"
CHANGED: Final = "output_changed"
DELETED: Final = "output_deleted"
"""What the messages are for."""
ANSWER_S: Final = 2.0
"""Seconds until the other plane counts as away."""
SILENT_S: Final = 2.0
"""Seconds for which a plane that is away is not asked again, by whomever."""
POLL_S: Final = 5.0
"""Seconds that the other plane waits for growth, each time it is asked to."""
RANGE_BYTES: Final = 512 << 10
LARGEST_READ_BYTES: Final = 8 << 20
"""No single read answers with more."""
DELETED_AT_ONCE: Final = 1000
_REMEMBERED: Final = 10_000

log = structlog.get_logger(__name__)

PlaneOfAttempt = Callable[[AttemptId], Awaitable[PlaneId | None]]
"""Beside which plane a running attempt's worker lives; None if it has ended or nobody knows."""
Decoded = TypeVar("Decoded")


class RangeRequest(Struct, frozen=True, array_like=True):
    """Asks for a range of a stream, or of the order of both when there is none."""

    attempt_id: AttemptId
    stream: Stream | None
    offset: int
    length: int


class SizeRequest(Struct, frozen=True, array_like=True):
    """Asks for the size of a stream."""

    attempt_id: AttemptId
    stream: Stream


class ChangedRequest(Struct, frozen=True, array_like=True):
    """Asks whether output has grown, and to wait for that."""

    attempt_id: AttemptId
    timeout_s: float
    seen_bytes: int | None


_encode = msgspec.msgpack.Encoder().encode
_RANGES: Final = msgspec.msgpack.Decoder(RangeRequest)
_SIZES: Final = msgspec.msgpack.Decoder(SizeRequest)
_CHANGES: Final = msgspec.msgpack.Decoder(ChangedRequest)
_DELETIONS: Final = msgspec.msgpack.Decoder(list[AttemptId])
_SIZE: Final = msgspec.msgpack.Decoder(StreamSize)
_ORDER: Final[msgspec.msgpack.Decoder[bytes | None]] = msgspec.msgpack.Decoder(bytes | None)
_TRUTH: Final = msgspec.msgpack.Decoder(bool)


class PlaneOutput:
    """Implements ``ports.logs.OutputSource`` for output beside other planes; serves what is here.

    ``NotFound`` is also raised for what runs here, ``Unreachable`` or ``TimedOut`` when the other
    plane is away.

    Args:
        messages: reaches the other planes.
        plane_of: finds the plane of an attempt.
        held: output on this machine.
        tasks: where waiting for growth goes on for all who wait.
    """

    def __init__(
        self, messages: Messages, plane_of: PlaneOfAttempt, held: LocalLogStore, tasks: TaskGroup
    ) -> None:
        self._messages = messages
        self._plane_of = plane_of
        self._held = held
        self._tasks = tasks
        self._planes: OrderedDict[AttemptId, PlaneId] = OrderedDict()
        """Where attempts ran when they were last asked for."""
        self._silent_until: dict[PlaneId, float] = {}
        self._polls: dict[tuple[AttemptId, int], _Poll] = {}
        messages.serve(SIZE, self._on_size)
        messages.serve(READ, self._on_read)
        messages.serve(ORDER, self._on_order)
        messages.serve(CHANGED, self._on_changed)
        messages.listen(DELETED, self._on_deleted)

    async def size(self, attempt_id: AttemptId, stream: Stream) -> StreamSize:
        """How much can be read now, and how much was dropped for being over the limit."""
        answer = await self._ask(attempt_id, SIZE, SizeRequest(attempt_id, stream))
        return _decoded(_SIZE, answer)

    async def read(self, attempt_id: AttemptId, stream: Stream, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; short only at the present end, or past 8 MiB."""
        if offset < 0:
            return b""
        found = bytearray()
        left = min(length, LARGEST_READ_BYTES)
        while left > 0:
            asked = min(left, RANGE_BYTES)
            request = RangeRequest(attempt_id, stream, offset + len(found), asked)
            part = await self._ask(attempt_id, READ, request)
            found += part[:asked]
            left -= asked
            if len(part) < asked:
                break
        return bytes(found)

    async def order(self, attempt_id: AttemptId, offset: int, length: int) -> bytes | None:
        """Up to ``length`` bytes (512 KiB at most) of the index of the order of both streams."""
        request = RangeRequest(attempt_id, None, offset, min(length, RANGE_BYTES))
        return _decoded(_ORDER, await self._ask(attempt_id, ORDER, request))

    async def changed(
        self, attempt_id: AttemptId, timeout_s: float, seen_bytes: int | None = None
    ) -> bool:
        """Wait until a stream may have grown; False after ``timeout_s`` without growth.

        Those who wait for the same share one request.
        """
        deadline = anyio.current_time() + timeout_s
        if seen_bytes is None:
            seen_bytes = 0
            for stream in Stream:
                seen_bytes += (await self.size(attempt_id, stream)).stored_bytes
        while (left_s := deadline - anyio.current_time()) > 0:
            poll = self._poll(attempt_id, seen_bytes)
            with anyio.move_on_after(left_s):
                await poll.done.wait()
            if poll.error is not None:
                raise poll.error
            if poll.has_grown:
                return True
        return False

    async def delete(self, attempt_ids: list[AttemptId]) -> None:
        """Have other planes remove what they have of these; one that does not hear it keeps it."""
        for begin in range(0, len(attempt_ids), DELETED_AT_ONCE):
            batch = attempt_ids[begin : begin + DELETED_AT_ONCE]
            self._messages.publish(DELETED, _encode(batch))

    def _poll(self, attempt_id: AttemptId, seen_bytes: int) -> "_Poll":
        key = attempt_id, seen_bytes
        poll = self._polls.get(key)
        if poll is None:
            poll = self._polls[key] = _Poll()
            self._tasks.start_soon(self._run, key, poll)
        return poll

    async def _run(self, key: tuple[AttemptId, int], poll: "_Poll") -> None:
        attempt_id, seen_bytes = key
        request = ChangedRequest(attempt_id, POLL_S, seen_bytes)
        try:
            answer = await self._ask(attempt_id, CHANGED, request, POLL_S + ANSWER_S)
            poll.has_grown = _decoded(_TRUTH, answer)
        except (NotFound, PortError) as error:
            poll.error = error
        finally:
            del self._polls[key]
            poll.done.set()

    async def _ask(
        self, attempt_id: AttemptId, what: str, request: Struct, timeout_s: float | None = None
    ) -> bytes:
        plane = await self._plane(attempt_id)
        is_silent = anyio.current_time() < self._silent_until.get(plane, 0.0)
        try:
            if is_silent:
                raise TimedOut("it did not answer a moment ago")
            wait_s = ANSWER_S if timeout_s is None else timeout_s
            return await self._messages.request(plane, what, _encode(request), wait_s)
        except NotFound:
            self._planes.pop(attempt_id, None)
            raise
        except PortError as error:
            self._planes.pop(attempt_id, None)
            if isinstance(error, TimedOut) and not is_silent:
                self._silent_until[plane] = anyio.current_time() + SILENT_S
            if await self._plane(attempt_id) != plane:
                # It has ended, and runs again elsewhere or is an object.
                raise NotFound("output", attempt_id) from error
            raise type(error)(
                f"the output is beside control plane {plane}, which cannot be asked for it at the "
                f"moment: {error}"
            ) from error
        except Overloaded as error:
            raise Unreachable(str(error)) from error

    async def _plane(self, attempt_id: AttemptId) -> PlaneId:
        """Whom to ask. Raises ``NotFound`` if that is nobody else."""
        plane = self._planes.get(attempt_id)
        if plane is not None:
            self._planes.move_to_end(attempt_id)
            return plane
        plane = await self._plane_of(attempt_id)
        if not plane or plane == self._messages.plane_id:
            raise NotFound("output", attempt_id)
        self._planes[attempt_id] = plane
        if len(self._planes) > _REMEMBERED:
            self._planes.popitem(last=False)
        return plane

    async def _on_size(self, payload: bytes) -> bytes:
        asked = _request(_SIZES, payload)
        return _encode(await self._here(asked.attempt_id).size(asked.attempt_id, asked.stream))

    async def _on_read(self, payload: bytes) -> bytes:
        asked = _request(_RANGES, payload)
        held, length = self._here(asked.attempt_id), min(asked.length, RANGE_BYTES)
        if asked.stream is None:
            raise InvalidInput("output", "name a stream")
        return await held.read(asked.attempt_id, asked.stream, asked.offset, length)

    async def _on_order(self, payload: bytes) -> bytes:
        asked = _request(_RANGES, payload)
        held, length = self._here(asked.attempt_id), min(asked.length, RANGE_BYTES)
        if asked.offset < 0 or length < 0:
            return _encode(b"")
        return _encode(await held.order(asked.attempt_id, asked.offset, length))

    async def _on_changed(self, payload: bytes) -> bytes:
        asked = _request(_CHANGES, payload)
        held, timeout_s = self._here(asked.attempt_id), min(asked.timeout_s, POLL_S)
        return _encode(await held.changed(asked.attempt_id, timeout_s, asked.seen_bytes))

    def _here(self, attempt_id: AttemptId) -> LocalLogStore:
        if not self._held.holds(attempt_id):
            raise NotFound("output", attempt_id)
        return self._held

    def _on_deleted(self, payload: bytes) -> None:
        self._tasks.start_soon(self._delete, _request(_DELETIONS, payload))

    async def _delete(self, attempt_ids: list[AttemptId]) -> None:
        try:
            await self._held.delete(attempt_ids)
        except OSError:
            # As when a deletion here fails half-way: what is left takes up room, and no more.
            log.exception("output_not_deleted", attempts=len(attempt_ids))


class _Poll:
    """One request that waits for growth, for all who wait for it."""

    __slots__ = ("done", "error", "has_grown")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.has_grown = False
        self.error: NotFound | PortError | None = None


def _request(decoder: msgspec.msgpack.Decoder[Decoded], payload: bytes) -> Decoded:
    try:
        return decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise InvalidInput("output", str(error)) from error


def _decoded(decoder: msgspec.msgpack.Decoder[Decoded], payload: bytes) -> Decoded:
    try:
        return decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise Unreachable(f"the other control plane's answer cannot be read: {error}") from error
