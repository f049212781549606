"""Frames between an instance and the runtime, and datagrams with descriptors; see the package."""

import array
import json
import socket
import struct
from typing import Any, Final

_LENGTHS: Final = struct.Struct("!II")
DATAGRAM_MAX: Final = 128 << 10
_ANCILLARY: Final = socket.CMSG_SPACE(4 * 32)
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
"""``json.dumps`` would make an encoder each time."""

Json = dict[str, Any]


class Closed(Exception):
    """The other end is gone."""


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """So many bytes. Raises ``Closed``."""
    data = sock.recv(count)
    if len(data) == count:
        return data
    parts = bytearray(data)
    while len(parts) < count:
        data = sock.recv(min(count - len(parts), 1 << 20))
        if not data:
            raise Closed
        parts += data
    return bytes(parts)


def read_frame(sock: socket.socket) -> tuple[Json, bytes]:
    """Header and payload of the next frame. Raises ``Closed``."""
    lengths = sock.recv(_LENGTHS.size)
    if not lengths:
        raise Closed
    if len(lengths) < _LENGTHS.size:
        lengths += read_exactly(sock, _LENGTHS.size - len(lengths))
    header, payload = _LENGTHS.unpack(lengths)
    data = read_exactly(sock, header + payload) if header + payload else b""
    return json.loads(data[:header]), data[header:]


def write_frame(sock: socket.socket, header: Json, *payload: bytes) -> None:
    """Send one frame. Raises ``OSError`` if the other end is gone."""
    head = _encode(header).encode()
    size = sum(map(len, payload))
    sock.sendall(b"".join((_LENGTHS.pack(len(head), size), head, *payload)))


def send(sock: socket.socket, message: Json) -> None:
    """Send one datagram."""
    sock.send(_encode(message).encode())


def receive(sock: socket.socket) -> tuple[Json, list[int]]:
    """The next datagram and the descriptors that came with it. Raises ``Closed``."""
    descriptors = array.array("i")
    data, ancillary, _, _ = sock.recvmsg(DATAGRAM_MAX, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    if not data:
        raise Closed
    return json.loads(data), descriptors.tolist()
