"""Output of attempts that run elsewhere, read by offset: whoever has the files is asked for it.

That is the control plane beside the attempt's worker, or a worker on another machine itself.
Nothing is copied, and ranges are bounded, so that no message is large and a slow reader holds
nothing.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec import Struct

from taskyard.core.attempts import StreamSize
from taskyard.core.errors import InvalidInput, NotFound, StoreDamaged, TaskyardError
from taskyard.core.ids import AttemptId
from taskyard.ports.errors import PortError, TimedOut, Unreachable
from taskyard.ports.logs import LocalLogStore, Stream
from taskyard.ports.messages import Handler
from taskyard.transport.addresses import Address, named

SIZE: Final = "output_size"
READ: Final = "output_read"
ORDER: Final = "output_order"
CHANGED: Final = "output_changed"
"""What the messages are for."""
ANSWER_S: Final = 2.0
"""Seconds until the other side counts as away."""
SILENT_S: Final = 2.0
"""Seconds for which one that is away is not asked again, by whomever."""
POLL_S: Final = 5.0
"""Seconds that the other side waits for growth, each time it is asked to."""
RANGE_BYTES: Final = 512 << 10
LARGEST_READ_BYTES: Final = 8 << 20
"""No single read answers with more."""
_REMEMBERED: Final = 10_000

Decoded = TypeVar("Decoded")


@dataclass(frozen=True, slots=True)
class OutputPlace:
    """Who has output, and can be asked for it."""

    address: Address
    ask: Callable[[str, bytes, float], Awaitable[bytes]]
    """Ask for something, within so many seconds. Raises as ``ports.messages.Messages.request``."""


OutputPlaceOf = Callable[[AttemptId], Awaitable[OutputPlace | None]]
"""Where the output of an attempt may be; None if that is here, or nobody knows."""


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
_SIZE: Final = msgspec.msgpack.Decoder(StreamSize)
_ORDER: Final[msgspec.msgpack.Decoder[bytes | None]] = msgspec.msgpack.Decoder(bytes | None)
_TRUTH: Final = msgspec.msgpack.Decoder(bool)


class RemoteOutput:
    """Implements ``ports.logs.OutputSource`` for output that is elsewhere.

    ``NotFound`` is also raised for what runs here, ``Unreachable`` or ``TimedOut`` when whoever
    has the output is away.

    Args:
        place_of: finds whom to ask.
        tasks: where waiting for growth goes on for all who wait.
    """

    def __init__(self, place_of: OutputPlaceOf, tasks: TaskGroup) -> None:
        self._place_of = place_of
        self._tasks = tasks
        self._places: OrderedDict[AttemptId, OutputPlace] = OrderedDict()
        """Where attempts ran when they were last asked for."""
        self._silent_until: dict[Address, float] = {}
        self._polls: dict[tuple[AttemptId, int], _Poll] = {}

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
        """Do nothing: whoever has something of these sweeps it."""

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
        place = await self._place(attempt_id)
        is_silent = anyio.current_time() < self._silent_until.get(place.address, 0.0)
        try:
            if is_silent:
                raise TimedOut("it did not answer a moment ago")
            wait_s = ANSWER_S if timeout_s is None else timeout_s
            answer = await place.ask(what, _encode(request), wait_s)
        except NotFound:
            self._places.pop(attempt_id, None)
            raise
        except PortError as error:
            self._places.pop(attempt_id, None)
            if isinstance(error, TimedOut) and not is_silent:
                self._silent_until[place.address] = anyio.current_time() + SILENT_S
            if (await self._place(attempt_id)).address != place.address:
                # It has ended, and runs again elsewhere or is an object.
                raise NotFound("output", attempt_id) from error
            raise type(error)(
                f"the output is beside {named(place.address)}, which cannot be asked for it at the"
                f" moment: {error}"
            ) from error
        except StoreDamaged:
            raise
        except TaskyardError as error:
            # Whoever answers chooses what is raised here: whatever it is, it is trouble there, and
            # says nothing of who asks.
            raise Unreachable(str(error)) from error
        self._silent_until.pop(place.address, None)
        return answer

    async def _place(self, attempt_id: AttemptId) -> OutputPlace:
        """Whom to ask. Raises ``NotFound`` if that is nobody else."""
        place = self._places.get(attempt_id)
        if place is not None:
            self._places.move_to_end(attempt_id)
            return place
        place = await self._place_of(attempt_id)
        if place is None:
            raise NotFound("output", attempt_id)
        self._places[attempt_id] = place
        if len(self._places) > _REMEMBERED:
            self._places.popitem(last=False)
        return place


class ServedOutput:
    """Lets others read output that is here.

    Args:
        serve: has a handler answer what is asked for.
        held: output on this machine.
    """

    def __init__(self, serve: Callable[[str, Handler], None], held: LocalLogStore) -> None:
        self._held = held
        serve(SIZE, self._on_size)
        serve(READ, self._on_read)
        serve(ORDER, self._on_order)
        serve(CHANGED, self._on_changed)

    async def _on_size(self, payload: bytes) -> bytes:
        asked = decoded_request(_SIZES, payload)
        return _encode(await self._here(asked.attempt_id).size(asked.attempt_id, asked.stream))

    async def _on_read(self, payload: bytes) -> bytes:
        asked = decoded_request(_RANGES, payload)
        held, length = self._here(asked.attempt_id), min(asked.length, RANGE_BYTES)
        if asked.stream is None:
            raise InvalidInput("output", "name a stream")
        return await held.read(asked.attempt_id, asked.stream, asked.offset, length)

    async def _on_order(self, payload: bytes) -> bytes:
        asked = decoded_request(_RANGES, payload)
        held, length = self._here(asked.attempt_id), min(asked.length, RANGE_BYTES)
        if asked.offset < 0 or length < 0:
            return _encode(b"")
        return _encode(await held.order(asked.attempt_id, asked.offset, length))

    async def _on_changed(self, payload: bytes) -> bytes:
        asked = decoded_request(_CHANGES, payload)
        held, timeout_s = self._here(asked.attempt_id), min(asked.timeout_s, POLL_S)
        return _encode(await held.changed(asked.attempt_id, timeout_s, asked.seen_bytes))

    def _here(self, attempt_id: AttemptId) -> LocalLogStore:
        if not self._held.holds(attempt_id):
            raise NotFound("output", attempt_id)
        return self._held


class _Poll:
    """One request that waits for growth, for all who wait for it."""

    __slots__ = ("done", "error", "has_grown")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.has_grown = False
        self.error: NotFound | PortError | None = None


def decoded_request(decoder: msgspec.msgpack.Decoder[Decoded], payload: bytes) -> Decoded:
    """What was asked for. Raises ``InvalidInput`` if nothing was."""
    try:
        return decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise InvalidInput("output", str(error)) from error


def _decoded(decoder: msgspec.msgpack.Decoder[Decoded], payload: bytes) -> Decoded:
    try:
        return decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise Unreachable(f"the other side's answer cannot be read: {error}") from error
