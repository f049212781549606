"""Files that are put into a container before it starts."""

import base64
import io
import os
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from anyio import to_thread

from taskyard.core.states import Reason
from taskyard.core.tasks import ContainerFile
from taskyard.runtimes.container.exposure import exposed, mounts
from taskyard.runtimes.engine.client import EngineClient
from taskyard.runtimes.engine.diagnosis import reason_of_files, reason_of_os_error
from taskyard.runtimes.engine.errors import CannotRun, EngineRefused, EngineUnreachable

FILE_BYTES: Final = 1 << 20
_MODE: Final = 0o644


async def copy_files(
    engine: EngineClient,
    container: str,
    files: Sequence[ContainerFile],
    allowed: Sequence[str],
    protected: Sequence[str],
) -> None:
    """Put these files into a container that was not started. Raises :class:`CannotRun`.

    Doing it twice is as good as once. Those of the host have to lie in directories that are
    ``allowed``, and not in what is ``protected``, wherever links lead.
    """
    archive = await to_thread.run_sync(_packed, files, allowed, protected)
    try:
        await engine.put(container, archive)
    except EngineRefused as error:
        reason = await reason_of_files(engine, error, container, _packed((), (), ()))
        raise CannotRun(f"its files cannot be put into the container: {error}", reason) from error
    except EngineUnreachable as error:
        raise CannotRun(f"the container engine is away: {error}", Reason.RUNTIME_TROUBLE) from error


def _packed(
    files: Sequence[ContainerFile], allowed: Sequence[str], protected: Sequence[str]
) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for file in files:
            content = _content(file, allowed, protected)
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            entry.size, entry.mode = len(content), _MODE
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _content(file: ContainerFile, allowed: Sequence[str], protected: Sequence[str]) -> bytes:
    if file.host is None:
        return base64.b64decode(file.data or "")
    try:
        # Before anything is opened, which some files notice.
        _check(file.host, os.path.realpath(file.host), allowed, protected)
        # Not blocking: what is named may be a pipe that nobody writes to.
        descriptor = os.open(file.host, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as opened:
            # A link may have been changed meanwhile; this is what was opened.
            real = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            _check(file.host, real, allowed, protected)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise CannotRun(f"{file.host} is no file, so it cannot be put into the container")
            content = opened.read(FILE_BYTES + 1)
    except OSError as error:
        raise CannotRun(
            f"{file.host} cannot be put into the container: {error.strerror or error}",
            reason_of_os_error(error),
        ) from error
    if len(content) > FILE_BYTES:
        raise CannotRun(f"{file.host} has more than {FILE_BYTES} bytes")
    return content


def _check(named: str, real: str, allowed: Sequence[str], protected: Sequence[str]) -> None:
    """Raise :class:`CannotRun` unless a real path may be read on behalf of a task."""
    prefixes = [os.path.realpath(one) for one in allowed]
    if not any(Path(real).is_relative_to(prefix) for prefix in prefixes):
        raise CannotRun(
            f"{named} is in no directory that files may be taken from; an operator can allow it "
            "with the setting drove.config_dirs"
        )
    if exposed(real, protected, mounts()) is not None:
        raise CannotRun(f"{named} belongs to the server or its machine; containers never get it")
