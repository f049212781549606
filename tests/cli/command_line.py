"""How tests call the program."""

import os
import select
import subprocess
import sys
from collections.abc import Callable

from eventually import WITHIN_S

PROGRAM = (sys.executable, "-c", "from taskyard.cli.main import main; main()")
"""Arguments that start the program in a process of its own."""

Finished = subprocess.CompletedProcess[bytes]
Program = Callable[..., Finished]
"""Runs the program in a process of its own."""

Inside = Callable[..., tuple[int, bytes, bytes]]
"""Runs the program inside the test: exit code, output, error output."""


def read_terminal(terminal: int, screen: bytes) -> bytes:
    """What is printed next; nothing once the program has ended.

    Fails with what is on the screen if the program neither prints nor ends.
    """
    assert select.select([terminal], [], [], WITHIN_S)[0], f"nothing follows: {screen!r}"
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
