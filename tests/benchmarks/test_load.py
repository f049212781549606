import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from benchmarks.load import LoadFailed, generate, request

MESSAGE = request("POST", "/tasks", "dev", b'{"command":["true"]}')


@contextmanager
def answering(*chunks: bytes, close_after: int | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """A server that answers every request with these chunks, written one by one.

    Yields its port and what it received, one entry for each request.
    """
    loop = asyncio.new_event_loop()
    received: list[bytes] = []
    ports: list[int] = []
    ready = threading.Event()
    stop = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                received.append(head + await reader.readexactly(length))
                if close_after is not None and len(received) > close_after:
                    return
                for chunk in chunks:
                    writer.write(chunk)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=[main()])
    thread.start()
    try:
        assert ready.wait(10)
        yield ports[0], received
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def test_load_sends_exactly_so_many_requests() -> None:
    """A count bounds the requests over all connections, each whole and with the token."""
    with answering(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}") as (port, received):
        load = generate(port, MESSAGE, connections=4, count=25)
    assert received == [MESSAGE] * 25
    assert b"Authorization: Bearer dev\r\n" in MESSAGE
    assert (load.accepted, load.statuses, load.refusal) == (25, {201: 25}, None)
    assert len(load.latencies_s) == 25
    assert load.rate == pytest.approx(25 / load.elapsed_s)


def test_load_ends_when_its_time_is_over() -> None:
    """A duration bounds the time; every request begun is answered and counted."""
    with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as (port, received):
        load = generate(port, MESSAGE, connections=2, duration_s=0.1)
    assert load.accepted == len(received) > 0
    assert load.elapsed_s >= 0.1


def test_several_servers_share_the_connections() -> None:
    """Each has as many; the count bounds all of them together."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    with answering(answer) as (one, first), answering(answer) as (two, second):
        load = generate((one, two), MESSAGE, connections=4, count=25)
        assert load.accepted == len(first) + len(second) == 25
        assert min(len(first), len(second)) >= 2


def test_answers_in_pieces_are_one_answer() -> None:
    """Heads and bodies may come in any number of pieces."""
    pieces = (b"HTTP/1.1 200 OK\r\nContent-", b"Length: 5\r\n\r", b"\nab", b"cde")
    with answering(*pieces) as (port, _):
        assert generate(port, MESSAGE, connections=2, count=6).statuses == {200: 6}


def test_refusals_are_counted_apart_and_the_first_is_kept() -> None:
    """An answer outside 2xx is no accepted request, and can be shown."""
    answer = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nfull"
    with answering(answer) as (port, _):
        load = generate(port, MESSAGE, connections=1, count=3)
    assert (load.accepted, load.statuses) == (0, {429: 3})
    assert load.refusal == answer


def test_closed_connection_fails_the_load() -> None:
    """A server that hangs up ends the measurement with an error, not with a lower figure."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    with answering(answer, close_after=3) as (port, _), pytest.raises(LoadFailed, match="closed"):
        generate(port, MESSAGE, connections=1, count=10)


def test_answer_without_length_fails_the_load() -> None:
    """The generator says what it cannot read."""
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    with answering(answer) as (port, _), pytest.raises(LoadFailed, match="Content-Length"):
        generate(port, MESSAGE, connections=1, count=1)


def test_load_needs_a_bound() -> None:
    """Neither time nor count would never end."""
    with pytest.raises(ValueError, match="duration or a count"):
        generate(1, MESSAGE)
