"""What instances print that have it in files: handed over in memory, or as files in the attempt's
directory. Others have pipes (:mod:`.instance_output`).
"""

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

from taskyard.core import output_index
from taskyard.core.attempts import StreamSize
from taskyard.runtimes.function.instance import Call, Instance
from taskyard.runtimes.function.instance_output import CARRIED_BYTES, Printed

STREAMS: Final = ("stdout", "stderr")


def link_output(call: Call, instance: Instance) -> None:
    """Let the instance's files be the attempt's as well, where followers see them grow.

    Raises ``OSError``.
    """
    if call.is_linked:
        return
    directory = call.directory
    directory.mkdir(mode=0o711, exist_ok=True)
    limit = call.assignment.log_limit_bytes
    (directory / "meta.json").write_bytes(b'{"log_limit_bytes":%d}' % limit)
    # The order first: readers of the streams look for it.
    for name in (output_index.FILE, *STREAMS):
        if not os.path.lexists(directory / name):
            os.link(instance.directory / name, directory / name)
    call.is_linked = True


def hand_over(call: Call, instance: Instance, printed: Printed) -> None:
    """Let the files be the attempt's alone; the instance begins new ones. Raises ``OSError``."""
    link_output(call, instance)
    for stream in STREAMS:
        if printed.get(stream):
            # The instance emptied its files before it noticed that they were shared.
            with (call.directory / stream).open("ab") as file:
                file.write(printed[stream])
    for name in (output_index.FILE, *STREAMS):
        with contextlib.suppress(FileNotFoundError):
            (instance.directory / name).unlink()
    instance.fresh = True


def left_behind(directory: Path) -> Printed | None:
    """What a dead instance printed last, if it is little; None if it is much."""
    printed: Printed = {}
    for stream in STREAMS:
        content = _read(directory / stream)
        if content:
            printed[stream] = content
    return None if sum(map(len, printed.values())) > CARRIED_BYTES else printed


def within(printed: Printed, limit: int) -> tuple[Printed, dict[str, StreamSize]]:
    """What is kept of little output under a limit, and the sizes to report."""
    kept = {stream: data[:limit] for stream, data in printed.items() if data[:limit]}
    if order := printed.get(output_index.FILE):
        # Who reads it passes over what is not there, and shows last what it does not tell of.
        kept[output_index.FILE] = order[:CARRIED_BYTES]
    sizes = {
        stream: StreamSize(len(kept.get(stream, b"")), len(data) - len(kept.get(stream, b"")))
        for stream, data in printed.items()
        if stream != output_index.FILE
    }
    return kept, sizes


def _read(path: Path) -> bytes:
    """A file, or a bit more than is carried; nothing if there is none, or it is something else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return file.read(CARRIED_BYTES + 1) if is_file else b""
