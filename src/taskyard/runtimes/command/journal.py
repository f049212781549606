"""What a supervisor writes into an attempt's directory, to be remembered across its own death.

Attempt directories are recycled, see :mod:`taskyard.worker.output.directories`, because making and
deleting files is what running a short command would spend most of its time on. So nothing here
creates or removes files if it can do without: the record of an attempt is one file that grows by
a line with each step of its life, and is empty before the first.
"""

import json
import os
from typing import Final

from taskyard.runtimes.command.lines import line
from taskyard.runtimes.processes.proc import Json

RECORD: Final = "attempt.jsonl"
_MODE: Final = 0o600


class Claim:
    """The record of an attempt that was started here, open for its next lines."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def add(self, facts: Json) -> None:
        """Write what is known once it runs. Raises ``OSError``."""
        _write_line(self._fd, line(facts))

    def end(self, ended: bytes) -> None:
        """As :func:`add_end`. Raises ``OSError``."""
        _write_end(self._fd, ended)

    def close(self) -> None:
        """Has to be called."""
        os.close(self._fd)


def claim(directory: str, intent: Json) -> Claim | None:
    """Note that an attempt is about to be started, before anything happens.

    None if that was noted before: it must not be started again. There is one supervisor for a
    directory, so looking and writing need not be one step. Raises ``OSError``.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    fd = os.open(f"{directory}/{RECORD}", flags, _MODE)
    try:
        if os.fstat(fd).st_size > 0:
            os.close(fd)
            return None
        _write_line(fd, line(intent))
    except OSError:
        os.ftruncate(fd, 0)
        os.close(fd)
        raise
    return Claim(fd)


def add_end(directory: str, ended: bytes) -> None:
    """Note how an attempt ended, which is a line by itself. Raises ``OSError``."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    fd = os.open(f"{directory}/{RECORD}", flags)
    try:
        _write_end(fd, ended)
    finally:
        os.close(fd)


def read(directory: str) -> Json | None:
    """All lines in one object, the end under ``ended``; None if it was never claimed.

    A line that did not survive a crash of the machine in one piece is left out.
    """
    try:
        with open(f"{directory}/{RECORD}", "rb") as file:  # noqa: PTH123 - no pathlib in the supervisor
            text = file.read()
    except FileNotFoundError:
        return None
    if not text:
        return None
    record: Json = {}
    for one in text.splitlines():
        try:
            record.update(json.loads(one))
        except ValueError:
            break
    return record


def _write_end(fd: int, ended: bytes) -> None:
    _write_line(fd, b'{"ended": %s}\n' % ended[:-1])


def _write_line(fd: int, text: bytes) -> None:
    if os.write(fd, text) != len(text):
        raise OSError(28, "no room for the whole line")
