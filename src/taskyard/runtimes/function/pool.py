"""The warm instances of one version of a function: how many, and which call goes to which."""

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
from taskyard.runtimes.function.instance import Answer, Call, Instance
from taskyard.runtimes.function.limits import PoolKey, PoolLimits

_BUSY_S: Final = 0.01
"""An instance that has been at one call for this long is not about to be free."""
_AHEAD: Final = 2
"""Instances made at once when there are none: one for the call, one for the next; and how many are
kept in reserve where each is used up soon."""
_RETIRE_S: Final = 2.0
"""Seconds an instance gets to end by itself when it is not needed any more."""


class Host(Protocol):
    """What a pool needs of the runtime it belongs to."""

    limits: PoolLimits

    def number(self) -> int:
        """A number for a new instance."""
        ...

    def spawn(self, work: Callable[..., Any], *arguments: object) -> None:
        """Run a coroutine in the background."""
        ...

    def give(self, instance: Instance, call: Call) -> None:
        """Hand a call to an instance that is free."""
        ...

    def heard(self, instance: Instance, said: Answer, payload: bytes) -> None:
        """An instance says something about its call."""
        ...

    def gone(self, instance: Instance) -> None:
        """An instance's process is over, or cannot be talked to."""
        ...

    def failed(self, pool: "Pool", calls: list[Call], text: str, reason: Reason) -> None:
        """The pool cannot run these, now or ever; it is to be forgotten."""
        ...


