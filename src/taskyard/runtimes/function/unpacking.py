"""Unpacks bundles of source, which are hostile until proven otherwise.

Archives are read by a process of their own (:mod:`.child.unpack`), with limits on memory, time and
disk, nothing of the server's environment or descriptors, and no life beyond the server's.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec
import structlog
from anyio.abc import ByteReceiveStream
from msgspec import Struct

import taskyard
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.child.archives import is_archive

_START: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from taskyard.runtimes.function.child.unpack import main; del sys.path[0]; main()"
)
_OTHERS: Final = {
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}
"""What archives and compressed files begin with that cannot be read."""
_ANSWER_BYTES: Final = 16 << 10

log = structlog.get_logger(__name__)

User = tuple[int, int]
"""Ids of a user and a group."""


class UnpackLimits(Struct, frozen=True):
    """How much a bundle may become, and what may be spent on it."""

    unpacked_bytes: int = 256 << 20
    """Contents of all files."""
    entries: int = 20_000
    """Files and directories, also those that are only part of a path."""
    memory_bytes: int = 256 << 20
    """Memory of the process that unpacks, beyond what it takes to start."""
    timeout_s: float = 60.0
    """Seconds it may take, by the clock and of processor time."""


async def unpack(
    bundle: bytes,
    target: Path,
    single: str,
    limits: UnpackLimits = UnpackLimits(),  # noqa: B008 - frozen
    user: User | None = None,
) -> int:
    """Unpack an archive into a new directory, or write a single file as ``single``.

    Args:
        bundle: an archive, or one file of source.
        target: the directory, which is made.
        single: what one file is called.
        limits: what may be spent, and how much it may become.
        user: user and group that unpack and own everything; None is this process's own. Only
            root can become others.

    Answers how many files there are. Raises ``BuildFailed`` for archives that are damaged, too
    large, or reach outside ``target``; ``OSError`` if it cannot be written.
    """
    other = next((name for magic, name in _OTHERS.items() if bundle.startswith(magic)), None)
    if other is not None:
        raise BuildFailed(f"{other} cannot be unpacked; send a zip or tar archive")
    archive = is_archive(bundle[:262])
    await anyio.to_thread.run_sync(_prepare, target, None if archive else single, bundle, user)
    return await _unpack(bundle, target, limits, user) if archive else 1


def _prepare(target: Path, single: str | None, content: bytes, user: User | None) -> None:
    target.mkdir(mode=0o700)
    made = [target]
    if single is not None:
        made.append(target / single)
        made[-1].write_bytes(content)
        made[-1].chmod(0o600)
    if user is not None:
        for path in made:
            os.chown(path, *user)


async def _unpack(bundle: bytes, target: Path, limits: UnpackLimits, user: User | None) -> int:
    order = {
        "parent": os.getpid(),
        "user": user,
        "limit_bytes": limits.unpacked_bytes,
        "limit_entries": limits.entries,
        "memory_bytes": limits.memory_bytes,
        "timeout_s": limits.timeout_s,
    }
    root = str(Path(taskyard.__file__).parent.parent)
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _START, root]
    given = await anyio.to_thread.run_sync(_in_memory, bundle)
    try:
        with anyio.CancelScope(shield=True):
            # Given up in between, it would leave a process that nobody knows of.
            process = await anyio.open_process(
                [*command, msgspec.json.encode(order).decode()],
                stdin=given,
                cwd=target,
                env={},
                start_new_session=True,
            )
    finally:
        os.close(given)
    answer = complaint = b""
    timed_out = True
    try:
        with anyio.move_on_after(limits.timeout_s):
            if process.stdout is not None and process.stderr is not None:
                async with process.stdout, process.stderr:
                    # One after the other will do: neither fills a pipe.
                    answer = await _all(process.stdout)
                    complaint = await _all(process.stderr)
            await process.wait()
            timed_out = False
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()
    return _understood(answer, complaint, process.returncode, timed_out, limits)


def _understood(
    answer: bytes, complaint: bytes, code: int | None, timed_out: bool, limits: UnpackLimits
) -> int:
    """The number of files that a process said it has unpacked. Raises ``BuildFailed``."""
    if timed_out or code == -signal.SIGXCPU:
        raise BuildFailed(f"the archive takes longer than {limits.timeout_s:g} s to unpack")
    try:
        said = msgspec.json.decode(answer, type=_Answer)
    except msgspec.DecodeError:
        said = None
    if said is None:
        log.error("unpacking_failed", exit=code, stderr=complaint.decode(errors="replace")[-2000:])
        raise BuildFailed(
            "the archive could not be unpacked: the process that reads it failed; the server's "
            "log says how"
        )
    if said.refused is not None:
        raise BuildFailed(said.refused)
    return said.files


class _Answer(Struct):
    files: int = 0
    refused: str | None = None


async def _all(stream: ByteReceiveStream) -> bytes:
    """Everything to the end, of which the beginning is kept."""
    found = bytearray()
    async for piece in stream:
        found += piece[: _ANSWER_BYTES - len(found)]
    return bytes(found)


def _in_memory(content: bytes) -> int:
    """A descriptor with the content, read from its beginning. Raises ``OSError``."""
    descriptor = os.memfd_create("bundle", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
