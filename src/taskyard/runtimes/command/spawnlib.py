"""Calls ``spawn.c``, where it was compiled when this package was installed."""

import ctypes
import os
from collections.abc import Mapping, Sequence
from typing import Final

PATH: Final = os.path.join(os.path.dirname(__file__), "spawn.so")  # noqa: PTH118, PTH120 - no pathlib here
_DIRECTORY: Final = 3
"""The step of ``spawn.c`` that enters the working directory."""


class SpawnLibrary:
    """The compiled library. Raises ``OSError`` if there is none."""

    def __init__(self) -> None:
        self._spawn = ctypes.CDLL(PATH).taskyard_spawn
        self._spawn.restype = ctypes.c_int

    def spawn(
        self,
        program: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        streams: tuple[int, int, int],
        uid: int,
        gid: int,
        *,
        own_directory: bool,
    ) -> int:
        """Start a program as a user, in a session of its own, without further groups; its pid.

        ``own_directory`` says that ``cwd`` is the user's own: it is entered with our rights, as a
        directory above may keep the user out.

        Raises:
            OSError: with ``cwd`` as its file name if that could not be entered.
            ValueError: something contains a NUL.
        """
        step = ctypes.c_int(0)
        answer: int = self._spawn(
            _text(program),
            _array([_text(one) for one in argv]),
            _array([_text(f"{name}={value}") for name, value in env.items()]),
            _text(cwd),
            (ctypes.c_int * 3)(*streams),
            ctypes.c_uint(uid),
            ctypes.c_uint(gid),
            ctypes.c_int(own_directory),
            ctypes.byref(step),
        )
        if answer < 0:
            failed = cwd if step.value == _DIRECTORY else program
            raise OSError(-answer, os.strerror(-answer), failed)
        return answer


def library() -> SpawnLibrary | None:
    """The library; None where it was not compiled, or is another version's."""
    try:
        return SpawnLibrary()
    except (OSError, AttributeError):
        return None


def _text(text: str) -> bytes:
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return encoded


def _array(texts: Sequence[bytes]) -> "ctypes.Array[ctypes.c_char_p]":
    return (ctypes.c_char_p * (len(texts) + 1))(*texts, None)
