"""The contract server in a process of its own, for clients written against the HTTP contract."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from eventually import eventually
from leftovers import short_directory

_SERVER: Final = Path(__file__).parent / "sdk" / "contract_server.py"


@contextmanager
def contract_server() -> Iterator[Path]:
    """The data directory of a running contract server."""
    with short_directory() as place:
        process = subprocess.Popen([sys.executable, str(_SERVER), str(place)])
        try:

            def answers() -> bool:
                assert process.poll() is None, "the contract server has ended"
                return (place / "server.json").exists()

            eventually(answers)
            yield place
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
