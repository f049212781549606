"""Output of executions as text: the beginning of it in objects, all of it on output routes."""

import codecs
from collections.abc import AsyncIterator
from typing import Final

from taskyard.core.attempts import Attempt
from taskyard.core.errors import NotFound, StoreDamaged
from taskyard.core.jobs import Execution
from taskyard.dialects.fastlane.statuses import WITHOUT_OUTPUT, has_output, remark_of, status_of
from taskyard.ports.logs import Stream
from taskyard.services.tasks.logs import Logs

PIECE_BYTES: Final = 256 << 10
SHOWN_BYTES: Final = 1 << 20
"""Bytes of a stream inside a JSON object; the output routes have the whole of it."""
SHOWN_IN_LIST_BYTES: Final = 128 << 10
SEPARATOR: Final = "\n-=-\n"
_CUT: Final = "\n… cut here; the output routes have the rest\n"


async def text_pieces(logs: Logs, attempt: Attempt, stream: Stream) -> AsyncIterator[str]:
    """A stream of an attempt as text, in bounded pieces; invalid UTF-8 is replaced."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    offset = 0
    while True:
        try:
            found = await logs.slice(attempt, stream, offset, PIECE_BYTES)
        except NotFound:  # pruned meanwhile
            return
        except StoreDamaged as error:
            # A status could tell it of one output, and would hide all others in a list.
            yield decoder.decode(b"", final=True) + f"\n[taskyard: {error}]\n"
            return
        offset += len(found.data)
        text = decoder.decode(found.data, not found.data)
        if text:
            yield text
        if not found.data:
            return


async def log_pieces(logs: Logs, execution: Execution) -> AsyncIterator[str]:
    """The execution's ``log``."""
    if has_output(execution) and execution.attempt is not None:
        async for piece in text_pieces(logs, execution.attempt, Stream.STDOUT):
            yield piece


async def error_pieces(logs: Logs, execution: Execution) -> AsyncIterator[str]:
    """The execution's ``error``: what it wrote there, and a remark on how it ended."""
    last = ""
    if has_output(execution) and execution.attempt is not None:
        async for piece in text_pieces(logs, execution.attempt, Stream.STDERR):
            last = piece
            yield piece
    remark = remark_of(execution)
    if remark:
        yield f"\n{remark}" if last and not last.endswith("\n") else remark


async def shown(pieces: AsyncIterator[str], limit: int) -> str:
    """The beginning of a text, with a word about it where it was cut."""
    parts: list[str] = []
    left = limit
    async for piece in pieces:
        if len(piece) > left:
            parts += [piece[:left], _CUT]
            break
        parts.append(piece)
        left -= len(piece)
    return "".join(parts)


async def log_and_error(
    logs: Logs, execution: Execution, limit: int
) -> tuple[str | None, str | None]:
    """Both as they stand in an execution object; None while unknown."""
    status = status_of(execution)
    if status in WITHOUT_OUTPUT:
        return None, None
    log = await shown(log_pieces(logs, execution), limit) if has_output(execution) else None
    return log, await shown(error_pieces(logs, execution), limit)
