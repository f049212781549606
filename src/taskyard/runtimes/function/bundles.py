"""Bundles of source as files named by their content."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio.to_thread

from taskyard.core.errors import NotFound, StorageFull, StoreDamaged, Unavailable

_NAME: Final = re.compile(r"[0-9a-f]{64}\Z")
_YOUNG_S: Final = 86_400.0


class BundleFiles:
    """Implements ``ports.functions.BundleStore`` below a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()

    async def put(self, content: bytes) -> str:
        """See the port."""
        return await anyio.to_thread.run_sync(self._put, content)

    async def get(self, bundle: str) -> bytes:
        """See the port."""
        if not _NAME.match(bundle):
            raise NotFound("bundle", bundle)
        try:
            content = await anyio.to_thread.run_sync(_sound, self._path(bundle))
        except FileNotFoundError:
            raise NotFound("bundle", bundle) from None
        if content is None:
            raise StoreDamaged(f"the source {bundle[:12]} is damaged on disk; deploy it again")
        return content

    async def keep_only(self, bundles: frozenset[str]) -> None:
        """See the port."""
        await anyio.to_thread.run_sync(self._sweep, bundles)

    def _path(self, bundle: str) -> Path:
        return self._directory / bundle[:2] / bundle

    def _put(self, content: bytes) -> str:
        bundle = hashlib.sha256(content).hexdigest()
        path = self._path(bundle)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with self._locked(fcntl.LOCK_SH):
                if path.exists() and _sound(path) is not None:
                    os.utime(path)
                else:
                    self._write(path, content)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StorageFull("there is no room for the source") from error
            raise Unavailable(f"the source cannot be stored: {error.strerror}") from error
        return bundle

    def _write(self, path: Path, content: bytes) -> None:
        beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        for folder in (path.parent, self._directory):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _sweep(self, bundles: frozenset[str]) -> None:
        old = time.time() - _YOUNG_S
        for path in self._directory.glob("*/*"):
            if path.name in bundles:
                continue
            # What is put again at this moment is young by the time it is looked at, or put again.
            with self._locked(fcntl.LOCK_EX), contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < old:
                    path.unlink()

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Keep bundles that are being put apart from one that is being removed. Blocks."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)


def _sound(path: Path) -> bytes | None:
    """What a bundle holds; None if that is not what its name says. Raises ``OSError``."""
    content = path.read_bytes()
    return content if hashlib.sha256(content).hexdigest() == path.name else None
