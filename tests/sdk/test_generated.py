"""What is generated is current, and both clients can do the same."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from taskyard.sdk import AsyncClient, Client
from taskyard.sdk.aio.functions import AsyncFunctionClient
from taskyard.sdk.sync.functions import FunctionClient

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("tool", ["unasync.py", "sdk_models.py"])
def test_generated_files_are_current(tool: str) -> None:
    """Running the generators would change nothing; otherwise: ``make generate``."""
    program = [sys.executable, str(ROOT / "tools" / tool), "--check"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("asynchronous", "synchronous"), [(AsyncClient, Client), (AsyncFunctionClient, FunctionClient)]
)
def test_clients_have_the_same_methods(asynchronous: type, synchronous: type) -> None:
    """Every public method exists in both, with the same parameters."""

    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name.replace("aclose", "close"): list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert methods(asynchronous) == methods(synchronous)
    assert methods(synchronous)
