"""Steps of a build: processes of others' making, each held together, limited and watched.

Each runs under a small supervisor (:mod:`.child.supervisor`), which ends the step when the server
is gone, and removes its cgroups.
"""

import contextlib
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

import taskyard
from taskyard.core.access.work_identity import SERVER, Identity
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.containment import ProcessTrees, Tree
from taskyard.runtimes.function.pool import kill_all

_BUILD_MEMORY: Final = 2 << 30
_BUILD_PIDS: Final = 1024
_LINE_MAX: Final = 2000
_TRIES: Final = 3
_END_S: Final = 10.0
"""Seconds a supervisor gets to end its step."""
_SUPERVISE: Final = (
    "import os, sys; os.umask(0o022); sys.path.insert(0, sys.argv.pop(1)); "
    "from taskyard.runtimes.function.child.supervisor import main; "
    "del sys.path[0]; main()"
)
"""Not with the server's umask: the directories of a build are private, and what is in them may be
meant for others."""
_PASSED: Final = ("HOME", "PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")
_PASSED_PREFIXES: Final = ("PIP_", "NPM_CONFIG_")
_OURS: Final = frozenset({"HOME", "PIP_CACHE_DIR", "NPM_CONFIG_CACHE"})
"""Directories that other users may not write to."""

Say = Callable[[str], None]
"""Takes one line of the build's log."""


class Steps:
    """Runs the steps of builds, each in a session and cgroup of its own.

    Args:
        directory: in which builds are made. Names the cgroup below which those of the steps are.
        timeout_s: seconds one step may take.
        closed: which directories other users need, and cannot get to by themselves.
        use_cgroups: False relies on sessions alone, as happens by itself without cgroups.
    """

    def __init__(
        self,
        directory: Path,
        timeout_s: float,
        closed: Callable[[], list[str]] = list,
        *,
        use_cgroups: bool = True,
    ) -> None:
        digest = hashlib.sha256(str(directory).encode()).hexdigest()[:12]
        self._cgroup = f"taskyard-builds-{digest}"
        self._closed = closed
        self._timeout_s = timeout_s
        self._use_cgroups = use_cgroups
        self._lock = threading.Lock()
        """Nobody removes the cgroup above while somebody makes one below it."""

    def sweep(self) -> None:
        """Kill and remove what an earlier life left, if it was killed with its supervisors.

        Blocks. Not while steps run.
        """
        with self._lock:
            process_trees = ProcessTrees(self._cgroup, use_cgroups=self._use_cgroups)
            process_trees.sweep()
            process_trees.close()

    async def run(
        self,
        command: Sequence[str],
        cwd: Path,
        say: Say,
        failure: str,
        environment: Mapping[str, str] | None = None,
        identity: Identity = SERVER,
        *,
        apart: bool = False,
    ) -> None:
        """Run one step; its output becomes lines of the log.

        Args:
            command: program and arguments.
            cwd: where it runs.
            say: takes the lines.
            failure: what to say if it fails or takes too long.
            environment: variables beside those that reach package indexes.
            identity: as whom it runs.
            apart: whether it is given no directories of the server's user, such as HOME.

        Raises ``BuildFailed``.
        """
        tree, above = await anyio.to_thread.run_sync(self._begin)
        other = identity.uid is not None
        spec = {
            "command": command,
            "cwd": str(cwd),
            "cgroup": tree.doors(),
            "above": above,
            "identity": (identity.uid, identity.gid) if other else None,
            "closed": await anyio.to_thread.run_sync(self._closed) if other else [],
        }
        variables = {**_environment(cwd, is_ours=not (other or apart)), **(environment or {})}
        process: Process | None = None
        code: int | None = None
        try:
            with anyio.move_on_after(self._timeout_s):
                with anyio.CancelScope(shield=True):
                    # Given up in between, it would leave a process that nobody knows of.
                    supervisor = process = await self._supervise(spec, variables)
                    tree.spawned(supervisor.pid)
                if supervisor.stdout is not None:
                    await _lines(TextReceiveStream(supervisor.stdout, errors="replace"), say)
                code = await supervisor.wait()
        finally:
            with anyio.CancelScope(shield=True):
                if process is not None:
                    await _end(process, tree, say)
                await anyio.to_thread.run_sync(self._remove, tree)
        if code is None:
            raise BuildFailed(f"{failure}: it took longer than {self._timeout_s:g} s")
        if code != 0:
            raise BuildFailed(failure)

    async def _supervise(self, spec: dict[str, Any], environment: Mapping[str, str]) -> Process:
        root = str(Path(taskyard.__file__).parent.parent)
        argument = msgspec.json.encode(spec).decode()
        return await anyio.open_process(
            [sys.executable, "-I", "-S", "-c", _SUPERVISE, root, argument],
            cwd="/",
            env=environment,
            start_new_session=True,
            stderr=-2,
        )

    def _begin(self) -> tuple[Tree, list[str]]:
        """Cgroups for a step, and those above. Raises ``OSError``."""
        for _ in range(_TRIES):
            # A supervisor of an earlier server may be removing those above.
            with contextlib.suppress(FileNotFoundError):
                return self._tree()
        return self._tree()

    def _tree(self) -> tuple[Tree, list[str]]:
        with self._lock:
            process_trees = ProcessTrees(self._cgroup, use_cgroups=self._use_cgroups)
            tree = process_trees.new(_BUILD_MEMORY, None, _BUILD_PIDS, shares_cpu=True)
            return tree, process_trees.bases

    def _remove(self, tree: Tree) -> None:
        kill_all(tree)
        with self._lock:
            tree.remove()
            # Other steps may be under way, and then it stays.
            ProcessTrees(self._cgroup, use_cgroups=self._use_cgroups).close()


async def _end(process: Process, tree: Tree, say: Say) -> None:
    """Have the supervisor end the step, if it does not yet; and itself.

    What the step says meanwhile is taken: it may have to be said before it can end.
    """
    if process.stdin is not None:
        await process.stdin.aclose()
    with anyio.move_on_after(_END_S):
        if process.stdout is not None:
            await _lines(TextReceiveStream(process.stdout, errors="replace"), say)
        await process.wait()
    if process.returncode is None:
        await anyio.to_thread.run_sync(kill_all, tree)
        process.kill()
    await process.aclose()


async def _lines(stream: TextReceiveStream, say: Say) -> None:
    rest = ""
    async for piece in stream:
        *lines, rest = (rest + piece).split("\n")
        for line in lines:
            say(line[:_LINE_MAX])
        rest = rest[-_LINE_MAX:]
    if rest:
        say(rest)


def _environment(home: Path, *, is_ours: bool) -> dict[str, str]:
    """What a step needs to reach package indexes, and nothing of the service's own."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if (name.upper() in _PASSED or name.upper().startswith(_PASSED_PREFIXES))
        and (is_ours or name.upper() not in _OURS)
    }
    return {"PATH": os.defpath, "HOME": str(home), **passed, "LANG": "C.UTF-8"}
