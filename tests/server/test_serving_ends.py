"""A server that was told to stop ends, whatever its threads wait for."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, sys, threading
from pathlib import Path
from taskyard.server import run as module
from taskyard.server.settings import Settings

async def stuck(settings):
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)

module.run = stuck
module.THREADS_S = 0.2
sys.exit(module.serve(Settings(data=Path(sys.argv[1]), dev=True)))
"""


def test_a_thread_that_waits_forever_holds_nobody_up(tmp_path: Path) -> None:
    """Such as one that asks a database which hangs."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    assert subprocess.run(command, timeout=40, check=False).returncode == 0
