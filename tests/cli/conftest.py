"""A running server, and the program, for the tests of the command line."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import PROGRAM, Finished, Inside, Program

from contract import contract_server


@pytest.fixture(scope="session")
def data() -> Iterator[Path]:
    """The data directory of a running server."""
    with contract_server() as place:
        yield place


@pytest.fixture(scope="session")
def url(data: Path) -> str:
    """The address of the running server."""
    address: str = json.loads((data / "server.json").read_text())["url"]
    return address


@pytest.fixture
def environment(data: Path, tmp_path: Path) -> dict[str, str]:
    """An environment that leads to the running server and to nothing of this machine's user."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TASKYARD_DATA": str(data),
        "NO_COLOR": "1",
    }


@pytest.fixture
def program(environment: dict[str, str], tmp_path: Path) -> Program:
    """Runs the command line in a directory of its own and answers when it has ended."""

    def run(*arguments: str, stdin: bytes = b"", **variables: str) -> Finished:
        return subprocess.run(
            [*PROGRAM, *arguments],
            input=stdin,
            capture_output=True,
            env={**environment, **variables},
            cwd=tmp_path,
            timeout=40,
            check=False,
        )

    return run


@pytest.fixture
def inside(
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Inside:
    """Runs the command line inside the test's process: exit code, output, error output."""
    from taskyard.cli.main import run  # noqa: PLC0415 - after the environment is set

    for name in [name for name in os.environ if name.startswith(("TASKYARD_", "XDG_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, bytes, bytes]:
        code = run(arguments)
        out, err = capfdbinary.readouterr()
        return code, out, err

    return call
