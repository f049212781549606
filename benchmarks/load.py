"""The HTTP load generator: prepared bytes over kept-alive connections, and little else.

It shares the machine's cores with the server it measures, so every microsecond spent here is
missing there: one process, a bare asyncio protocol, responses scanned for their status and length
only.
"""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import cast

import msgspec

try:
    import uvloop
except ImportError:  # works without, at a higher cost per request
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
else:
    new_loop = uvloop.new_event_loop

GRACE_S = 30.0
"""How long the last answers may take after the time of the measurement is over."""


class LoadFailed(Exception):
    """The server closed a connection, stalled, or answered in a way the generator does not read."""


class Load(msgspec.Struct, frozen=True):
    """What one measurement saw; times in seconds.

    Attributes:
        statuses: answers by status code.
        latencies_s: request written to answer complete, in order of completion.
        refusal: the first answer outside 2xx, for error messages.
    """

    elapsed_s: float
    statuses: dict[int, int]
    latencies_s: list[float]
    refusal: bytes | None

    @property
    def accepted(self) -> int:
        """Answers in 2xx."""
        return sum(count for status, count in self.statuses.items() if 200 <= status < 300)

    @property
    def rate(self) -> float:
        """Accepted requests a second, from the first one written to the last answer read."""
        return self.accepted / self.elapsed_s


def request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    """A whole HTTP/1.1 request, ready to be sent again and again."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def generate(
    ports: int | Sequence[int],
    message: bytes,
    *,
    connections: int = 32,
    duration_s: float | None = None,
    count: int | None = None,
) -> Load:
    """Send a request on every connection again as soon as it is answered.

    Args:
        ports: the server's, on loopback; of several servers each gets as many connections.
        message: the request, from `request()`.
        connections: how many at once, one request each.
        duration_s: no request is begun after so many seconds.
        count: no more than so many requests are begun. At least one of the two bounds is given.

    Raises:
        LoadFailed: see the class; answers outside 2xx are counted, not raised.
        ValueError: neither bound is given.
    """
    if duration_s is None and count is None:
        raise ValueError("a load needs a duration or a count")
    several = (ports,) if isinstance(ports, int) else tuple(ports)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        # The collector would pause the measurement for objects that all stay.
        gc.disable()
        try:
            return runner.run(_generate(several, message, connections, duration_s, count))
        finally:
            gc.enable()


class _Run:
    """What the connections of one measurement share."""

    def __init__(self, message: bytes, connections: int, count: int | None) -> None:
        self.message = message
        self.left = count if count is not None else 1 << 62
        self.until = float("inf")
        self.open = connections
        self.statuses: Counter[bytes] = Counter()
        self.latencies: list[float] = []
        self.refusal: bytes | None = None
        self.ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def fail(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(LoadFailed(reason))

    def leave(self, now: float) -> None:
        self.open -= 1
        if self.open == 0 and not self.ended.done():
            self.ended.set_result(now)


class _Connection(asyncio.Protocol):
    """One connection: writes the message, waits for the whole answer, writes it again."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._buffer = b""
        self._expected = 0
        self._begun = 0.0
        self._leaving = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A stream's transport, which asyncio types more widely.
        self._transport = cast("asyncio.Transport", transport)

    def send(self, now: float) -> None:
        run = self._run
        if run.left <= 0 or now >= run.until:
            self._leaving = True
            run.leave(now)
            return
        run.left -= 1
        self._begun = now
        self._transport.write(run.message)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        if not self._expected:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = data
                return
            length = _content_length(data[:end])
            if length is None:
                self._run.fail(f"an answer without Content-Length: {data[:200]!r}")
                return
            self._expected = end + 4 + length
        if len(data) < self._expected:
            self._buffer = data
            return
        now = time.perf_counter()
        run = self._run
        status = data[9:12]
        run.statuses[status] += 1
        if run.refusal is None and status[:1] != b"2":
            run.refusal = data[: self._expected]
        run.latencies.append(now - self._begun)
        self._buffer, self._expected = b"", 0
        self.send(now)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._leaving:
            self._run.fail(f"the server closed a connection: {exc}")


def _content_length(head: bytes) -> int | None:
    lowered = head.lower()
    begin = lowered.find(b"\r\ncontent-length:")
    if begin < 0:
        return 0 if lowered[9:12] == b"204" else None
    end = lowered.find(b"\r\n", begin + 2)
    return int(lowered[begin + 17 : end if end >= 0 else None])


async def _generate(
    ports: Sequence[int],
    message: bytes,
    connections: int,
    duration_s: float | None,
    count: int | None,
) -> Load:
    loop = asyncio.get_running_loop()
    run = _Run(message, connections, count)
    pairs = [
        await loop.create_connection(lambda: _Connection(run), "127.0.0.1", port)
        for _, port in zip(range(connections), cycle(ports), strict=False)
    ]
    begin = time.perf_counter()
    if duration_s is not None:
        run.until = begin + duration_s
    try:
        for _, connection in pairs:
            connection.send(time.perf_counter())
        limit = None if duration_s is None else duration_s + GRACE_S
        end = await asyncio.wait_for(run.ended, limit if limit is not None else 4 * GRACE_S)
    except TimeoutError as error:
        raise LoadFailed(
            f"{run.open} of {connections} connections still wait for an answer"
        ) from error
    finally:
        for transport, _ in pairs:
            transport.abort()
    return Load(
        elapsed_s=end - begin,
        statuses={int(status): number for status, number in run.statuses.items()},
        latencies_s=run.latencies,
        refusal=run.refusal,
    )
