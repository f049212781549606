"""Items in as many messages as they need."""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Raw, Struct

_encode: Final = msgspec.msgpack.Encoder().encode


def batches(items: Iterable[Struct], most: int) -> Iterator[list[Raw]]:
    """Encoded, so many in each batch as have ``most`` bytes, at least one."""
    batch: list[Raw] = []
    size_bytes = 0
    for one in items:
        encoded = _encode(one)
        if batch and size_bytes + len(encoded) > most:
            yield batch
            batch, size_bytes = [], 0
        batch.append(Raw(encoded))
        size_bytes += len(encoded)
    if batch:
        yield batch
