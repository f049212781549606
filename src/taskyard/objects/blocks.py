"""Content in blocks of equal size, wherever it comes from."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable

from anyio import to_thread

from taskyard.ports.objects import Content


async def blocks(content: Content, block_bytes: int) -> AsyncGenerator[bytes, None]:
    """Content in blocks of exactly this size, but for the last; none if it is empty.

    A plain iterable is asked for its parts in threads: it may read files. Never holds more than a
    block and the part that follows.
    """
    gathered = bytearray()
    async for part in _parts(content):
        begin = 0
        while len(gathered) + len(part) - begin >= block_bytes:
            end = begin + block_bytes - len(gathered)
            gathered += memoryview(part)[begin:end]
            begin = end
            yield bytes(gathered)
            gathered.clear()
        gathered += memoryview(part)[begin:]
    if gathered:
        yield bytes(gathered)


async def _parts(content: Content) -> AsyncGenerator[bytes, None]:
    if isinstance(content, bytes):
        yield content
    elif isinstance(content, AsyncIterable):
        async for part in content:
            yield part
    else:
        async for part in _pulled(content):
            yield part


async def _pulled(content: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    parts = iter(content)
    while (part := await to_thread.run_sync(next, parts, None)) is not None:
        yield part
