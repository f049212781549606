"""What a data directory holds besides its database: output, large answers, sources, the key.

Names are those of the files, relative to the directory. Work may have put links, pipes or files of
its own in their opening: only regular files of ours are read.
"""

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from taskyard.core.errors import StorageFull, Unavailable
from taskyard.ports.objects import OUTPUT, RESULTS
from taskyard.store.transfer.errors import NotEmpty, WrongAddress
from taskyard.store.transfer.file_names import KEY, check_name, is_file_name, is_object_name

BLOCK: Final = 1 << 20
OBJECTS: Final = "objects"
"""Where a data directory has objects."""
MARK: Final = "="
"""What the names of their files begin with."""
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DataFiles:
    """The files of one data directory."""

    holds_objects: Final = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def names(self) -> Iterator[str]:
        """All of them but the key, in order; those that vanish meanwhile may be among them."""
        for attempt in _listed(self.directory / "attempts"):
            for file in _listed(self.directory / "attempts" / attempt):
                name = f"attempts/{attempt}/{file}"
                if is_file_name(name) and self.size(name) is not None:
                    yield name
        for begin in _listed(self.directory / "functions" / "bundles"):
            for bundle in _listed(self.directory / "functions" / "bundles" / begin):
                name = f"functions/bundles/{begin}/{bundle}"
                if is_file_name(name):
                    yield name
        yield from self._objects()

    def _objects(self) -> Iterator[str]:
        """Keys of objects: what workers on other machines have stored."""
        root = self.directory / OBJECTS
        for attempt in _listed(root / OUTPUT):
            for file in _listed(root / OUTPUT / attempt):
                name = f"{OUTPUT}{attempt}/{file.removeprefix(MARK)}"
                if is_object_name(name) and self.size(name) is not None:
                    yield name
        for file in _listed(root / RESULTS):
            name = f"{RESULTS}{file.removeprefix(MARK)}"
            if is_object_name(name) and self.size(name) is not None:
                yield name

    def _path(self, name: str) -> Path:
        """The file of this name; objects are where ``objects.files`` keeps them."""
        if not is_object_name(name):
            return self.directory / name
        above, _, last = name.rpartition("/")
        return self.directory / OBJECTS / above / f"{MARK}{last}"

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is none."""
        try:
            facts = self._path(name).lstat()
        except OSError:
            return None
        return facts.st_size if stat.S_ISREG(facts.st_mode) else None

    def blocks(self, name: str, most: int | None = None) -> Iterator[bytes]:
        """See :class:`FileSet`."""
        with self.opened(name) as (file, size):
            yield from blocks_of(file, size if most is None else min(size, most))

    @contextmanager
    def opened(self, name: str) -> Iterator[tuple[IO[bytes], int]]:
        """A file, and its size now: what is written behind that meanwhile does not count.

        Raises ``FileNotFoundError``, also for what is not a regular file.
        """
        try:
            descriptor = os.open(self._path(name), _OPEN)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENOTDIR}:
                raise FileNotFoundError(errno.ENOENT, "not a regular file", name) from error
            raise
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise FileNotFoundError(errno.ENOENT, "not a regular file", name)
            yield file, facts.st_size

    def write(self, name: str, blocks: Iterable[bytes]) -> None:
        """See :class:`FileSet`."""
        self._write(name, blocks, durable=False)

    def sync(self) -> None:
        """See :class:`FileSet`: of all files at once, as of each it would take most of the time."""
        os.sync()

    def _write(self, name: str, blocks: Iterable[bytes], *, durable: bool) -> None:
        check_name(name)
        path = self._path(name)
        beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            self._make(path.parent)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    for block in blocks:
                        file.write(block)
                    if durable:
                        file.flush()
                        os.fsync(file.fileno())
                beside.replace(path)
                if durable:
                    sync_directory(path.parent)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _trouble(self.directory, error) from error

    def put_key(self, content: bytes, *, replace: bool) -> None:
        """Have this be the key, and keep another one that is there under another name.

        Raises :class:`NotEmpty` if there is another one and ``replace`` is False.
        """
        path = self.directory / KEY
        if path.exists() and path.read_bytes().strip() != content.strip():
            if not replace:
                raise NotEmpty(
                    f"{path} is another key than the one that opens the secrets of the store; "
                    "move it away, or replace everything with --force"
                )
            kept = path.with_name(f"{KEY}.replaced-{secrets.token_hex(4)}")
            path.replace(kept)
        self._write(KEY, [content], durable=True)

    def key(self) -> bytes | None:
        """The key; None if there is none. Raises ``Unavailable``."""
        try:
            with self.opened(KEY) as (file, size):
                return file.read(size)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _trouble(self.directory, error) from error

    def _make(self, directory: Path) -> None:
        """Make a directory as the server does: work passes through those of attempts."""
        if directory.is_dir():
            return
        if directory == self.directory:
            make_data(directory)
            return
        self._make(directory.parent)
        directory.mkdir(exist_ok=True)
        # Whatever our mask is.
        directory.chmod(0o700 if "bundles" in directory.parts else 0o711)


def make_data(directory: Path) -> None:
    """Make a data directory, unless there is one; work may pass through it. Raises ``OSError``."""
    if not directory.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o711)


def sync_directory(directory: Path) -> None:
    """Make names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class NoFiles:
    """No files, where no data directory was named."""

    holds_objects: Final = False

    def names(self) -> Iterator[str]:
        """None."""
        return iter(())

    def size(self, name: str) -> int | None:
        """None."""
        del name
        return None

    def blocks(self, name: str, most: int | None = None) -> Iterator[bytes]:
        """Raises ``FileNotFoundError``."""
        del most
        raise FileNotFoundError(errno.ENOENT, "no such file", name)

    def sync(self) -> None:
        """Nothing was written."""

    def write(self, name: str, blocks: Iterable[bytes]) -> None:
        """Raises :class:`WrongAddress`."""
        del blocks
        raise WrongAddress(f"there is no place for {name}; name a data directory with --data")


def blocks_of(file: IO[bytes], size: int) -> Iterator[bytes]:
    """So many bytes of a file, or all that there are, in blocks."""
    while size > 0 and (block := file.read(min(BLOCK, size))):
        size -= len(block)
        yield block


class FileDigest:
    """Size and SHA-256 of blocks that pass by."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._size = 0

    def of(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same blocks."""
        for block in blocks:
            self._digest.update(block)
            self._size += len(block)
            yield block

    def result(self) -> tuple[int, str]:
        """Of those that have passed."""
        return self._size, self._digest.hexdigest()


def digest_of(blocks: Iterable[bytes]) -> tuple[int, str]:
    """Size and SHA-256 of what blocks amount to."""
    digest = FileDigest()
    for _ in digest.of(blocks):
        pass
    return digest.result()


def _listed(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _trouble(directory: Path, error: OSError) -> Unavailable:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageFull(
            f"the disk of {directory} is full; make room, then run the same command again"
        )
    return Unavailable(f"{error.filename or directory} cannot be used: {error.strerror}")
