"""Output wherever it is: on this machine, among the objects, beside another control plane.

1. What runs beside this control plane writes into directories here; those come first.
2. At the end output becomes objects, and after that its directory goes. So what is not here any
   more is there: the order of these two never misses it.
3. What runs elsewhere is asked for there. It may end and become objects in between, so the objects
   are looked at once more.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import anyio
import structlog

from taskyard.core.attempts import StreamSize
from taskyard.core.errors import NotFound, StoreDamaged, TaskyardError
from taskyard.core.ids import AttemptId
from taskyard.ports.errors import PortError
from taskyard.ports.logs import LocalLogStore, LogStore, OutputSource, Stream

T = TypeVar("T")
_KEPT: Final = 1024
_LOOK_AGAIN_S: Final = 1.0
"""Seconds after which output that is nowhere yet is looked for again."""

log = structlog.get_logger(__name__)


class LayeredOutput:
    """A ``LogStore`` over several sources.

    ``size``, ``read`` and ``order`` raise ``PortError`` for output beside a control plane that
    cannot be asked for it at present, rather than to say that there is none.

    Args:
        local: output on this machine.
        objects: output that has ended.
        remote: output of what runs beside other control planes, if there are any.
    """

    def __init__(
        self, local: LocalLogStore, objects: OutputSource, remote: OutputSource | None = None
    ) -> None:
        self._local = local
        self._others: Sequence[OutputSource] = (objects,) if remote is None else (objects, remote)
        self._again: Sequence[OutputSource] = () if remote is None else (objects,)
        self._last: OrderedDict[AttemptId, OutputSource] = OrderedDict()
        """Where output was found last: it is looked for there first."""

    async def size(self, attempt_id: AttemptId, stream: Stream) -> StreamSize:
        """See the port."""

        async def ask(source: LogStore | OutputSource) -> StreamSize:
            return await source.size(attempt_id, stream)

        return await self._first(attempt_id, ask, StreamSize())

    async def read(self, attempt_id: AttemptId, stream: Stream, offset: int, length: int) -> bytes:
        """See the port."""

        async def ask(source: LogStore | OutputSource) -> bytes:
            return await source.read(attempt_id, stream, offset, length)

        return await self._first(attempt_id, ask, b"")

    async def order(self, attempt_id: AttemptId, offset: int, length: int) -> bytes | None:
        """See the port."""

        async def ask(source: LogStore | OutputSource) -> bytes | None:
            return await source.order(attempt_id, offset, length)

        return await self._first(attempt_id, ask, None)

    async def changed(
        self, attempt_id: AttemptId, timeout_s: float, seen_bytes: int | None = None
    ) -> bool:
        """See the port."""
        if self._local.holds(attempt_id):
            return await self._local.changed(attempt_id, timeout_s, seen_bytes)
        deadline = anyio.current_time() + timeout_s
        async with anyio.create_task_group() as group:
            answers: list[bool] = []

            async def here() -> None:
                # It may be about to get a directory here; until then there is nothing of it.
                if await self._local.changed(attempt_id, timeout_s, 0):
                    answers.append(True)
                    group.cancel_scope.cancel()

            group.start_soon(here)
            while (now := anyio.current_time()) < deadline:
                if await self._changed_elsewhere(attempt_id, deadline, seen_bytes):
                    answers.append(True)
                    break
                # A source that has it has waited; otherwise one may be about to get it.
                await anyio.sleep_until(min(deadline, now + _LOOK_AGAIN_S))
            group.cancel_scope.cancel()
        return bool(answers)

    async def delete(self, attempt_ids: list[AttemptId]) -> None:
        """See the port."""
        await self._local.delete(attempt_ids)
        for attempt_id in attempt_ids:
            self._last.pop(attempt_id, None)
        for source in self._others:
            try:
                await source.delete(attempt_ids)
            except TaskyardError as error:
                # Their tasks are gone; what is left of them is swept.
                log.warning("output_not_deleted", attempts=len(attempt_ids), reason=str(error))

    async def _changed_elsewhere(
        self, attempt_id: AttemptId, deadline: float, seen_bytes: int | None
    ) -> bool:
        """Whether a source that has it says so before the deadline; False if none has it."""
        for source in self._ordered(attempt_id):
            left_s = max(0.0, deadline - anyio.current_time())
            try:
                return await source.changed(attempt_id, left_s, seen_bytes)
            except NotFound:
                self._last.pop(attempt_id, None)
            except PortError as error:
                log.info("output_not_followed", attempt_id=attempt_id, reason=str(error))
        return False

    def _ordered(self, attempt_id: AttemptId) -> Sequence[OutputSource]:
        """Where to look for output that is not here."""
        last = self._last.get(attempt_id)
        places = (*self._others, *self._again)
        return places if last is None else (last, *places)

    async def _first(
        self,
        attempt_id: AttemptId,
        ask: Callable[[LogStore | OutputSource], Awaitable[T]],
        nothing: T,
    ) -> T:
        """What the first source says that has it; ``nothing`` if none has.

        Raises ``PortError`` if it may be beside a control plane that cannot be asked now.
        """
        damage: StoreDamaged | None = None
        try:
            return await self._here(attempt_id, ask)
        except NotFound:
            pass
        except StoreDamaged as error:
            damage = error
        try:
            return await self._there(attempt_id, ask)
        except (NotFound, PortError) as error:
            if damage is not None:
                raise damage from error
            if isinstance(error, PortError):
                raise
        return await ask(self._local) if self._local.holds(attempt_id) else nothing

    async def _here(
        self, attempt_id: AttemptId, ask: Callable[[LogStore | OutputSource], Awaitable[T]]
    ) -> T:
        """What this machine says; raises ``NotFound`` unless it has the output, still."""
        if self._local.holds(attempt_id):
            answer = await ask(self._local)
            if self._local.holds(attempt_id):
                return answer
        raise NotFound("output", attempt_id)

    async def _there(
        self, attempt_id: AttemptId, ask: Callable[[LogStore | OutputSource], Awaitable[T]]
    ) -> T:
        """What the first other source says that has it.

        Raises ``NotFound`` if none has, ``PortError`` if one cannot be asked that may have it.
        """
        away: PortError | None = None
        for source in self._ordered(attempt_id):
            try:
                answer = await ask(source)
            except NotFound:
                self._last.pop(attempt_id, None)
            except PortError as error:
                away = error
            else:
                self._last[attempt_id] = source
                if len(self._last) > _KEPT:
                    self._last.popitem(last=False)
                return answer
        raise away or NotFound("output", attempt_id)


class AwaitedOutput:
    """A ``LogStore`` for those who wait: what cannot be asked for now is not there yet."""

    def __init__(self, output: LogStore) -> None:
        self._output = output

    async def size(self, attempt_id: AttemptId, stream: Stream) -> StreamSize:
        """See the port."""
        try:
            return await self._output.size(attempt_id, stream)
        except PortError as error:
            _tell(attempt_id, error)
            return StreamSize()

    async def read(self, attempt_id: AttemptId, stream: Stream, offset: int, length: int) -> bytes:
        """See the port."""
        try:
            return await self._output.read(attempt_id, stream, offset, length)
        except PortError as error:
            _tell(attempt_id, error)
            return b""

    async def order(self, attempt_id: AttemptId, offset: int, length: int) -> bytes | None:
        """See the port."""
        try:
            return await self._output.order(attempt_id, offset, length)
        except PortError as error:
            _tell(attempt_id, error)
            return b""

    async def changed(
        self, attempt_id: AttemptId, timeout_s: float, seen_bytes: int | None = None
    ) -> bool:
        """See the port."""
        return await self._output.changed(attempt_id, timeout_s, seen_bytes)

    async def delete(self, attempt_ids: list[AttemptId]) -> None:
        """See the port."""
        await self._output.delete(attempt_ids)


def _tell(attempt_id: AttemptId, error: PortError) -> None:
    log.info("output_not_reached", attempt_id=attempt_id, reason=str(error))
