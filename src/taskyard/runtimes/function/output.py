"""What members print: handed over in memory, or as files in the attempt's directory."""

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

from taskyard.core.attempts import StreamSize
from taskyard.runtimes.command.output import Output
from taskyard.runtimes.function.member import Call, Member
from taskyard.runtimes.function.ownership import make_output

STREAMS: Final = ("stdout", "stderr")
CARRIED_BYTES: Final = 16 << 10
"""Both streams together, in memory at most."""

Printed = dict[str, bytes]


def link_output(call: Call, member: Member) -> None:
    """Let the member's files be the attempt's as well, where followers see them grow.

    Raises ``OSError``.
    """
    directory = call.directory
    directory.mkdir(mode=0o711, exist_ok=True)
    limit = call.assignment.log_limit_bytes
    (directory / "meta.json").write_bytes(b'{"log_limit_bytes":%d}' % limit)
    for stream in STREAMS:
        with contextlib.suppress(FileExistsError):
            os.link(member.directory / stream, directory / stream)
    call.is_linked = True


def hand_over(call: Call, member: Member, printed: Printed) -> None:
    """Let the files be the attempt's alone; the member begins new ones. Raises ``OSError``."""
    link_output(call, member)
    for stream in STREAMS:
        if printed.get(stream):
            # The member emptied its files before it noticed that they were shared.
            with (call.directory / stream).open("ab") as file:
                file.write(printed[stream])
        with contextlib.suppress(FileNotFoundError):
            (member.directory / stream).unlink()
        if member.identity.uid is not None:
            # The directory is ours, so that nobody puts a link there for us to follow.
            make_output(member.directory / stream, member.identity)
    member.fresh = True


def free_surplus(call: Call) -> None:
    """Give the disk back what a call has printed beyond its limit. Raises ``OSError``."""
    meta = msgspec.json.decode((call.directory / "meta.json").read_bytes(), type=dict[str, int])
    Output(str(call.directory), meta["log_limit_bytes"]).free_surplus()


def left_behind(directory: Path) -> Printed | None:
    """What a dead member printed last, if it is little; None if it is much."""
    sizes = {stream: _size(directory / stream) for stream in STREAMS}
    if sum(sizes.values()) > CARRIED_BYTES:
        return None
    return {stream: (directory / stream).read_bytes() for stream, size in sizes.items() if size}


def within(printed: Printed, limit: int) -> tuple[Printed, dict[str, StreamSize]]:
    """What is kept of little output under a limit, and the sizes to report."""
    kept = {stream: data[:limit] for stream, data in printed.items() if data[:limit]}
    sizes = {
        stream: StreamSize(len(kept.get(stream, b"")), len(data) - len(kept.get(stream, b"")))
        for stream, data in printed.items()
    }
    return kept, sizes


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
