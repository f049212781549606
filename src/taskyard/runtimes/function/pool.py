"""The warm members of one version of one function: how many there are, and who gets which call."""

import asyncio
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import anyio

from taskyard.core.attempts import Survivor
from taskyard.core.states import Reason
from taskyard.runtimes.function.containment import Tree
from taskyard.runtimes.function.instance import Answer, Call, Member
from taskyard.runtimes.function.limits import PoolKey, PoolLimits

_BUSY_S: Final = 0.01
"""A member that has been at one call for this long is not about to be free."""
_AHEAD: Final = 2
"""Members made at once when there are none: one for the call, one for the next; and how many are
kept in reserve where each is used up soon."""
_RETIRE_S: Final = 2.0
"""Seconds a member gets to end by itself when it is not needed any more."""


class Host(Protocol):
    """What a pool needs of the runtime it belongs to."""

    limits: PoolLimits

    def number(self) -> int:
        """A number for a new member."""
        ...

    def spawn(self, work: Callable[..., Any], *arguments: object) -> None:
        """Run a coroutine in the background."""
        ...

    def give(self, member: Member, call: Call) -> None:
        """Hand a call to a member that is free."""
        ...

    def heard(self, member: Member, said: Answer, payload: bytes) -> None:
        """A member says something about its call."""
        ...

    def gone(self, member: Member) -> None:
        """A member's process is over, or cannot be talked to."""
        ...

    def failed(self, pool: "Pool", calls: list[Call], text: str, reason: Reason) -> None:
        """The pool cannot run these, now or ever; it is to be forgotten."""
        ...


class Pool(ABC):
    """Members, ready or busy, and the calls that wait for one."""

    linger_s = 0.25
    """Seconds a member gets to end by itself when it has hung up."""
    most_births = 1 << 30
    """Members made at the same time at most."""

    def __init__(self, key: PoolKey, host: Host) -> None:
        self.key = key
        self.waiting: deque[Call] = deque()
        self.members: dict[int, Member] = {}
        self.idle: list[Member] = []
        """Free ones; the last used is used next, so that the others can go."""
        self.used_at = 0.0
        self._host = host
        self._births = 0
        self._birth_since = 0.0
        self._closed = False

    def offer(self, call: Call) -> None:
        """Run a call, at once if a member is free."""
        self.used_at = call.offered_at
        while self.idle:
            member = self.idle.pop()
            if not (member.retired or member.hung_up):
                self._host.give(member, call)
                return
        self.waiting.append(call)
        if len(self.members) + self._births == 0:
            self.grow(call.offered_at, _AHEAD)

    def free(self, member: Member, now: float) -> None:
        """A member can take the next call."""
        if member.retired or self._closed:
            return
        if member.hung_up or member.gone.is_set():
            # It ended right behind its answer. Whoever sees it end takes it out, or did already.
            if member.gone.is_set():
                self.take_out(member)
            self.look(now)
            return
        if member.calls >= self._host.limits.calls:
            self.retire(member)
            if len(self.idle) + self._births < _AHEAD:
                # Made while nobody waits for it.
                self.grow(now, 1)
            self.look(now)
            return
        if self.waiting:
            self._host.give(member, self.waiting.popleft())
        else:
            member.idle_since = now
            self.used_at = now
            self.idle.append(member)

    def look(self, now: float) -> None:
        """Grow if calls wait for nobody; shrink what is idle. Called now and then."""
        limits = self._host.limits
        if self._births and now > self._birth_since + limits.warmup_s:
            self._too_late(f"the function was not ready within {limits.warmup_s:g} s")
            return
        if self.waiting and not self._births and len(self.members) < limits.processes:
            held = [one for one in self.members.values() if one.call is not None]
            if all(one.call is not None and now > one.call.given_at + _BUSY_S for one in held):
                self.grow(now, max(1, min(len(self.waiting), len(held))))
        while self.idle and now > self.idle[0].idle_since + limits.idle_s:
            self.retire(self.idle[0])

    def is_spent(self, now: float) -> bool:
        """Whether nobody has used it for long."""
        busy = self.members or self.waiting or self._births
        return not busy and now > self.used_at + 5 * self._host.limits.idle_s

    def grow(self, now: float, count: int) -> None:
        """Have more members made."""
        count = min(count, self._host.limits.processes - len(self.members) - self._births)
        count = min(count, self.most_births - self._births)
        for _ in range(count):
            if not self._births:
                self._birth_since = now
            self._births += 1
            self._host.spawn(self._make_member)

    def retire(self, member: Member) -> None:
        """Let a member go that has no call."""
        member.retired = True
        if member in self.idle:
            self.idle.remove(member)
        member.hang_up()

    def take_out(self, member: Member) -> None:
        """A member is over."""
        member.retired = True
        if member in self.idle:
            self.idle.remove(member)
        if self.members.pop(member.number, None) is not None and not member.ready:
            self._births -= 1
        if member.output is not None:
            member.output.close()
        self._host.spawn(member.body.remove)

    def close(self) -> None:
        """Hang up on everybody."""
        self._closed = True
        for member in list(self.members.values()):
            member.retired = True
            member.hang_up()
        self.idle.clear()

    def _over(self, member: Member) -> None:
        was_ready = member.ready
        self._host.gone(member)
        if not was_ready and not any(one.ready for one in self.members.values()):
            self._fail(*self._stillborn(member))

    def _stillborn(self, member: Member) -> tuple[str, Reason]:
        """What to say of a function whose first member ended before it was ready, and whose fault
        it is.
        """
        told = "" if member.status is None else f" ({how(member.status)})"
        text = f"the function's process ended before it was ready{told}"
        return text, Reason.FUNCTION_ERROR

    def _heard_member(self, member: Member, said: Answer, payload: bytes) -> None:
        if "ready" in said and not member.ready:
            member.ready = True
            self._births -= 1
            self.free(member, asyncio.get_running_loop().time())
        elif "failed" in said:
            self._fail(str(said["failed"]))
        else:
            self._host.heard(member, said, payload)

    def _hung_up(self, member: Member) -> None:
        if member.number in self.members and not member.gone.is_set():
            # It may have closed its socket and live on.
            patience_s = _RETIRE_S if member.retired else self.linger_s
            asyncio.get_running_loop().call_later(patience_s, self._lingers, member)

    def _lingers(self, member: Member) -> None:
        # Nearly every member has ended long since, and needs no task of its own.
        if not member.gone.is_set():
            self._host.spawn(self._end_member, member)

    async def _end_member(self, member: Member) -> None:
        await member.body.kill()
        with anyio.move_on_after(0.5):
            await member.gone.wait()
        if not member.gone.is_set():
            # Its zygote is gone, which nobody can wait for in its stead.
            member.gone.set()
            self._over(member)

    def _too_late(self, text: str) -> None:
        """No member became ready in time."""
        self._fail(text, Reason.TIMEOUT)

    def _fail(self, text: str, reason: Reason = Reason.FUNCTION_ERROR) -> None:
        if self._closed:
            return
        calls = list(self.waiting)
        self.waiting.clear()
        self._host.failed(self, calls, text, reason)

    @abstractmethod
    async def _make_member(self) -> None:
        """Make one more, or fail the pool; one of the births under way is its own."""
        ...


def kill_all(tree: Tree) -> tuple[int, list[Survivor]]:
    """Kill a tree and wait for its end; how many were alive, and who still is. Blocks."""
    count = tree.kill()
    return count, tree.survivors()


def how(status: int) -> str:
    """How a process ended, in words; ``status`` as ``os.waitpid`` gives it."""
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"
