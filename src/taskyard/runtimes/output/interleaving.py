"""Dividing what was taken from two pipes among the writes that brought it.

The kernel tells in which order two pipes were written to (:mod:`.writes`), but not how much each
write brought, and several to the same pipe flow together. Where there was none to the other one in
between that does not matter. Otherwise what is known is how many writes there were, and programs
print lines: each in one write, or text and line end in two, or in as many as any other line.
"""

from collections.abc import Callable, Iterable
from typing import Final

Run = tuple[int, int]
"""A stream, 0 or 1, and how many of its bytes come next."""

LATE_S: Final = 0.05
"""So long what was taken waits for the signal of its write, which is late when a processor was
taken from who writes just then. If it does not come there was none."""
_LINES: Final = 0
"""The first of the manners in which a stream may be divided."""


class Interleaving:
    """The writes to both pipes of an attempt that are not accounted for."""

    __slots__ = ("_has_both", "_manner", "_sizes", "_waiting", "written")

    def __init__(self) -> None:
        self.written: list[int] = []
        """Their streams, in order; whoever learns of one appends it."""
        self._sizes: list[int] = []
        """What the first of them have brought, -1 if that is not known yet."""
        self._manner = [_LINES, _LINES]
        """How each stream was divided last."""
        self._waiting = [0, 0]
        """Bytes that were taken last, one write more than there are signals."""
        self._has_both = False
        """Whether both streams were ever written to."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left of earlier calls of :meth:`divide`."""
        return not self._sizes and not self.is_waiting

    @property
    def is_waiting(self) -> bool:
        """Whether something was taken before its signal came, which soon will."""
        return self._waiting != [0, 0]

    def is_plain(self, sure: int, sizes: tuple[int, int]) -> bool:
        """Whether all that was taken simply comes next, and no content has to be looked at.

        The writes that are known are all done with then. Arguments as in :meth:`divide`.
        """
        written = self.written
        if self._has_both or not written or len(written) != sure or not self.is_settled:
            # Of both streams it matters for what follows how many writes there were.
            return False
        stream = written[0]
        if sizes[1 - stream] or written.count(stream) != sure:
            self._has_both = True
            return False
        written.clear()
        return True

    def forget(self) -> list[Run]:
        """Begin afresh; with the order of what was not said yet, as far as it is known."""
        runs: list[Run] = []
        waiting = self._waiting
        for stream, size in zip(self.written, self._sizes, strict=False):
            if size < 0:
                runs.append((stream, waiting[stream]))
                waiting[stream] = 0
            else:
                runs.append((stream, size))
        runs += enumerate(waiting)
        self.written.clear()
        self._sizes.clear()
        self._waiting = [0, 0]
        return [run for run in runs if run[1]]

    def divide(
        self,
        sure: int,
        sizes: tuple[int, int],
        content: Callable[[int, int], bytes],
        *,
        waits: bool = True,
    ) -> list[Run]:
        """The order of what was taken: what can be said of it now.

        The rest is said later, when what came before is known.

        Args:
            sure: so many of the writes are certain to be in what was taken; later ones may be.
            sizes: how much was taken of both streams.
            content: the last so many bytes that were taken of a stream; asked for where it matters.
            waits: whether one write more than there are signals is taken for one whose signal is
                on its way, and waited for. It comes a moment after the bytes: as late as a
                processor is taken from who writes.
        """
        carried = len(self._sizes)
        self._sizes += [-1] * (len(self.written) - carried)
        for stream in (0, 1):
            self._assign(stream, carried, sure, sizes[stream], content, waits=waits)
        return self._settled()

    def _assign(
        self,
        stream: int,
        carried: int,
        sure: int,
        size: int,
        content: Callable[[int, int], bytes],
        *,
        waits: bool,
    ) -> None:
        open_sizes = self._sizes
        places = [
            place
            for place, one in enumerate(self.written)
            if one == stream and open_sizes[place] < 0
        ]
        certain = sum(place < sure for place in places)
        size += self._waiting[stream]
        self._waiting[stream] = 0
        if not size:
            for place in places[:certain]:
                open_sizes[place] = 0
            return
        data = content(stream, size)
        lines = _lines(data)
        manners = (lines, _parts(lines, data), [1] * len(data))
        if waits and len(manners[self._manner[stream]]) == len(places) + 1:
            self._waiting[stream] = size
            return
        if not places:
            self._add(stream, size)
            return
        if certain == len(places) and places[-1] - places[0] == certain - 1:
            # Nothing in between: it is all the same which of them brought what.
            for place in places:
                open_sizes[place] = 0
            open_sizes[places[-1]] = size
            return
        least = max(0, certain - sum(place < carried for place in places))
        pieces = self._pieces(
            stream, manners, dict.fromkeys((certain, least)), certain, len(places)
        )
        for place, piece in zip(places, pieces, strict=False):
            open_sizes[place] = piece
        if len(pieces) > len(places):
            self._add(stream, pieces[-1])

    def _add(self, stream: int, size: int) -> None:
        """Something of which no signal tells was written last."""
        self.written.append(stream)
        self._sizes.append(size)

    def _pieces(
        self,
        stream: int,
        manners: tuple[list[int], ...],
        fewest: Iterable[int],
        certain: int,
        most: int,
    ) -> list[int]:
        """What each of the writes has brought: as many as ``certain`` at least.

        Of the first of these several may have been taken before; ``fewest`` says how many are left
        at least, the likelier first.
        """
        usual = self._manner[stream]
        for least in fewest:
            for manner in sorted(range(len(manners)), key=lambda one: one != usual):
                pieces = manners[manner]
                if least <= len(pieces) <= most:
                    self._manner[stream] = manner
                    return [0] * (certain - len(pieces)) + pieces
        pieces = manners[usual]
        return pieces if len(pieces) == most + 1 else _evenly(manners[_LINES], most)

    def _settled(self) -> list[Run]:
        runs: list[Run] = []
        count = 0
        for stream, size in zip(self.written, self._sizes, strict=True):
            if size < 0:
                break
            count += 1
            if not size:
                continue
            if runs and runs[-1][0] == stream:
                runs[-1] = (stream, runs[-1][1] + size)
            else:
                runs.append((stream, size))
        del self.written[:count], self._sizes[:count]
        return runs


def _lines(data: bytes) -> list[int]:
    sizes = [len(line) + 1 for line in data.split(b"\n")]
    sizes[-1] -= 1
    if not sizes[-1]:
        sizes.pop()
    return sizes


def _parts(lines: list[int], data: bytes) -> list[int]:
    """Texts and the ends of their lines."""
    sizes: list[int] = []
    for line in lines:
        if line > 1:
            sizes.append(line - 1)
        sizes.append(1)
    if not data.endswith(b"\n") and lines[-1] > 1:
        sizes[-2:] = [lines[-1]]
    return sizes


def _evenly(lines: list[int], count: int) -> list[int]:
    """Whole lines for so many writes: one for several of these, or several for each."""
    if len(lines) == 1:
        return [*lines, *[0] * (count - 1)]
    done = 0
    sizes: list[int] = []
    for number in range(1, count + 1):
        until = number * len(lines) // count
        sizes.append(sum(lines[done:until]))
        done = until
    return sizes
