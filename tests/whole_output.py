"""Reading a finished output in the order that its index tells."""

from collections.abc import Iterator

from taskyard.core.output_index import Merge, Run


def merged(
    index: bytes, sizes: tuple[int, int], *, most_bytes: int = 1 << 62, timed: bool = False
) -> Iterator[Run]:
    """Both streams from their beginnings, in order; ``sizes`` are what stdout and stderr hold."""
    merge = Merge()
    merge.feed(index)
    while run := merge.take(sizes, most_bytes, timed=timed, patient=False):
        yield run
    while run := merge.rest(sizes, most_bytes):
        yield run
