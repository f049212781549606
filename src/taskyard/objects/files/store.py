"""Objects as files below a directory, which may be a shared one.

The object ``a/b`` is the file ``a/=b``: so it can be beside ``a/b/c``, which is ``a/b/=c``. What is
being put is below ``.unfinished`` until it is complete and on disk; then it gets its name, by a
link, which fails if there is one already.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Final, ParamSpec, TypeVar

import anyio
from anyio import to_thread

from taskyard.core.errors import NotFound, StorageFull, Unavailable
from taskyard.objects.blocks import blocks
from taskyard.objects.keys import check_key, check_prefix, check_range
from taskyard.ports.objects import ABANDONED_S, LARGEST_READ_BYTES, Content, StoredObject

P = ParamSpec("P")
T = TypeVar("T")

_UNFINISHED: Final = ".unfinished"
_MARK: Final = "="
_BLOCK_BYTES: Final = 1 << 20


class FileObjectStore:
    """Implements ``ports.objects.ObjectStore``; several processes may use one directory."""

    def __init__(self, root: Path) -> None:
        """``root`` is made when it is needed."""
        self._root = root.absolute()
        self._unfinished = self._root / _UNFINISHED

    async def put(self, key: str, content: Content) -> bool:
        """See the port."""
        check_key(key)
        if await to_thread.run_sync(_guarded, self._renewed, key):
            return False
        beside = self._unfinished / secrets.token_hex(16)
        file = await to_thread.run_sync(_guarded, self._opened, beside)
        try:
            async with aclosing(blocks(content, _BLOCK_BYTES)) as parts:
                async for part in parts:
                    await to_thread.run_sync(_guarded, file.write, part)
            return await to_thread.run_sync(_guarded, self._kept, key, file, beside)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(_abandon, file, beside)

    async def size(self, key: str) -> int:
        """See the port."""
        check_key(key)
        return await to_thread.run_sync(_guarded, self._size, key)

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """See the port."""
        check_key(key)
        check_range(offset, length)
        wanted = min(length, LARGEST_READ_BYTES)
        return await to_thread.run_sync(_guarded, self._read, key, offset, wanted)

    async def delete(self, keys: Sequence[str], *, older_than_s: float | None = None) -> None:
        """See the port."""
        for key in keys:
            check_key(key)
        await to_thread.run_sync(_guarded, self._delete, keys, older_than_s)

    async def list_objects(
        self, prefix: str, *, after: str = "", limit: int = 1000
    ) -> list[StoredObject]:
        """See the port."""
        check_prefix("prefix", prefix)
        check_prefix("after", after)

        def found() -> list[StoredObject]:
            return list(islice(self._objects(prefix, after), limit))

        return await to_thread.run_sync(_guarded, found)

    async def sweep(self, older_than_s: float = ABANDONED_S) -> int:
        """See the port."""
        return await to_thread.run_sync(_guarded, self._sweep, older_than_s)

    def _path(self, key: str) -> Path:
        *above, name = key.split("/")
        return self._root.joinpath(*above, _MARK + name)

    def _renewed(self, key: str) -> bool:
        """Whether there is one, which counts as put now."""
        try:
            with self._locked(fcntl.LOCK_SH):
                os.utime(self._path(key))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _opened(self, beside: Path) -> IO[bytes]:
        self._unfinished.mkdir(mode=0o700, parents=True, exist_ok=True)
        return beside.open("xb")

    def _kept(self, key: str, file: IO[bytes], beside: Path) -> bool:
        file.flush()
        os.fsync(file.fileno())
        path = self._path(key)
        made = [one for one in path.parents if one != self._root and self._root in one.parents]
        os.utime(file.fileno())
        while True:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                path.hardlink_to(beside)
            except FileExistsError:
                if self._renewed(key):
                    return False
                continue  # deleted in this moment
            except FileNotFoundError:
                if beside.exists():
                    continue  # its directory was removed in this moment, being empty
                raise Unavailable(
                    f"the object {key} was swept away before it was complete"
                ) from None
            for directory in (*made, self._root):
                with contextlib.suppress(FileNotFoundError):  # deleted again in this moment
                    _sync(directory)
            return True

    def _size(self, key: str) -> int:
        try:
            return self._path(key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound("object", key) from None

    def _read(self, key: str, offset: int, length: int) -> bytes:
        try:
            with self._path(key).open("rb") as file:
                if offset >= os.fstat(file.fileno()).st_size:
                    return b""
                file.seek(offset)
                return file.read(length)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound("object", key) from None

    def _delete(self, keys: Sequence[str], older_than_s: float | None) -> None:
        for key in keys:
            path = self._path(key)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                # Exclusive: what is put again meanwhile is young here, or is put afresh after this.
                with self._locked(fcntl.LOCK_EX):
                    if older_than_s is None or _age_s(path.stat().st_mtime) >= older_than_s:
                        path.unlink()
                self._tidy(path)

    def _tidy(self, path: Path) -> None:
        """Remove directories that have become empty."""
        for above in path.parents:
            if above == self._root:
                return
            try:
                above.rmdir()
            except OSError:
                return

    def _objects(self, prefix: str, after: str) -> Iterator[StoredObject]:
        for key, entry in _walk(self._root, "", prefix, after):
            with contextlib.suppress(FileNotFoundError):
                facts = entry.stat(follow_symlinks=False)
                yield StoredObject(key, facts.st_size, _age_s(facts.st_mtime))

    def _sweep(self, older_than_s: float) -> int:
        count = 0
        with contextlib.suppress(FileNotFoundError):
            for path in self._unfinished.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if _age_s(path.stat().st_mtime) >= older_than_s:
                        path.unlink()
                        count += 1
        return count

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Keep puts apart from removals by age. Blocks; raises ``FileNotFoundError``."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)


def _guarded(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do it; errors of the disk are told as the port does."""
    try:
        return work(*args, **kwargs)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull("there is no room for another object") from error
        raise Unavailable(f"the object store cannot be used: {error.strerror}") from error


def _walk(
    directory: Path, above: str, prefix: str, after: str
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Keys of the objects below a directory, in order, and their files."""
    try:
        with os.scandir(directory) as entries:
            found = sorted((_begin(above, entry), entry) for entry in entries)
    except FileNotFoundError:
        return
    for begin, entry in found:
        if begin.endswith("/"):
            # All keys below begin like this: none of them is wanted if none can be.
            if _may_hold(begin, prefix) and (after < begin or after.startswith(begin)):
                yield from _walk(Path(entry.path), begin, prefix, after)
        elif begin.startswith(prefix) and begin > after:
            yield begin, entry


def _begin(above: str, entry: os.DirEntry[str]) -> str:
    """The key of an object's file; of a directory, what the keys below begin with."""
    if entry.name.startswith(_MARK):
        return above + entry.name.removeprefix(_MARK)
    return f"{above}{entry.name}/"


def _may_hold(begin: str, prefix: str) -> bool:
    return not begin.startswith(".") and (begin.startswith(prefix) or prefix.startswith(begin))


def _abandon(file: IO[bytes], beside: Path) -> None:
    """What was put has its own name by now, or is not wanted."""
    with contextlib.suppress(OSError):
        file.close()
    with contextlib.suppress(OSError):
        beside.unlink()


def _age_s(modified_at: float) -> float:
    return max(0.0, time.time() - modified_at)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
