"""Runs a function's handler on this machine, in the runtime that a server would use."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio

from taskyard.core.attempts import Ended, Started
from taskyard.core.functions.functions import BuildState, CallRequest, FunctionId, Language, Version
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkspaceName
from taskyard.core.resources import Resources
from taskyard.core.tasks import FunctionCall
from taskyard.ports.runtime import Assignment
from taskyard.runtimes.function.building import LocalBuilder
from taskyard.runtimes.function.runtime import FunctionRuntime
from taskyard.server.clock import SystemClock, SystemIds
from taskyard.worker.output.result_files import ResultFiles

LOG_BYTES = 64 << 20


@dataclass(frozen=True)
class LocalCall:
    """What became of a call."""

    ended: Ended
    body: bytes
    stdout: bytes
    stderr: bytes


class _Listener:
    """Waits for the end of the only call."""

    def __init__(self) -> None:
        self._ended: Ended | None = None
        self._over = anyio.Event()

    def started(self, event: Started) -> None:
        """It runs; nobody needs to know."""

    def ended(self, event: Ended) -> None:
        self._ended = event
        self._over.set()

    async def over(self) -> Ended:
        while self._ended is None:
            await self._over.wait()
        return self._ended


def run_locally(
    bundle: bytes,
    language: str,
    request: CallRequest,
    timeout_s: float,
    say: Callable[[str], None],
) -> LocalCall:
    """Build and call once; ``say`` gets the lines of the build's log.

    Raises ``BuildFailed``, ``RuntimeUnavailable``.
    """
    with tempfile.TemporaryDirectory(prefix="taskyard-function-") as name:
        return anyio.run(_run, Path(name), bundle, language, request, timeout_s, say)


async def _run(
    root: Path,
    bundle: bytes,
    language: str,
    request: CallRequest,
    timeout_s: float,
    say: Callable[[str], None],
) -> LocalCall:
    clock, ids, listener = SystemClock(), SystemIds(), _Listener()
    function_id = FunctionId("local")
    version = Version(
        function_id=function_id,
        number=1,
        state=BuildState.BUILDING,
        bundle="",
        size_bytes=len(bundle),
        language=Language(language),
        handler="",
        entry="handle",
        dependencies=(),
        created_at=clock.now(),
    )
    await LocalBuilder(root).build(version, bundle, say)
    results = ResultFiles(root / "attempts")
    runtime = FunctionRuntime(root, clock, results)
    await runtime.open(listener)
    attempt_id = AttemptId(ids.attempt())
    directory = root / "attempts" / attempt_id
    directory.parent.mkdir()
    try:
        await runtime.start(
            Assignment(
                attempt_id=attempt_id,
                task_id=TaskId(ids.task()),
                workspace=WorkspaceName("local"),
                group="local",
                number=1,
                lease_token=LeaseToken("local"),
                assigned_at=clock.now(),
                work=FunctionCall(
                    function_id=function_id, function="local", version=1, request=request
                ),
                resources=Resources(),
                timeout_s=timeout_s,
                kill_signal="SIGTERM",
                kill_grace_s=0.0,
                log_limit_bytes=LOG_BYTES,
            ),
            directory,
        )
        ended = await listener.over()
    finally:
        await runtime.close()
    body = b""
    if ended.result is not None:
        own = ended.result.body
        body = await results.read(attempt_id) if own is None else own
    return LocalCall(
        ended,
        body,
        ended.inline_output.get("stdout", b"") or await _content(directory / "stdout"),
        ended.inline_output.get("stderr", b"") or await _content(directory / "stderr"),
    )


async def _content(path: Path) -> bytes:
    try:
        return (await anyio.Path(path).read_bytes())[:LOG_BYTES]
    except FileNotFoundError:
        return b""
