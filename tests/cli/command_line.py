"""How tests call the program."""

import subprocess
import sys
from collections.abc import Callable

PROGRAM = (sys.executable, "-c", "from taskyard.cli.main import main; main()")
"""Arguments that start the program in a process of its own."""

Finished = subprocess.CompletedProcess[bytes]
Program = Callable[..., Finished]
"""Runs the program in a process of its own."""

Inside = Callable[..., tuple[int, bytes, bytes]]
"""Runs the program inside the test: exit code, output, error output."""
