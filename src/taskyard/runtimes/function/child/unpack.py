"""Unpacks one archive into its working directory: a process with limits, for hostile input.

Started with a JSON order as its argument and the archive as descriptor 0; answers with one JSON
object on descriptor 1: ``{"files": count}`` or ``{"refused": text}``. Whatever an archive claims,
the process gets no more memory, time or disk than the order says, and it ends with its parent.
"""

import json
import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from typing import IO, Any, Final

from taskyard.runtimes.function.child import archives, confining
from taskyard.runtimes.function.child.archives import Refused

_DEPTH: Final = 32
_PART_BYTES: Final = 240
_PATH_BYTES: Final = 1024
_PIECE: Final = 64 << 10
_STRANGE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and what stands for bytes that are not UTF-8."""
_DESCRIPTORS: Final = 32
_MEMORY: Final = b'{"refused": "the archive needs too much memory to be unpacked"}'


class Tree:
    """What is being written below a directory; relative paths, and nothing is ever replaced.

    Args:
        root: an empty directory.
        limit_bytes: contents in all.
        limit_entries: files and directories in all, also those that are only part of a path.
    """

    def __init__(self, root: str, limit_bytes: int, limit_entries: int) -> None:
        self.file_count = 0
        self._root = root
        self._bytes = 0
        self.limit_bytes = limit_bytes
        self.limit_entries = limit_entries
        self._directories: set[str] = set()

    def write(self, name: str, read: Callable[[int], bytes] | None) -> None:
        """Write a file, or make a directory if there is nothing to read. Raises ``Refused``."""
        parts = parts_of(name)
        try:
            self._make_directories(parts if read is None else parts[:-1])
            if read is not None:
                if not parts:
                    raise Refused(f"the archive has a file without a name: {name!r}")
                self._write_file("/".join(parts), read)
        except (FileExistsError, NotADirectoryError) as error:
            raise Refused(f"the archive has {name!r} twice") from error

    def _make_directories(self, parts: list[str]) -> None:
        path = ""
        for part in parts:
            path = f"{path}/{part}" if path else part
            if path not in self._directories:
                self._count()
                os.mkdir(f"{self._root}/{path}", 0o700)
                self._directories.add(path)

    def _write_file(self, path: str, read: Callable[[int], bytes]) -> None:
        self._count()
        with open(f"{self._root}/{path}", "xb") as file:
            while piece := read(_PIECE):
                self._bytes += len(piece)
                if self._bytes > self.limit_bytes:
                    raise archives.too_large(self.limit_bytes)
                file.write(piece)
        self.file_count += 1

    def _count(self) -> None:
        if self.file_count + len(self._directories) >= self.limit_entries:
            raise archives.too_many(self.limit_entries)


def parts_of(name: str) -> list[str]:
    """The components of a path in an archive. Raises :class:`Refused` for paths that lead out of
    the directory or are not plain.
    """
    if _STRANGE.search(name):
        raise Refused(
            f"the archive has the name {name[:_PART_BYTES]!a}; names have to be UTF-8 without "
            "control characters"
        )
    if name.startswith("/") or "\\" in name or name[1:2] == ":":
        raise _not_plain(name)
    if len(name.encode()) > _PATH_BYTES:
        raise Refused(f"the archive has a path of more than {_PATH_BYTES} bytes")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise _not_plain(name)
    if len(parts) > _DEPTH:
        raise Refused(f"the archive has the path {name!r}; {_DEPTH} levels are the most")
    if any(len(part.encode()) > _PART_BYTES for part in parts):
        raise Refused(f"the archive has a name of more than {_PART_BYTES} bytes")
    return parts


def _not_plain(name: str) -> Refused:
    return Refused(f"the archive has the path {name!r}, which is not a plain relative one")


def write_all(tree: Tree, file: IO[bytes]) -> None:
    """Unpack an archive into a tree. Raises :class:`Refused`, ``MemoryError``."""
    try:
        for name, read in archives.entries(file, tree.limit_bytes, tree.limit_entries):
            tree.write(name, read)
    except OSError as error:
        if error.errno is not None:
            raise Refused(f"it could not be written: {error.strerror}") from error
        raise Refused(f"the archive is not readable: {error}") from error
    except archives.UNREADABLE as error:
        text = str(error) or type(error).__name__
        raise Refused(f"the archive is not readable: {text}") from error
    if tree.file_count == 0:
        raise Refused("there are no files in the archive")


def confine(order: dict[str, Any]) -> None:
    """Give up rights, and take limits. Raises ``OSError``, ``ValueError``."""
    with open("/proc/self/statm", "rb") as file:
        used_bytes = int(file.read().split()[0]) * resource.getpagesize()
    if order["user"] is not None:
        # From here on nothing can be imported: our own files may be out of reach.
        uid, gid = order["user"]
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    confining.end_with(order["parent"])
    os.umask(0o077)
    signal.alarm(int(order["timeout_s"]) + 5)
    seconds = int(order["timeout_s"]) + 1
    for limit, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, order["limit_bytes"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_AS, used_bytes + order["memory_bytes"]),
    ):
        resource.setrlimit(limit, (value, value))


def main() -> None:
    """Do what the argument says, and end."""
    order = json.loads(sys.argv[1])
    confine(order)
    tree = Tree(".", order["limit_bytes"], order["limit_entries"])
    try:
        with open(0, "rb", closefd=False) as file:
            write_all(tree, file)
        text = json.dumps({"files": tree.file_count}).encode()
    except Refused as refused:
        text = json.dumps({"refused": str(refused)}).encode()
    except MemoryError:
        text = _MEMORY
    os.write(1, text)
    os._exit(0)
