"""How calls end: what happens to their instances and their output, and what is reported."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec
import structlog
from anyio.abc import TaskGroup

from taskyard.core.attempts import Ended, Progress, Started, StreamSize
from taskyard.core.errors import TaskyardError
from taskyard.core.ids import AttemptId
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.clock import Clock
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.functions import ResultFiles
from taskyard.ports.runtime import Listener, ProgressListener
from taskyard.runtimes.function.instance import Answer, Call, Instance
from taskyard.runtimes.function.instance_output import Printed
from taskyard.runtimes.function.outcomes import Outcome, confinement, died, kill_report
from taskyard.runtimes.function.output import (
    hand_over,
    left_behind,
    within,
)
from taskyard.runtimes.processes.proc import process

_log = structlog.get_logger(__name__)

INLINE_BYTES: Final = 256 << 10
"""Larger bodies are kept in files."""
_STARTED_AFTER_S: Final = 0.02
"""Calls that are over sooner report start and end in one."""
STOPPED_S: Final = 5.0
"""Seconds between two checks whether an instance is stopped; if at both, it is given up."""
_LINK_AFTER_S: Final = 0.1
"""Calls that are over sooner cannot be watched."""
_NO_SIZE: Final = StreamSize()


class Completion(ABC):
    """The part of the function runtime that brings calls to their end."""

    def __init__(self, clock: Clock, results: ResultFiles) -> None:
        self._clock = clock
        self._results = results
        self._listener: Listener | None = None
        self._running: dict[AttemptId, Call] = {}
        """Calls that an instance has."""
        self._group: TaskGroup | None = None
        self._closing = False

    def spawn(self, work: Callable[..., Any], *arguments: object) -> None:
        """See ``pool.Host``."""
        if self._group is not None and not self._closing:
            self._group.start_soon(self._safely, work, *arguments)

    async def _safely(self, work: Callable[..., Any], *arguments: object) -> None:
        try:
            await work(*arguments)
        except Exception:  # noqa: BLE001 - one call's trouble must not end the others
            _log.exception("function runtime failed", doing=getattr(work, "__name__", ""))

    def _watch(self, now: float) -> None:
        """See to calls that take their time: limits, what to report, what to show."""
        for call in list(self._running.values()):
            instance = call.instance
            if instance is None or call.completing:
                continue
            if call.deadline is not None and now >= call.deadline:
                if call.forced is None:
                    call.forced = Reason.TIMEOUT
                    given = call.assignment
                    self._end_call(call, instance, given.kill_signal, given.kill_grace_s, now)
                else:
                    self.spawn(self._complete_forced, call, instance)
                continue
            age = now - call.given_at
            if age > STOPPED_S and self._is_stopped(call, instance, now):
                call.completing = True
                self.spawn(self._complete_dead, call, instance)
                continue
            if not call.is_reported and age > _STARTED_AFTER_S:
                self._report_start(call)
            if age > _LINK_AFTER_S:
                self._look_at_output(call, instance)

    def _look_at_output(self, call: Call, instance: Instance) -> None:
        """Let what a call prints be followed, and look after it."""
        del call
        if instance.output is not None:
            instance.output.show()

    def _end_call(
        self, call: Call, instance: Instance, name: str, grace_s: float, now: float
    ) -> None:
        """Have a call end: asked first, and killed when the grace is over."""
        if call.signalled_at is None:
            call.signalled_at = self._clock.now()
        ends = now + grace_s
        # The deadline of one that has run too long lies in the past.
        is_late = call.deadline is None or call.deadline <= now
        call.deadline = ends if is_late or call.deadline is None else min(call.deadline, ends)
        if name == "SIGKILL" or grace_s <= 0:
            self.spawn(self._complete_forced, call, instance)
        else:
            call.signal = call.signal or name
            self._ask_to_end(call, instance, name, grace_s)

    @abstractmethod
    def _ask_to_end(self, call: Call, instance: Instance, name: str, grace_s: float) -> None:
        """Send a signal, such as ``SIGTERM``, to what runs for a call; it may be gone."""
        ...

    def _is_stopped(self, call: Call, instance: Instance, now: float) -> bool:
        """Whether an instance was stopped by somebody else, and has been for a while."""
        if now < call.looked_at + STOPPED_S:
            return False
        call.looked_at = now
        found = process(instance.pid) if instance.pid else None
        was_stopped, call.was_stopped = call.was_stopped, found is not None and found.state == "T"
        if was_stopped and call.was_stopped:
            _log.error("function process is stopped", attempt_id=call.assignment.attempt_id)
            call.trouble = "its process was stopped from outside, and did not go on"
            return True
        return False

    async def _complete(
        self,
        call: Call,
        instance: Instance,
        outcome: Outcome,
        printed: Printed,
        over: bool,
        spill: bool,
    ) -> None:
        """End a call that was answered, with more to do than to say so."""
        if over:
            instance.retired = True
            _, survivors = await instance.body.kill()
            if survivors:
                _log.error("processes survive", attempt_id=call.assignment.attempt_id)
        files = spill or call.is_linked
        if files and instance.output is None:
            try:
                hand_over(call, instance, printed)
            except OSError as error:
                _log.warning("output lost", error=str(error))
        outcome = await self._keep_result(call, outcome)
        sizes = self._let_go(call, instance)
        self._report(call, outcome, printed, sizes, files=files)
        if over:
            instance.owner.take_out(instance)
        else:
            instance.owner.free(instance, asyncio.get_running_loop().time())

    async def _keep_result(self, call: Call, outcome: Outcome) -> Outcome:
        result = outcome.result
        if result is None or result.body is None or result.size_bytes <= INLINE_BYTES:
            return outcome
        try:
            await self._results.write(call.assignment.attempt_id, result.body)
        except (OSError, TaskyardError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            text = f"its answer could not be stored: {said}"
            return Outcome(AttemptState.FAILED, Reason.RUNTIME_TROUBLE, text)
        return msgspec.structs.replace(outcome, result=msgspec.structs.replace(result, body=None))

    async def _complete_forced(self, call: Call, instance: Instance) -> None:
        """Kill an instance for its call, with proof."""
        if call.completing:
            return
        call.completing = True
        if call.signalled_at is None:
            call.signalled_at = self._clock.now()
        await self._complete_dead(call, instance)

    async def _complete_dead(self, call: Call, instance: Instance) -> None:
        """End a call whose instance is dead, or about to be."""
        instance.retired = True
        killed, survivors = await instance.body.kill()
        with anyio.move_on_after(1.0):
            await instance.gone.wait()
        outcome = died(call, instance.status, out_of_memory=instance.body.oom_kills() > 0)
        trouble = call.trouble or instance.body.trouble
        if call.forced is None and trouble is not None:
            outcome = Outcome(AttemptState.FAILED, Reason.RUNTIME_TROUBLE, trouble)
        if call.forced is not None:
            report = kill_report(
                call, self._clock.now(), instance.body.method, killed, tuple(survivors)
            )
            outcome = msgspec.structs.replace(outcome, kill_report=report)
        files, printed = await self._rest_of_output(call, instance)
        sizes = self._let_go(call, instance)
        self._report(call, outcome, printed, sizes, files=files)
        instance.owner.take_out(instance)
        instance.owner.look(asyncio.get_running_loop().time())

    async def _complete_one_abandoned(
        self, call: Call, instance: Instance, outcome: Outcome
    ) -> None:
        """End a call whose instance died with its ancestors, and through no fault of its own."""
        files, printed = await self._rest_of_output(call, instance)
        sizes = self._let_go(call, instance)
        self._report(call, outcome, printed, sizes, files=files)
        instance.owner.take_out(instance)

    async def _rest_of_output(self, call: Call, instance: Instance) -> tuple[bool, Printed]:
        """What a dead instance printed; None if it is in the attempt's files."""
        if instance.output is not None:
            printed = instance.output.finish()
            return printed is None, printed or {}
        printed = None
        if not call.is_linked:
            printed = await anyio.to_thread.run_sync(left_behind, instance.directory)
        if printed is not None:
            return False, printed
        try:
            hand_over(call, instance, {})
        except OSError as error:
            _log.warning("output lost", error=str(error))
        return True, {}

    def _let_go(self, call: Call, instance: Instance) -> dict[str, StreamSize]:
        """A call has no instance any more; sizes of its output, as far as that is in files."""
        self._running.pop(call.assignment.attempt_id, None)
        instance.call = None
        output = instance.output
        return output.settle() if output is not None and output.is_in_files else {}

    def _report(
        self,
        call: Call,
        outcome: Outcome,
        printed: Printed,
        sizes: dict[str, StreamSize] | None = None,
        *,
        files: bool = False,
    ) -> None:
        """Tell how a call ended, once."""
        if call.ended is not None:
            return
        assignment = call.assignment
        inline_output: Printed = {}
        sizes = sizes or {}
        if printed and not files:
            inline_output, sizes = within(printed, assignment.log_limit_bytes)
        call.ended = Ended(
            attempt_id=assignment.attempt_id,
            lease_token=assignment.lease_token,
            at=self._clock.now(),
            state=outcome.state,
            started_at=call.began_at,
            reason=outcome.reason,
            message=outcome.message,
            exit_code=outcome.exit_code,
            signal=outcome.signal,
            kill_report=outcome.kill_report,
            stdout=sizes.get("stdout", _NO_SIZE),
            stderr=sizes.get("stderr", _NO_SIZE),
            inline_output=inline_output,
            output_complete=not files,
            result=outcome.result,
            confinement=confinement(assignment),
            blob=outcome.blob,
        )
        # A start that was not reported yet is told by the end.
        self._listening.ended(call.ended)

    def _report_start(self, call: Call) -> None:
        call.is_reported = True
        assignment = call.assignment
        if call.began_at is not None:
            begun = Started(
                attempt_id=assignment.attempt_id,
                lease_token=assignment.lease_token,
                at=call.began_at,
                handle={
                    "function": True,
                    "confinement": msgspec.to_builtins(confinement(assignment)),
                },
            )
            self._listening.started(begun)

    def _note(self, call: Call, said: Answer) -> None:
        fraction, text = said["progress"], said.get("text")
        told: object = self._listener
        if not isinstance(fraction, int | float) or not isinstance(told, ProgressListener):
            return
        if not call.is_reported:
            self._report_start(call)
        told.progress(
            Progress(
                attempt_id=call.assignment.attempt_id,
                lease_token=call.assignment.lease_token,
                at=self._clock.now(),
                fraction=min(1.0, max(0.0, float(fraction))),
                text=text[:500] if isinstance(text, str) else None,
            )
        )

    @property
    def _listening(self) -> Listener:
        if self._listener is None:
            raise RuntimeUnavailable("the function runtime is not open")
        return self._listener
