"""One attempt and its container, from the pull to the proof that nothing of it runs."""

import time
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
from msgspec.structs import replace

from taskyard.core.attempts import Ended, KillReport, Started
from taskyard.core.backoff import Backoff
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import Container
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.runtimes.container.context import RuntimeContext
from taskyard.runtimes.container.copying import Copying
from taskyard.runtimes.container.create import Creation
from taskyard.runtimes.container.output import Output
from taskyard.runtimes.container.request import (
    BOOT_LABEL,
    PREFIX_LABEL,
    confinement,
    container_name,
)
from taskyard.runtimes.container.starting import prepare, start
from taskyard.runtimes.container.syslog_lines import syslog_lines_of
from taskyard.runtimes.engine.container_state import (
    Circumstances,
    ContainerState,
    finding,
    is_suspicious,
    judge,
    may_lack_memory,
)
from taskyard.runtimes.engine.errors import CannotRun, EngineUnreachable
from taskyard.runtimes.engine.killing import Killing

_LOOK_S: Final = 60.0
"""An event that got lost delays an end by no more than this."""
_LOOK_SOON_S: Final = 0.02
_SUSPICION_S: Final = 0.25
_OUT_OF_MEMORY_S: Final = 1.0
"""How much later than a container's end an engine may say that it ran out of memory."""