class Pool(ABC):
    """Instances, ready or busy, and the calls that wait for one."""

    linger_s = 0.25
    """Seconds an instance gets to end by itself when it has hung up."""
    most_births = 1 << 30
    """Instances made at the same time at most."""

    def __init__(self, key: PoolKey, host: Host) -> None:
        self.key = key
        self.waiting: deque[Call] = deque()
        self.instances: dict[int, Instance] = {}
        self.idle: list[Instance] = []
        """Free ones; the last used is used next, so that the others can go."""
        self.used_at = 0.0
        self._host = host
        self._starting = 0
        self._birth_since = 0.0
        self._closed = False

    def offer(self, call: Call) -> None:
        """Run a call, at once if an instance is free."""
        self.used_at = call.offered_at
        while self.idle:
            instance = self.idle.pop()
            if not (instance.retired or instance.hung_up):
                self._host.give(instance, call)
                return
        self.waiting.append(call)
        if len(self.instances) + self._starting == 0:
            self.grow(call.offered_at, _AHEAD)

    def free(self, instance: Instance, now: float) -> None:
        """An instance can take the next call."""
        if instance.retired or self._closed:
            return
        if instance.hung_up or instance.gone.is_set():
            # It ended right behind its answer. Whoever sees it end takes it out, or did already.
            if instance.gone.is_set():
                self.take_out(instance)
            self.look(now)
            return
        if instance.calls >= self._host.limits.calls:
            self.retire(instance)
            if len(self.idle) + self._starting < _AHEAD:
                # Made while nobody waits for it.
                self.grow(now, 1)
            self.look(now)
            return
        if self.waiting:
            self._host.give(instance, self.waiting.popleft())
        else:
            instance.idle_since = now
            self.used_at = now
            self.idle.append(instance)

    def look(self, now: float) -> None:
        """Grow if calls wait for nobody; shrink what is idle. Called now and then."""
        limits = self._host.limits
        if self._starting and now > self._birth_since + limits.warmup_s:
            self._too_late(f"the function was not ready within {limits.warmup_s:g} s")
            return
        if self.waiting and not self._starting and len(self.instances) < limits.processes:
            held = [one for one in self.instances.values() if one.call is not None]
            if all(one.call is not None and now > one.call.given_at + _BUSY_S for one in held):
                self.grow(now, max(1, min(len(self.waiting), len(held))))
        while self.idle and now > self.idle[0].idle_since + limits.idle_s:
            self.retire(self.idle[0])

    def is_spent(self, now: float) -> bool:
        """Whether nobody has used it for long."""
        busy = self.instances or self.waiting or self._starting
        return not busy and now > self.used_at + 5 * self._host.limits.idle_s

    def grow(self, now: float, count: int) -> None:
        """Have more instances made."""
        count = min(count, self._host.limits.processes - len(self.instances) - self._starting)
        count = min(count, self.most_births - self._starting)
        for _ in range(count):
            if not self._starting:
                self._birth_since = now
            self._starting += 1
            self._host.spawn(self._make_instance)

    def retire(self, instance: Instance) -> None:
        """Let an instance go that has no call."""
        instance.retired = True
        if instance in self.idle:
            self.idle.remove(instance)
        instance.hang_up()

    def take_out(self, instance: Instance) -> None:
        """An instance is over."""
        instance.retired = True
        if instance in self.idle:
            self.idle.remove(instance)
        if self.instances.pop(instance.number, None) is not None and not instance.ready:
            self._starting -= 1
        if instance.output is not None:
            instance.output.close()
        self._host.spawn(instance.body.remove)

    def close(self) -> None:
        """Hang up on everybody."""
        self._closed = True
        for instance in list(self.instances.values()):
            instance.retired = True
            instance.hang_up()
        self.idle.clear()

    def _over(self, instance: Instance) -> None:
        was_ready = instance.ready
        self._host.gone(instance)
        if not was_ready and not any(one.ready for one in self.instances.values()):
            self._fail(*self._failed_to_start(instance))

    def _failed_to_start(self, instance: Instance) -> tuple[str, Reason]:
        """What to say of a function whose first instance ended before it was ready, and whose fault
        it is.
        """
        told = "" if instance.status is None else f" ({how(instance.status)})"
        text = f"the function's process ended before it was ready{told}"
        return text, Reason.FUNCTION_ERROR

    def _heard_instance(self, instance: Instance, said: Answer, payload: bytes) -> None:
        if "ready" in said and not instance.ready:
            instance.ready = True
            self._starting -= 1
            self.free(instance, asyncio.get_running_loop().time())
        elif "failed" in said:
            self._fail(str(said["failed"]))
        else:
            self._host.heard(instance, said, payload)

    def _hung_up(self, instance: Instance) -> None:
        if instance.number in self.instances and not instance.gone.is_set():
            # It may have closed its socket and live on.
            patience_s = _RETIRE_S if instance.retired else self.linger_s
            asyncio.get_running_loop().call_later(patience_s, self._lingers, instance)

    def _lingers(self, instance: Instance) -> None:
        # Nearly every instance has ended long since, and needs no task of its own.
        if not instance.gone.is_set():
            self._host.spawn(self._end_instance, instance)

    async def _end_instance(self, instance: Instance) -> None:
        await instance.body.kill()
        with anyio.move_on_after(0.5):
            await instance.gone.wait()
        if not instance.gone.is_set():
            # Its zygote is gone, which nobody can wait for in its stead.
            instance.gone.set()
            self._over(instance)

    def _too_late(self, text: str) -> None:
        """No instance became ready in time."""
        self._fail(text, Reason.TIMEOUT)

    def _fail(self, text: str, reason: Reason = Reason.FUNCTION_ERROR) -> None:
        if self._closed:
            return
        calls = list(self.waiting)
        self.waiting.clear()
        self._host.failed(self, calls, text, reason)

    @abstractmethod
    async def _make_instance(self) -> None:
        """Make one more, or fail the pool; one of the starting under way is its own."""
        ...


def kill_all(tree: Tree) -> tuple[int, list[Survivor]]:
    """Kill a tree and wait for its end; how many were alive, and who still is. Blocks."""
    count = tree.kill()
    return count, tree.survivors()


def how(status: int) -> str:
    """How a process ended, in words; ``status`` as ``os.waitpid`` gives it."""
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"
