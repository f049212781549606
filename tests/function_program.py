"""A small program that speaks the functions' protocol, for images made by tests."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@cache
def function_program() -> bytes:
    """The compiled program; skips the test without a compiler, but never under CI."""
    compiler = shutil.which("gcc")
    if compiler is None:
        if os.environ.get("CI") == "true":
            pytest.fail("needs gcc")
        pytest.skip("needs gcc")
    with TemporaryDirectory(prefix="ty") as directory:
        made = Path(directory) / "program"
        source = Path(__file__).with_suffix(".c")
        command = [compiler, "-static", "-O1", "-Wall", "-o", str(made), str(source)]
        subprocess.run(command, check=True, timeout=60)
        return made.read_bytes()