class AttemptContainer:
    """An attempt in the care of the container runtime."""

    def __init__(self, assignment: Assignment, directory: Path, context: RuntimeContext) -> None:
        if not isinstance(assignment.work, Container):
            raise TypeError(f"no container: {type(assignment.work).__name__}")
        self.assignment = assignment
        self.over = False
        """Whether ``ended`` was reported."""
        self.ran_out_of_memory = anyio.Event()
        """To be set when the engine says so; that may be after the container's end."""
        self._work = assignment.work
        self._directory = directory
        self._context = context
        self._name = container_name(assignment.attempt_id)
        self._syslog_lines = syslog_lines_of(self._work, directory, context)
        self._output = Output(
            directory,
            assignment.log_limit_bytes,
            merge=self._work.merge_output,
            keep_last_bytes=self._work.keep_last_bytes,
            also=None if self._syslog_lines is None else self._syslog_lines.take,
        )
        self._news = anyio.Event()
        self._look = False
        self._killing: Killing | None = None
        self._creation: Creation | None = None
        self._timeout_at: float | None = None
        self._started: Started | None = None
        self._adopted = False

    def wake(self) -> None:
        """The container may have ended."""
        self._look = True
        self._stir()

    def order(self, order: KillOrder) -> None:
        """Begin a kill, or shorten the grace of one under way."""
        if self._killing is None or self._killing.cause == "timeout":
            self._killing = Killing(
                "killed", order.signal, order.grace_s, self._context.clock.now()
            )
        else:
            self._killing.shorten(order.grace_s)
        if self._creation is not None:
            self._creation.stop()
        self._stir()

    def _is_killed(self) -> bool:
        """Whether a kill was ordered; asked again each time, as that may come in any moment."""
        return self._killing is not None

    def _stir(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def run(self, *, adopt: bool, handle: dict[str, Any]) -> None:
        """See the attempt through; reports to the listener, raises nothing but cancellation."""
        self._adopted = adopt
        try:
            await self._run(adopt=adopt, begun=bool(handle))
        except CannotRun as error:
            self._end(AttemptState.FAILED, error.reason, str(error))
        except OSError as error:
            text = f"its output cannot be written: {error.strerror or error}"
            await self._context.watch.until_done(
                lambda: self._context.engine.remove(self._name), self._name
            )
            self._end(AttemptState.FAILED, Reason.RUNTIME_TROUBLE, text)
        finally:
            self._output.close()
            if self._syslog_lines is not None and not self.over:
                self._syslog_lines.record()

    def fail(self, message: str) -> None:
        """End it as trouble of the machinery, whatever state it is in; its container is removed
        with its release.
        """
        if not self.over:
            self._end(AttemptState.FAILED, Reason.RUNTIME_TROUBLE, message)

    async def _run(self, *, adopt: bool, begun: bool) -> None:
        found = await self._inspect() if adopt else None
        if found is not None:
            self._output.resume(_count(found.labels.get(PREFIX_LABEL)))
            if self._syslog_lines is not None:
                self._syslog_lines.resume()
        elif begun:
            text = "the container is gone, and nobody saw how it ended"
            self._end(AttemptState.LOST, Reason.EXIT_UNKNOWN, text)
            return
        else:
            found = await self._prepared()
            if found is None:
                return
        await self._live(found)

    async def _prepared(self) -> ContainerState | None:
        """The container, made; None if a kill came before, which is reported."""
        if not self._is_killed():
            self._creation = Creation(self.assignment, self._work, self._output, self._context)
            try:
                made = await self._creation.run()
            except CannotRun:
                if not self._is_killed():
                    raise
            else:
                if not self._is_killed():
                    return made
        # It never ran, and a container that is only made does not begin by itself.
        await self._context.watch.until_done(
            lambda: self._context.engine.remove(self._name), self._name
        )
        self._end(AttemptState.KILLED, Reason.KILLED, "killed before it began", self._report())
        return None

    async def _live(self, found: ContainerState) -> None:
        """From a container that exists to its end."""
        context = self._context
        copying = Copying(
            context.engine,
            context.watch,
            self._name,
            self._output,
            stdin=None if self._work.stdin is None else self._work.stdin.encode(),
            is_podman=context.is_podman,
            on_failure=self._stir,
        )
        refused: CannotRun | None = None
        last: ContainerState | None = None
        async with anyio.create_task_group() as group:
            if found.started_at is None:
                await group.start(copying.attach)
                try:
                    last = await self._start(copying)
                except CannotRun as error:
                    refused = error
                copying.begun.set()
            else:
                last = found
                copying.miss()
                self._tell_started(found)
                group.start_soon(copying.follow)
            if refused is None and last is not None:
                last = await self._attend(last, copying)
            if last is not None:
                await copying.settle()
            group.cancel_scope.cancel()
        if copying.failed is not None:
            raise copying.failed
        if refused is not None:
            if self._killing is not None and self._killing.cause == "killed":
                self._end(AttemptState.KILLED, Reason.KILLED, "killed on request", self._report())
                return
            raise refused
        if last is not None and not copying.is_complete:
            await self._context.watch.until_done(copying.read_all, self._name)
        await self._conclude(last)

    async def _start(self, copying: Copying) -> ContainerState | None:
        """Start it once; None if it is gone. Raises :class:`CannotRun`."""
        context = self._context
        await prepare(context, self.assignment, self._work, adopted=self._adopted)
        while True:
            try:
                await start(context, self.assignment, self._work, copying.miss)
            except EngineUnreachable:
                # Whether it was started has to be known: nothing runs twice.
                found = await self._inspect()
                if found is None or found.started_at is not None:
                    if found is not None:
                        self._tell_started(found)
                    return found
                continue
            found = ContainerState("", True, self._context.clock.now(), None, 0, False, 0, {})
            self._tell_started(found)
            return found

    def _tell_started(self, found: ContainerState) -> None:
        now = self._context.clock.now()
        at = found.started_at or now
        limit_s = self.assignment.timeout_s
        if limit_s is not None:
            left_s = limit_s - max(0, now - at) / 1_000_000
            self._timeout_at = time.monotonic() + max(0.0, left_s)
        self._started = Started(
            attempt_id=self.assignment.attempt_id,
            lease_token=self.assignment.lease_token,
            at=at,
            handle={
                "container": self._name,
                "confinement": msgspec.to_builtins(confinement(self.assignment)),
            },
        )
        self._context.listener.started(self._started)

    async def _attend(self, last: ContainerState, copying: Copying) -> ContainerState | None:
        """Wait until it does not run any more, killing it where that is due; None if it is gone.

        Also returns when its output cannot be kept.
        """
        if not last.running:
            return last
        look_at = time.monotonic() + _LOOK_S
        backoff = Backoff(_LOOK_SOON_S, 1.0)
        while copying.failed is None:
            now = time.monotonic()
            if self._look or now >= look_at:
                asked, self._look = self._look, False
                found = await self._inspect()
                if found is None or not found.running:
                    return found
                killing = self._killing
                if killing is not None and killing.has_failed(now):
                    killing.survivor_pid = found.pid
                    return found
                # An engine may announce an end before its own records say so.
                soon_s = backoff.delay_s()
                look_at = now + (soon_s if asked or killing is not None else _LOOK_S)
            self._mind_timeout(now)
            if self._killing is not None and await self._killing.advance(
                self._context.engine, self._name, now
            ):
                self._look = True
                backoff.reset()
            due = self._due(look_at, now)
            if not self._look:
                with anyio.move_on_after(max(0.0, due - time.monotonic())):
                    await self._news.wait()
        return last

    def _mind_timeout(self, now: float) -> None:
        if self._killing is None and self._timeout_at is not None and now >= self._timeout_at:
            given = self.assignment
            self._killing = Killing(
                "timeout", given.kill_signal, given.kill_grace_s, self._context.clock.now()
            )

    def _due(self, look_at: float, now: float) -> float:
        if self._killing is not None:
            return min(look_at, self._killing.next_at(now))
        return look_at if self._timeout_at is None else min(look_at, self._timeout_at)

    async def _conclude(self, last: ContainerState | None) -> None:
        killing = self._killing
        cause = None if killing is None or not killing.sent else killing.cause
        if last is None:
            if cause == "killed":
                self._end(AttemptState.KILLED, Reason.KILLED, "killed on request", self._report())
                return
            text = "the container was removed by somebody else, and nobody saw how it ended"
            self._end(AttemptState.LOST, Reason.EXIT_UNKNOWN, text)
            return
        context = self._context
        is_stopping = False
        limit = self.assignment.resources.memory_bytes
        if cause is None and not context.is_podman and may_lack_memory(last, limit):
            # Docker Engine may hear of it after the end: then the event alone says so.
            with anyio.move_on_after(_OUT_OF_MEMORY_S):
                await self.ran_out_of_memory.wait()
            last = replace(last, out_of_memory=self.ran_out_of_memory.is_set())
        if cause is None and is_suspicious(last):
            # Engines that stop end their containers first.
            await anyio.sleep(_SUSPICION_S)
            try:
                await context.engine.probe()
            except EngineUnreachable:
                is_stopping = True
                await context.watch.going(last.finished_at)
                await self._context.watch.until_done(context.engine.probe, self._name)
        boot = last.labels.get(BOOT_LABEL)
        rebooted = (
            self._adopted and context.engine.address.is_local and boot not in {None, context.boot}
        )
        around = Circumstances(
            kill_cause=cause,
            timeout_s=self.assignment.timeout_s,
            memory_bytes=limit,
            is_podman=context.is_podman,
            engine_was_away=(rebooted or is_stopping or context.watch.was_away(last.finished_at)),
        )
        state, reason, message = judge(last, around)
        code = None if last.running else last.exit_code
        self._end(state, reason, message, self._report() if cause else None, exit_code=code)

    def _report(self) -> KillReport | None:
        if self._killing is None:
            return None
        return self._killing.report(self._name, self._context.clock.now())

    def _end(
        self,
        state: AttemptState,
        reason: Reason | None,
        message: str | None,
        kill_report: KillReport | None = None,
        exit_code: int | None = None,
    ) -> None:
        self._output.flush()
        sizes = self._output.sizes()
        self.over = True
        if self._syslog_lines is not None:
            self._syslog_lines.end()
        self._context.listener.ended(
            Ended(
                attempt_id=self.assignment.attempt_id,
                lease_token=self.assignment.lease_token,
                at=self._context.clock.now(),
                state=state,
                started_at=None if self._started is None else self._started.at,
                reason=reason,
                message=message,
                exit_code=exit_code,
                kill_report=kill_report,
                stdout=sizes["stdout"],
                stderr=sizes["stderr"],
                confinement=None if self._started is None else confinement(self.assignment),
            )
        )

    async def _inspect(self) -> ContainerState | None:
        """What the engine says of it, whenever that is; None if it has no such container."""
        inspected = await self._context.watch.until_done(
            lambda: self._context.engine.inspect(self._name), self._name
        )
        return None if inspected is None else finding(inspected)


def _count(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
