"""Leads, or follows: what only one control plane of an installation does runs while it leads.

Whether it does is decided in :mod:`taskyard.core.leadership`. Being the leader allows nothing: what
a leader decides is committed on condition of its term, so that one who does not know yet that
another leads changes nothing.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

import anyio
import structlog
from anyio.abc import TaskGroup

from taskyard.core.errors import NotFound, Overloaded, Unavailable
from taskyard.core.ids import Term
from taskyard.core.leadership import (
    FOLLOW_S,
    LEAD_S,
    RENEW_S,
    Hold,
    LeaderState,
    PlaneView,
    next_claim_s,
)
from taskyard.ports.clock import Clock
from taskyard.ports.leadership import LeadershipStore, Plane
from taskyard.services.loops import Loop, keep_running

LEAVE_S: Final = 5.0
"""How long dropping what a leader knew may take."""
RESIGN_S: Final = 2.0
NEVER: Final = Term(0)
"""A term in which nobody ever leads: whatever is committed on condition of it is refused."""
FORGET_S: Final = 24 * 3600.0
"""How long a plane that is gone is still shown."""

TermSource = Callable[[], Term | None]
"""In which term this plane leads; see :attr:`Leadership.term`."""

log = structlog.get_logger(__name__)


def no_term() -> None:
    """The term source of the only control plane there is."""


async def _nothing() -> None:
    """Nothing to learn, nothing to drop."""


def _ignore(_loop: str) -> None:
    """Nobody counts failures."""


@dataclass(frozen=True, slots=True)
class Duties:
    """What only a leader does."""

    enter: Callable[[], Awaitable[None]] = _nothing
    """Learns from the store what the loops have to know. Called again if it failed."""
    loops: Mapping[str, Loop] = field(default_factory=dict)
    """Run after it, each by itself; one that fails is begun again."""
    leave: Callable[[], Awaitable[None]] = _nothing
    """Drops what was learnt, also by a failed ``enter``. Must not need the store."""
    failed: Callable[[str], None] = _ignore
    """Told the name of a loop that failed."""


class Leadership(Protocol):
    """Whether this control plane leads."""

    @property
    def is_leader(self) -> bool:
        """Whether it does now."""
        ...

    @property
    def term(self) -> Term | None:
        """What its decisions are committed on condition of; None: on no condition.

        Also of those that it still takes in the moment after it has ceased to lead.
        """
        ...

    @property
    def leader(self) -> Hold | None:
        """Who led when that was last heard; None if nobody can be another."""
        ...

    async def start(self, duties: Duties, group: TaskGroup) -> None:
        """Have these done in this task group whenever it leads, until the group is cancelled."""
        ...


class AlwaysLeader:
    """The only control plane of its store. It asks nobody, and its commits have no condition."""

    is_leader: Final = True
    term: Final = None
    leader: Final = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def start(self, duties: Duties, group: TaskGroup) -> None:
        """See the protocol. Returns once everything is learnt; raises what that raises."""
        await duties.enter()
        for name, loop in duties.loops.items():
            group.start_soon(keep_running, name, loop, self._clock, duties.failed)


class ElectedLeader:
    """One of several control planes.

    Args:
        store: keeps the hold.
        plane: this one.
        clock: for pauses.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        store: LeadershipStore,
        plane: Plane,
        clock: Clock,
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._plane = plane
        self._clock = clock
        self._monotonic = monotonic
        self._view = PlaneView(plane.id)
        self._seen: Hold | None = None
        self._changed = anyio.Event()
        self._watchers: list[Callable[[Hold], None]] = []

    @property
    def is_leader(self) -> bool:
        """See the protocol."""
        return self._view.leads(self._monotonic())

    @property
    def term(self) -> Term:
        """See the protocol."""
        return self._view.term or NEVER

    @property
    def leader(self) -> Hold | None:
        """See the protocol."""
        return self._seen

    def watch(self, watcher: Callable[[Hold], None]) -> None:
        """Call this whenever another term has begun, of this plane or another."""
        self._watchers.append(watcher)

    async def start(self, duties: Duties, group: TaskGroup) -> None:
        """See the protocol. Registers the plane first; raises as the store does."""
        await self._store.register(self._plane)
        await self._store.forget(FORGET_S)
        group.start_soon(self.run, duties)

    async def run(self, duties: Duties) -> None:
        """Do these whenever it leads, until cancelled; then let the next one lead at once."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._claim)
            group.start_soon(
                partial(
                    keep_running,
                    "leadership",
                    partial(self._reign, duties),
                    self._clock,
                    duties.failed,
                )
            )

    async def _claim(self) -> None:
        """Ask for the hold, again and again."""
        while True:
            await self._clock.sleep(await self._ask())
            while self._view.state is LeaderState.LOST:
                await self._changed.wait()

    async def _ask(self) -> float:
        """Ask for the hold once; how many seconds to wait then."""
        asked_at, term = self._monotonic(), self._view.term
        try:
            with anyio.fail_after(LEAD_S):
                answer = await self._store.claim(self._plane.id, term)
        except NotFound:
            return await self._register()
        except (Unavailable, Overloaded, TimeoutError) as error:
            log.warning("leadership_unknown", leads=self.is_leader, reason=repr(error))
            return RENEW_S
        self._see(answer.hold)
        self._set(self._view.answered(answer.hold, asked_at, self._monotonic()))
        return next_claim_s(answer.hold, self._plane.id, answer.now)

    async def _register(self) -> float:
        """It was silent for so long that it was forgotten."""
        try:
            await self._store.register(self._plane)
        except (Unavailable, Overloaded) as error:
            log.warning("plane_not_registered", reason=repr(error))
            return FOLLOW_S
        return 0.0

    def _see(self, hold: Hold) -> None:
        before, self._seen = self._seen, hold
        if before is None or before.term != hold.term:
            log.info("leader_changed", leader=hold.plane_id, term=hold.term)
            for watcher in self._watchers:
                watcher(hold)

    def _set(self, view: PlaneView) -> None:
        if view != self._view:
            self._view = view
            self._changed.set()
            self._changed = anyio.Event()

    async def _reign(self, duties: Duties) -> None:
        """Do the duties each time that it leads, until cancelled."""
        while True:
            while self._view.state is not LeaderState.LEADING:
                await self._changed.wait()
            term = self._view.term
            log.info("leading", term=term)
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(
                        keep_running,
                        "leading",
                        partial(self._do, duties),
                        self._clock,
                        duties.failed,
                    )
                    await self._until_lost()
                    group.cancel_scope.cancel()
            finally:
                with anyio.CancelScope(shield=True):
                    await self._leave(term)

    async def _do(self, duties: Duties) -> None:
        try:
            await duties.enter()
            async with anyio.create_task_group() as group:
                for name, loop in duties.loops.items():
                    group.start_soon(keep_running, name, loop, self._clock, duties.failed)
        finally:
            with anyio.move_on_after(LEAVE_S, shield=True):
                await duties.leave()

    async def _until_lost(self) -> None:
        while self._view.state is LeaderState.LEADING:
            left_s = self._view.leads_until - self._monotonic()
            if left_s > 0:
                await self._sleep(left_s)
            self._set(self._view.at(self._monotonic()))

    async def _sleep(self, seconds: float) -> None:
        """Sleep so long, or until the view changes."""
        async with anyio.create_task_group() as group:

            async def until_changed() -> None:
                await self._changed.wait()
                group.cancel_scope.cancel()

            group.start_soon(until_changed)
            await self._clock.sleep(seconds)
            group.cancel_scope.cancel()

    async def _leave(self, term: Term | None) -> None:
        """All that only a leader does has stopped: let another one lead."""
        if self._view.state is LeaderState.LEADING:
            self._set(self._view.lapsed())
        if term is not None:
            with anyio.move_on_after(RESIGN_S):
                await self._resign(term)
        log.info("not_leading", term=term)
        self._set(self._view.left())

    async def _resign(self, term: Term) -> None:
        try:
            await self._store.resign(self._plane.id, term)
        except (Unavailable, Overloaded) as error:
            # It runs out by itself.
            log.warning("not_resigned", term=term, reason=repr(error))
