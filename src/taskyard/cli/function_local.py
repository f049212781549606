"""Runs a function's handler on this machine, in the runtime that a server would use."""

import tempfile
from pathlib import Path

import anyio

from taskyard.core.attempts import Ended, Started
from taskyard.core.functions import BuildState, CallRequest, FunctionId, Language, Version
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkspaceName
from taskyard.core.resources import Resources
from taskyard.core.tasks import FunctionCall
from taskyard.ports.runtime import Assignment
from taskyard.runtimes.function.building import LocalBuilder
from taskyard.runtimes.function.runtime import FunctionRuntime
from taskyard.server.clock import SystemClock, SystemIds
from taskyard.worker.resultfiles import ResultFiles

LOG_BYTES = 64 << 20


class LocalCall:
    """What became of a call."""

    def __init__(self) -> None:
        self.build_log: list[str] = []
        self.ended: Ended | None = None
        self.body = b""
        self.stdout = b""
        self.stderr = b""
        self._over = anyio.Event()

    def started(self, event: Started) -> None:
        """It runs; nobody needs to know."""

    def ended_(self, event: Ended) -> None:
        """It is over."""
        self.ended = event
        self._over.set()

    async def over(self) -> Ended:
        """Its end."""
        while self.ended is None:
            await self._over.wait()
        return self.ended


class _Listener:
    def __init__(self, call: LocalCall) -> None:
        self._call = call

    def started(self, event: Started) -> None:
        self._call.started(event)

    def ended(self, event: Ended) -> None:
        self._call.ended_(event)


def run_locally(bundle: bytes, language: str, request: CallRequest, timeout_s: float) -> LocalCall:
    """Build and call once. Raises ``BuildFailed``, ``RuntimeUnavailable``."""
    with tempfile.TemporaryDirectory(prefix="taskyard-function-") as name:
        return anyio.run(_run, Path(name), bundle, language, request, timeout_s)


async def _run(
    root: Path, bundle: bytes, language: str, request: CallRequest, timeout_s: float
) -> LocalCall:
    clock, ids, call = SystemClock(), SystemIds(), LocalCall()
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
    await LocalBuilder(root).build(version, bundle, call.build_log.append)
    results = ResultFiles(root / "attempts")
    runtime = FunctionRuntime(root, clock, results)
    await runtime.open(_Listener(call))
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
        ended = await call.over()
    finally:
        await runtime.close()
    call.stdout = ended.folded.get("stdout", b"") or await _content(directory / "stdout")
    call.stderr = ended.folded.get("stderr", b"") or await _content(directory / "stderr")
    if ended.result is not None:
        body = ended.result.body
        call.body = await results.read(attempt_id) if body is None else body
    return call


async def _content(path: Path) -> bytes:
    try:
        return (await anyio.Path(path).read_bytes())[:LOG_BYTES]
    except FileNotFoundError:
        return b""
