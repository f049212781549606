"""One attempt's output on its way to a log server: cut into lines, each handed over once."""

import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from taskyard.core.syslog import TEXT_LIMIT, header, parse_server
from taskyard.core.tasks import Container
from taskyard.ports.clock import Clock
from taskyard.runtimes.container.context import RuntimeContext
from taskyard.runtimes.engine.frames import STDERR, STDOUT

RECORD: Final = "syslog.json"
"""Beside the output: how far it was handed over."""
_RECORD_S: Final = 1.0

_log = structlog.get_logger(__name__)


class _Record(Struct):
    stdout: int = 0
    stderr: int = 0


class _Stream:
    """How far one stream is."""

    __slots__ = ("begun", "rest")

    def __init__(self, begun: int) -> None:
        self.begun = begun
        """Where the line begins that is not complete yet."""
        self.rest = b""
        """What there is of it."""

    @property
    def taken(self) -> int:
        """Bytes that were seen."""
        return self.begun + len(self.rest)


class SyslogLines:
    """Lines of one attempt.

    Positions count the container's own bytes of a stream from its first, and output may be offered
    any number of times. How far it is goes to a file about once a second, so that a later process
    that reads the log from its beginning repeats no more than that.
    """

    def __init__(
        self, directory: Path, tag: str, clock: Clock, hand: Callable[[bytes], bool]
    ) -> None:
        """Prepare, without touching the disk. ``hand`` takes a message and never waits;
        it says False when nothing is taken any more.
        """
        self._path = directory / RECORD
        self._tag = tag
        self._clock = clock
        self._hand = hand
        self._hostname = socket.gethostname()
        self._streams = {STDOUT: _Stream(0), STDERR: _Stream(0)}
        self._recorded_at = time.monotonic()
        self._recorded = _Record()
        self._stopped = False

    def resume(self) -> None:
        """Go on where an earlier process was."""
        try:
            record = msgspec.json.decode(self._path.read_bytes(), type=_Record)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("lines may be sent again", path=str(self._path), why=str(error))
            return
        self._recorded = record
        self._streams = {STDOUT: _Stream(record.stdout), STDERR: _Stream(record.stderr)}

    def take(self, stream: int, at: int, data: bytes) -> None:
        """Bytes of a stream that begin at a position; those seen already are passed over."""
        known = self._streams[stream]
        if self._stopped or at + len(data) <= known.taken:
            return
        if at < known.taken:
            data = data[known.taken - at :]
        elif at > known.taken:
            # Nobody has what lies in between; what there was of a line is one.
            self._say(self._begin(stream), known.rest)
            known.begun, known.rest = at, b""
        *lines, rest = (known.rest + data).split(b"\n")
        known.rest = b""
        begin = self._begin(stream)
        for line in lines:
            if not self._say(begin, line):
                return
            known.begun += len(line) + 1
        while len(rest) >= TEXT_LIMIT:
            if not self._say(begin, rest[:TEXT_LIMIT]):
                return
            known.begun += TEXT_LIMIT
            rest = rest[TEXT_LIMIT:]
        known.rest = rest
        if time.monotonic() - self._recorded_at >= _RECORD_S:
            self.record()

    def end(self) -> None:
        """There is no more: what is left of a line is one."""
        for number, stream in self._streams.items():
            if self._say(self._begin(number), stream.rest):
                stream.begun, stream.rest = stream.taken, b""
        # The end may have to be found again by a later process.
        self.record()

    def record(self) -> None:
        """Write down how far it is."""
        self._recorded_at = time.monotonic()
        now = _Record(self._streams[STDOUT].begun, self._streams[STDERR].begun)
        if now == self._recorded:
            return
        new = self._path.with_suffix(".new")
        try:
            new.write_bytes(msgspec.json.encode(now))
            new.replace(self._path)
        except OSError as error:
            # Of output that cannot be kept its files tell; this would only repeat some lines.
            _log.warning("position not recorded", path=str(self._path), why=str(error))
        else:
            self._recorded = now

    def _begin(self, stream: int) -> bytes:
        """What messages of a stream begin with now."""
        at_s = self._clock.now() // 1_000_000
        return header(at_s, self._hostname, self._tag, is_error=stream == STDERR)

    def _say(self, begin: bytes, line: bytes) -> bool:
        """Hand a line over; False if nothing is taken any more."""
        if line.endswith(b"\r"):
            line = line.rstrip(b"\r")
        if not line or self._stopped:
            return not self._stopped
        if len(line) <= TEXT_LIMIT:
            self._stopped = not self._hand(begin + line)
            return not self._stopped
        for position in range(0, len(line), TEXT_LIMIT):
            piece = line[position : position + TEXT_LIMIT]
            self._stopped = self._stopped or not self._hand(begin + piece)
        return not self._stopped


def syslog_lines_of(
    work: Container, directory: Path, context: RuntimeContext
) -> SyslogLines | None:
    """The way of an attempt's lines to its log server; None if it has none."""
    if work.syslog is None:
        return None
    server = parse_server(work.syslog.server)
    return SyslogLines(
        directory, work.syslog.tag, context.clock, partial(context.sender.hand, server)
    )
