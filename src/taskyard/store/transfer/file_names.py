"""Names of files in a data directory, and of the same things as objects.

```
attempts/ID/stdout               output/ID/stdout
attempts/ID/stdout.gz            output/ID/stdout, unpacked
attempts/ID/result               results/ID
functions/bundles/ab/abcd…       bundles/abcd…
```

Other files of an attempt's directory mean something to the machine that they are on only.
"""

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from taskyard.core.ids import AttemptId
from taskyard.core.output_index import FILE as ORDER
from taskyard.ports.objects import BUNDLES, OUTPUT, RESULTS, output_key
from taskyard.store.transfer.errors import NotAStore
from taskyard.store.transfer.sides import ReadableFiles

KEY: Final = "secret.key"
"""What opens the secrets of a store."""
_ID: Final = "[0-9A-Za-z][0-9A-Za-z-]{0,127}"
_NAME: Final = "[0-9A-Za-z][0-9A-Za-z._-]{0,127}"
_DIGEST: Final = "[0-9a-f]{64}"
_ATTEMPT: Final = re.compile(rf"attempts/({_ID})/({_NAME})\Z")
_BUNDLE: Final = re.compile(rf"functions/bundles/[0-9a-f]{{2}}/({_DIGEST})\Z")
_OBJECT: Final = re.compile(rf"(?:{OUTPUT}{_ID}/{_NAME}|{RESULTS}{_ID}|{BUNDLES}{_DIGEST})\Z")
_STREAMS: Final = ("stdout", "stderr", ORDER)
_PACKED: Final = ".gz"
_RESULT: Final = "result"
_GZIP: Final = 16 + zlib.MAX_WBITS
_PART: Final = 1 << 20


def is_file_name(name: str) -> bool:
    """Whether a file of a data directory goes along under this name."""
    return bool(_ATTEMPT.match(name) or _BUNDLE.match(name))


def is_object_name(name: str) -> bool:
    """Whether this is the key of an object that goes along."""
    return bool(_OBJECT.match(name))


def check_name(name: str) -> None:
    """Raise :class:`NotAStore` for a name that is none of ours: it may lead anywhere."""
    if name != KEY and not is_file_name(name) and not _OBJECT.match(name):
        raise NotAStore(f"{name!r} is not the name of a file of a store; use another backup")


def object_of(name: str) -> str | None:
    """The key of an object that holds the same; None for what no object holds."""
    if _OBJECT.match(name):
        return name
    if match := _BUNDLE.match(name):
        return BUNDLES + match[1]
    if match := _ATTEMPT.match(name):
        attempt_id, file = match.groups()
        if file == _RESULT:
            return RESULTS + attempt_id
        if (stream := file.removesuffix(_PACKED)) in _STREAMS:
            return output_key(AttemptId(attempt_id), stream)
    return None


def file_of(key: str) -> str:
    """Where a data directory has what an object holds; names of its files stay as they are."""
    if not _OBJECT.match(key):
        return key
    if key.startswith(BUNDLES):
        bundle = key.removeprefix(BUNDLES)
        return f"functions/bundles/{bundle[:2]}/{bundle}"
    if key.startswith(RESULTS):
        return f"attempts/{key.removeprefix(RESULTS)}/{_RESULT}"
    return f"attempts/{key.removeprefix(OUTPUT)}"


class AsFiles:
    """Files and objects, under the names that a data directory has for them."""

    def __init__(self, origin: ReadableFiles) -> None:
        self._origin = origin
        self._last = ("", "")
        """What was listed last, and its name there."""

    def names(self) -> Iterator[str]:
        """See :class:`ReadableFiles`."""
        for name in self._origin.names():
            self._last = file_of(name), name
            yield self._last[0]

    def size(self, name: str) -> int | None:
        """See :class:`ReadableFiles`."""
        return self._origin.size(self._origin_of(name))

    def blocks(self, name: str, most: int | None = None) -> Iterator[bytes]:
        """See :class:`ReadableFiles`."""
        return self._origin.blocks(self._origin_of(name), most)

    def _origin_of(self, name: str) -> str:
        return self._last[1] if name == self._last[0] else name


class AsObjects:
    """Files and objects, as objects; without the output of attempts that have not ended."""

    def __init__(self, origin: ReadableFiles, running: frozenset[str]) -> None:
        """``running`` are those attempts: what they print is where they run until they end."""
        self._origin = origin
        self._running = running
        self._names: dict[str, str | None] = {}
        """What holds an object of the attempt that was listed last, or is the same thing."""

    def names(self) -> Iterator[str]:
        """See :class:`ReadableFiles`."""
        attempt = ""
        for name in self._origin.names():
            key = object_of(name)
            if key is None or self._is_running(key):
                continue
            belongs_to = key.rpartition("/")[0] if key.startswith(OUTPUT) else key
            if belongs_to != attempt:
                yield from self._completed(attempt)
                attempt, self._names = belongs_to, {}
            # What is there packed and as it is, is the same.
            if key not in self._names:
                self._names[key] = name
                yield key
        yield from self._completed(attempt)

    def _completed(self, attempt: str) -> Iterator[str]:
        """Output is complete when there is a standard output, which may be empty."""
        stdout = f"{attempt}/stdout"
        if attempt.startswith(OUTPUT) and stdout not in self._names:
            self._names[stdout] = None
            yield stdout

    def _is_running(self, key: str) -> bool:
        kind, attempt_id = key.split("/")[:2]
        return f"{kind}/" in {OUTPUT, RESULTS} and attempt_id in self._running

    def size(self, name: str) -> int | None:
        """See :class:`ReadableFiles`; None for what has to be unpacked to know it."""
        origin = self._names[name]
        if origin is None or origin.endswith(_PACKED):
            return None
        return self._origin.size(origin)

    def blocks(self, name: str, most: int | None = None) -> Iterator[bytes]:
        """See :class:`ReadableFiles`."""
        origin = self._names[name]
        if origin is None:
            return iter(())
        if origin.endswith(_PACKED):
            return _unpacked(origin, self._origin.blocks(origin))
        return self._origin.blocks(origin, most)


def _unpacked(name: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """What a run of gzip members holds, in parts of bounded size.

    Raises :class:`NotAStore` if it is damaged.
    """
    member, is_begun = zlib.decompressobj(_GZIP), False
    for block in blocks:
        left = block
        while left or is_begun:
            try:
                raw = member.decompress(left, _PART)
            except zlib.error as error:
                raise NotAStore(f"{name} is damaged: {error}; use a backup") from error
            is_begun, left = True, member.unconsumed_tail
            if raw:
                yield raw
            if member.eof:
                left = member.unused_data
                member, is_begun = zlib.decompressobj(_GZIP), False
            elif not left and len(raw) < _PART:
                break
    if is_begun:
        raise NotAStore(f"{name} is damaged: its end is missing; use a backup")
