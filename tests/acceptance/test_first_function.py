"""The tutorial of functions, as somebody follows it who types what it says."""

import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from served import Served, serving

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "first-function.md"
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
PLACEHOLDERS = ("FUNCTION", "ENDPOINT")


def steps(block: str) -> list[tuple[str, str]]:
    """Each command of a block, and what is said to come out."""
    found: list[tuple[str, str]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            command, said = found[-1]
            found[-1] = (command, said + line + "\n")
    return found


def on_a_terminal(line: str, served: Served, directory: Path) -> str:
    """What a command says there."""
    ours, theirs = pty.openpty()
    try:
        ran = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=directory,
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "HOME": str(directory),
                "PYTHONPATH": ":".join(sys.path),
                "TASKYARD_URL": served.url,
                "TASKYARD_TOKEN": "dev",
                "TERM": "dumb",
                "NO_PROXY": "*",
            },
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, (line, ran.stderr)
        os.write(theirs, b"\n")  # so that there is something to read
        return os.read(ours, 1 << 16).decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """What the first command starts, on a free port."""
    with serving(tmp_path / "data") as server:
        yield server


def test_five_commands_lead_to_a_public_endpoint(served: Served, tmp_path: Path) -> None:
    """Each does what the page says, and so do those without an endpoint."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    blocks = [steps(one) for one in _BLOCK.findall(PAGE.read_text("utf-8"))]
    first, *_ = blocks[0]
    assert (len(blocks[0]), first[0]) == (5, "taskyard up --dev &")
    program = f"{sys.executable} -m taskyard "
    known: dict[str, str] = {}
    for command, said in (*blocks[0][1:], *blocks[1]):
        line = command.replace("localhost:8000", f"127.0.0.1:{served.port}")
        for name, value in known.items():
            line = line.replace(name, value)
        if line.startswith("taskyard "):
            line = program + line.removeprefix("taskyard ")
        shown = on_a_terminal(line, served, tmp_path)
        pattern = re.escape(said.strip())
        for name in PLACEHOLDERS:
            if name in said:
                pattern = pattern.replace(name, f"(?P<{name}>[0-9a-f]+)")
        matched = re.search(pattern, shown)
        assert matched, (line, shown)
        known |= matched.groupdict()
