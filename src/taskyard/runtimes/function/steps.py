"""Steps of a build: processes of others' making, each held together, limited and watched."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from anyio.streams.text import TextReceiveStream

from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.cages import Cages
from taskyard.runtimes.function.pool import kill_all

_BUILD_MEMORY: Final = 2 << 30
_BUILD_PIDS: Final = 1024
_LINE_MAX: Final = 2000
_PASSED: Final = ("HOME", "PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")
_PASSED_PREFIXES: Final = ("PIP_", "NPM_CONFIG_")

Say = Callable[[str], None]
"""Takes one line of the build's log."""


class Steps:
    """Runs the steps of builds, each in a session and cgroup of its own.

    Args:
        timeout_s: seconds one step may take.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._count = 0

    async def run(
        self,
        command: Sequence[str],
        cwd: Path,
        say: Say,
        failure: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run one step; its output becomes lines of the log.

        Args:
            command: program and arguments.
            cwd: where it runs.
            say: takes the lines.
            failure: what to say if it fails or takes too long.
            environment: variables beside those that reach package indexes.

        Raises ``BuildFailed``.
        """
        self._count += 1
        name = f"taskyard-build-{os.getpid()}-{self._count}"
        cages = await anyio.to_thread.run_sync(Cages, name)
        tree = await anyio.to_thread.run_sync(cages.new, _BUILD_MEMORY, None, _BUILD_PIDS)
        code: int | None = None
        try:
            with anyio.move_on_after(self._timeout_s):
                # The shell joins the cage first; then it is the step itself.
                doors = " && ".join(f"echo 0 > '{door}'" for door in tree.doors()) or ":"
                with anyio.CancelScope(shield=True):
                    # Given up in between, it would leave a process that nobody knows of.
                    process = await anyio.open_process(
                        ["/bin/sh", "-c", f'{doors}; exec "$@"', "sh", *command],
                        cwd=cwd,
                        env={**_environment(cwd), **(environment or {})},
                        start_new_session=True,
                        stderr=-2,
                    )
                async with process:
                    tree.born(process.pid)
                    if process.stdout is not None:
                        await _lines(TextReceiveStream(process.stdout, errors="replace"), say)
                    code = await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(kill_all, tree)
                await anyio.to_thread.run_sync(tree.remove)
                await anyio.to_thread.run_sync(cages.close)
        if code is None:
            raise BuildFailed(f"{failure}: it took longer than {self._timeout_s:g} s")
        if code != 0:
            raise BuildFailed(failure)


async def _lines(stream: TextReceiveStream, say: Say) -> None:
    rest = ""
    async for piece in stream:
        *lines, rest = (rest + piece).split("\n")
        for line in lines:
            say(line[:_LINE_MAX])
        rest = rest[-_LINE_MAX:]
    if rest:
        say(rest)


def _environment(home: Path) -> dict[str, str]:
    """What a step needs to reach package indexes, and nothing of the service's own."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _PASSED or name.upper().startswith(_PASSED_PREFIXES)
    }
    return {"PATH": os.defpath, "HOME": str(home), **passed, "LANG": "C.UTF-8"}
