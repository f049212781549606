"""Values on their way to PostgreSQL and back, in its binary format.

The server says of each placeholder which type it has, so that a value is sent as exactly that, NULL
included. What no column can hold raises ``UnicodeEncodeError`` or ``OverflowError``, as SQLite's
driver does, before anything is sent.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

Encoder = Callable[[Any], bytes]

_BOOL, _BYTEA, _INT8, _INT4, _TEXT, _FLOAT8 = 16, 17, 20, 23, 25, 701
_UNKNOWN, _NAME, _VARCHAR = 705, 19, 1043
_ARRAYS: Final = {1001: _BYTEA, 1016: _INT8, 1007: _INT4, 1009: _TEXT, 1022: _FLOAT8, 1000: _BOOL}
"""Types of arrays, with those of what they hold."""
_NULL: Final = struct.pack(">i", -1)
_length: Final = struct.Struct(">i").pack
_head: Final = struct.Struct(">iiIii").pack
_float: Final = struct.Struct(">d").pack


def _text(value: str) -> bytes:
    data = value.encode()
    if b"\0" in data:
        at = value.index("\0")
        raise UnicodeEncodeError("utf-8", value, at, at + 1, "a NUL character cannot be stored")
    return data


def _int8(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)


def _int4(value: int) -> bytes:
    return value.to_bytes(4, "big", signed=True)


def _bool(value: object) -> bytes:
    return b"\1" if value else b"\0"


_ENCODERS: Final[dict[int, Encoder]] = {
    _BOOL: _bool,
    _BYTEA: bytes,
    _INT8: _int8,
    _INT4: _int4,
    _TEXT: _text,
    _NAME: _text,
    _VARCHAR: _text,
    _UNKNOWN: _text,
    _FLOAT8: _float,
}


def encoder(oid: int) -> Encoder:
    """What encodes values of a type. Raises ``TypeError`` for a type that queries do not use."""
    inner = _ARRAYS.get(oid)
    found = _ENCODERS.get(oid) if inner is None else _array(inner)
    if found is None:
        raise TypeError(f"a query has a placeholder of type {oid}, which values cannot be sent as")
    return found


def _array(oid: int) -> Encoder:
    item = _int8_item if oid == _INT8 else _item(_ENCODERS[oid])

    def encoded(values: Sequence[Any]) -> bytes:
        count = len(values)
        head = _head(1, 1, oid, count, 1)
        # Most columns of a batch hold one value throughout, such as none at all.
        if count and values.count(values[0]) == count:
            value = values[0]
            return head + (_NULL if value is None else item(value)) * count
        return head + b"".join([_NULL if value is None else item(value) for value in values])

    return encoded


def _item(encode: Encoder) -> Encoder:
    """Encodes one value within an array: its length, then the value."""

    def encoded(value: Any) -> bytes:
        data = encode(value)
        return _length(len(data)) + data

    return encoded


def _int8_item(value: int) -> bytes:
    try:
        return _pack_int8(8, value)
    except struct.error:
        return _length(8) + _int8(value)  # raises what it does for a single value


_pack_int8: Final = struct.Struct(">iq").pack


class WholeNumber(Loader):
    """Loads what adding up integers answers: ``int``, as SQLite does."""

    format = Format.BINARY

    def load(self, data: Buffer) -> int | float:
        """A number; ``float`` only for one that is not whole."""
        raw = bytes(data)
        count, weight, sign, _ = struct.unpack_from(">hhHh", raw)
        digits: tuple[int, ...] = struct.unpack_from(f">{count}h", raw, 8)
        if sign & 0x8000:
            return float("nan")
        whole = 0
        for digit in digits[: weight + 1]:
            whole = whole * 10_000 + digit
        whole *= pow(10_000, max(0, weight + 1 - count))
        rest = sum(digit / 10_000.0 ** (n + 1) for n, digit in enumerate(digits[weight + 1 :]))
        number: int | float = whole + rest if rest else whole
        return -number if sign else number
