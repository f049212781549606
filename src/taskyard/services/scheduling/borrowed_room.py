"""Room that the leader lends to this control plane, for tasks that it is about to store.

What callers ask for while an answer is awaited goes to the leader in one message. A message may be
lost: whoever asked goes on as if nobody led, and the task queues.

Groups that are paused are remembered for a moment, and nothing is asked for them: whatever is
submitted to one has to queue. Should one be resumed meanwhile, its tasks are placed by the leader.
"""

import asyncio
from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

import anyio
import msgspec
import structlog
from msgspec import Struct

from taskyard.core.errors import TaskyardError
from taskyard.core.ids import AttemptId
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.requirements import ReadyTask
from taskyard.ports.dispatching import Placement
from taskyard.ports.messages import LEADER, Messages
from taskyard.ports.scheduler import ANSWERS_S

LEND: Final = "scheduler_lend"
RETURN: Final = "scheduler_return"
"""What the requests are for."""
LENDS_S: Final = 0.25
"""A submit waits no longer for room; its task then queues."""
NO_ROOM_S: Final = 0.02
"""For how long no room is asked for in a group after there was none."""
NO_ANSWER_S: Final = 1.0
"""The same in all groups after no answer came."""
PAUSED_S: Final = 1.0
"""For how long no room is asked for in a paused group, unless limits or pauses change before."""
AT_ONCE: Final = 256
"""Tasks of one request."""
GROUPS_KEPT: Final = 1_000
"""Groups of which it is remembered that there was no room; then those of the past are dropped."""

log = structlog.get_logger(__name__)


class Lent(Struct, frozen=True, array_like=True):
    """What the leader answers."""

    placements: list[Placement | None]
    """For each task that was asked about; None if it has to queue."""
    paused: list[QueueKey] = []
    """Groups of these tasks that are paused."""


encode: Final = msgspec.msgpack.Encoder().encode
wanted_tasks: Final = msgspec.msgpack.Decoder(list[ReadyTask]).decode
returned: Final = msgspec.msgpack.Decoder(list[AttemptId]).decode
_lent: Final = msgspec.msgpack.Decoder(Lent).decode

_Answer = asyncio.Future[Placement | None]
_Wanted = tuple[ReadyTask, _Answer]


class BorrowedRoom:
    """Implements ``plane_placing.Lender`` where another plane leads.

    Args:
        messages: reach the leader.
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._is_running = False
        self._wanted: list[_Wanted] = []
        self._unused: list[AttemptId] = []
        """Lent for callers that had gone by then."""
        self._news = asyncio.Event()
        self._asks_from = 0.0
        self._groups: dict[QueueKey, float] = {}
        """In which nothing is asked for, and until when."""

    async def lend(self, task: ReadyTask) -> Placement | None:
        """See ``plane_placing.Lender``."""
        now = anyio.current_time()
        if not self._is_running or now < self._asks_from:
            return None
        if self._groups and now < self._groups.get(QueueKey(task.workspace, task.group), 0.0):
            return None
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._wanted.append((task, answer))
        self._news.set()
        try:
            return await answer
        except BaseException:
            if answer.done() and not answer.cancelled():
                self._return(answer.result())
            raise

    async def give_back(self, attempt_ids: Sequence[AttemptId]) -> None:
        """See ``plane_placing.Lender``."""
        try:
            await self._messages.request(LEADER, RETURN, encode(attempt_ids), ANSWERS_S)
        except TaskyardError as error:
            log.info("room_not_given_back", reason=str(error))

    def limits_changed(self) -> None:
        """Limits or pauses of groups have changed, and the leader knows."""
        self._groups.clear()

    async def run(self) -> None:
        """Ask the leader, until cancelled; nobody is asked while this does not run."""
        self._is_running = True
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._wanted:
                    asked, self._wanted = self._wanted[:AT_ONCE], self._wanted[AT_ONCE:]
                    await self._ask(asked)
                if self._unused:
                    unused, self._unused = self._unused, []
                    await self.give_back(unused)
        finally:
            self._is_running = False
            self._settle_all()

    async def _ask(self, asked: Sequence[_Wanted]) -> None:
        lent = Lent([])
        try:
            payload = encode([task for task, _ in asked])
            lent = _lent(await self._messages.request(LEADER, LEND, payload, LENDS_S))
        except (TaskyardError, msgspec.DecodeError):
            self._asks_from = anyio.current_time() + NO_ANSWER_S
            # Those that came meanwhile would wait for as long.
            self._settle_all()
        else:
            self._remember(asked, lent)
        finally:
            self._settle(asked, lent.placements)

    def _remember(self, asked: Sequence[_Wanted], lent: Lent) -> None:
        """Ask no more for a moment in groups in which there was no room."""
        now, paused = anyio.current_time(), set(lent.paused)
        if len(self._groups) > GROUPS_KEPT:
            self._groups = {key: until for key, until in self._groups.items() if until > now}
        for (task, _), placement in zip(asked, lent.placements, strict=False):
            if placement is None:
                key = QueueKey(task.workspace, task.group)
                self._groups[key] = now + (PAUSED_S if key in paused else NO_ROOM_S)

    def _settle_all(self) -> None:
        wanted, self._wanted = self._wanted, []
        self._settle(wanted, [])

    def _settle(self, asked: Sequence[_Wanted], placements: Sequence[Placement | None]) -> None:
        for (_, answer), placement in zip_longest(asked, placements[: len(asked)]):
            if not answer.done():
                answer.set_result(placement)
            else:
                self._return(placement)

    def _return(self, placement: Placement | None) -> None:
        """Nobody is there to use this."""
        if placement is not None:
            self._unused.append(placement.attempt_id)
            self._news.set()
