"""The warm processes of one version of one function."""

import asyncio
import os
import shutil
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import anyio.to_thread
import structlog

from taskyard.core.attempts import Survivor
from taskyard.runtimes.function.cages import Cages, Tree
from taskyard.runtimes.function.channel import Channel, datagrams
from taskyard.runtimes.function.limits import PoolKey, PoolLimits
from taskyard.runtimes.function.manifest import Manifest
from taskyard.runtimes.function.member import Answer, Call, Member

_log = structlog.get_logger(__name__)

_BUSY_S: Final = 0.01
"""A member that has been at one call for this long is not about to be free."""
_AHEAD: Final = 2
"""Members made at once when there are none: one for the call, one for the next; and how many are
kept in reserve where each is used up soon."""


class Host(Protocol):
    """What a pool needs of the runtime it belongs to."""

    cages: Cages
    limits: PoolLimits

    def number(self) -> int:
        """A number for a new process."""
        ...

    def make(self, order: dict[str, Any], attached: socket.socket, pool: "Pool") -> None:
        """Have the nursery make a process of this pool."""
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

    def failed(self, pool: "Pool", calls: list[Call], text: str, *, late: bool) -> None:
        """The pool cannot run these, now or ever; it is to be forgotten."""
        ...


class Zygote:
    """The process that forks members of this pool."""

    def __init__(self, number: int, directory: Path, tree: Tree) -> None:
        self.number = number
        self.directory = directory
        self.tree = tree
        self.channel: Channel | None = None
        self.ready = asyncio.Event()


class Pool:
    """Members, ready or busy, and the calls that wait for one."""

    def __init__(
        self, key: PoolKey, host: Host, manifest: Manifest, place: Path, run: Path
    ) -> None:
        """``place`` is the version's directory, ``run`` where processes have theirs."""
        self.key = key
        self.waiting: deque[Call] = deque()
        self.members: dict[int, Member] = {}
        self.idle: list[Member] = []
        """Free ones; the last used is used next, so that the others can go."""
        self.used_at = 0.0
        self._host = host
        self._manifest = manifest
        self._place = place
        self._run = run
        self._zygote: Zygote | None = None
        self._making_zygote = asyncio.Lock()
        self._direct = bool(manifest.program)
        self._births = 0
        self._birth_since = 0.0
        self._closed = False

    def offer(self, call: Call) -> None:
        """Run a call, at once if a member is free."""
        self.used_at = call.offered_at
        while self.idle:
            member = self.idle.pop()
            if not member.retired:
                self._host.give(member, call)
                return
        self.waiting.append(call)
        if len(self.members) + self._births == 0:
            self.grow(call.offered_at, _AHEAD)

    def free(self, member: Member, now: float) -> None:
        """A member can take the next call."""
        if member.retired or self._closed:
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
            self._fail(f"the function was not ready within {limits.warmup_s:g} s", late=True)
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
        self._host.spawn(_remove, member.tree, member.directory)

    def close(self) -> None:
        """Hang up on everybody."""
        self._closed = True
        for member in list(self.members.values()):
            member.retired = True
            member.hang_up()
        self.idle.clear()
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            if zygote.channel is not None:
                zygote.channel.close()
            zygote.ready.set()
            self._host.spawn(_end_zygote, zygote)

    def heard(self, said: dict[str, Any]) -> None:
        """What the nursery, or the zygote, says about a process of this pool."""
        if "failed" in said:
            self._fail(str(said["failed"]))
        elif "forks" in said:
            if not said["forks"]:
                # Threads do not survive a fork: each member imports the handler by itself.
                self._direct = True
            if self._zygote is not None:
                self._zygote.ready.set()
        elif "born" in said:
            member = self.members.get(said["born"])
            if member is not None:
                member.pid = int(said["pid"])
                member.tree.born(member.pid)
            elif self._zygote is not None and said["born"] == self._zygote.number:
                self._zygote.tree.born(int(said["pid"]))
        elif "exited" in said:
            self._exited(said["exited"], int(said["status"]))

    def _exited(self, number: object, status: int) -> None:
        member = self.members.get(number) if isinstance(number, int) else None
        if member is not None:
            member.status = status
            member.gone.set()
            self._over(member)
        elif self._zygote is not None and number == self._zygote.number:
            self._fail(f"the function's process ended before it was ready ({_how(status)})")

    def _over(self, member: Member) -> None:
        was_ready = member.ready
        self._host.gone(member)
        if not was_ready and not any(one.ready for one in self.members.values()):
            how = "" if member.status is None else f" ({_how(member.status)})"
            self._fail(f"the function's process ended before it was ready{how}")

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
            self._host.spawn(self._end_member, member)

    async def _end_member(self, member: Member) -> None:
        with anyio.move_on_after(0.25 if not member.retired else 2.0):
            await member.gone.wait()
        await anyio.to_thread.run_sync(kill_all, member.tree)
        with anyio.move_on_after(0.5):
            await member.gone.wait()
        if not member.gone.is_set():
            # Its zygote is gone, which nobody can wait for in its stead.
            member.gone.set()
            self._over(member)

    def _fail(self, text: str, *, late: bool = False) -> None:
        if self._closed:
            return
        calls = list(self.waiting)
        self.waiting.clear()
        self._host.failed(self, calls, text, late=late)

    async def _make_member(self) -> None:
        member: Member | None = None
        try:
            async with self._making_zygote:
                if not self._direct and self._zygote is None and not self._closed:
                    await self._make_zygote()
            zygote = self._zygote
            if zygote is not None:
                await zygote.ready.wait()
            if self._closed:
                return
            number = self._host.number()
            directory = self._run / str(number)
            tree = await anyio.to_thread.run_sync(self._prepare, directory)
            ours, theirs = socket.socketpair()
            member = Member(
                self,
                number,
                directory,
                tree,
                self._heard_member,
                self._hung_up,
                self._host.limits.result_bytes,
            )
            self.members[number] = member
            ours.setblocking(False)
            made = member
            try:
                await asyncio.get_running_loop().create_unix_connection(lambda: made, sock=ours)
            except BaseException:
                # The runtime may close while processes are being made; our end the loop closes.
                theirs.close()
                raise
            order = self._order(number, directory, tree)
            if self._direct or zygote is None or zygote.channel is None:
                self._host.make(order, theirs, self)
            else:
                zygote.channel.send(order, theirs)
        except OSError as error:
            if member is None:
                self._births -= 1
            else:
                self.take_out(member)
            self._fail(f"no process could be made: {error}")

    async def _make_zygote(self) -> None:
        number = self._host.number()
        directory = self._run / str(number)
        tree = await anyio.to_thread.run_sync(self._prepare, directory)
        zygote = Zygote(number, directory, tree)
        if self._closed:
            await _end_zygote(zygote)
            return
        self._zygote = zygote
        ours, theirs = datagrams()
        zygote.channel = Channel(ours, self.heard, lambda: self._lost_zygote(zygote))
        order = self._order(number, zygote.directory, zygote.tree)
        self._host.make({**order, "direct": False}, theirs, self)

    def _lost_zygote(self, zygote: Zygote) -> None:
        if self._zygote is not zygote:
            return
        _log.warning("zygote lost", function=self.key.function_id, version=self.key.version)
        self._fail("the function's process ended")

    def _prepare(self, directory: Path) -> Tree:
        directory.mkdir(mode=0o700, parents=True)
        limits = self._host.limits
        memory = self.key.memory_bytes or limits.memory_bytes
        return self._host.cages.new(memory, self.key.cpu_millis, limits.pids)

    def _order(self, number: int, directory: Path, tree: Tree) -> dict[str, Any]:
        manifest, limits = self._manifest, self._host.limits
        memory = self.key.memory_bytes or limits.memory_bytes
        work = str(directory / "work")
        order: dict[str, Any] = {
            "number": number,
            "direct": True,
            "cage": tree.doors(),
            "data_bytes": None if self._host.cages.limits_memory else memory,
            "output": str(directory),
            "work": work,
            "code": str(self._place / "code"),
            "handler": manifest.handler,
            "entry": manifest.entry,
            "packages": [str(self._place / one) for one in manifest.packages],
            "result_bytes": limits.result_bytes,
            "env": {
                "PATH": os.defpath + ":/usr/local/bin",
                "HOME": work,
                "TMPDIR": work,
                "LANG": "C.UTF-8",
                "TASKYARD_WORKSPACE": self.key.workspace,
                "TASKYARD_FUNCTION": self.key.function_id,
                "TASKYARD_VERSION": str(self.key.version),
            },
        }
        if manifest.program:
            order["argv"] = manifest.command(self._place)
            order["env"] |= {
                "TASKYARD_CODE": order["code"],
                "TASKYARD_HANDLER": manifest.handler,
                "TASKYARD_ENTRY": manifest.entry,
                "TASKYARD_OUTPUT": order["output"],
                "TASKYARD_RESULT_BYTES": str(limits.result_bytes),
            }
        return order


def kill_all(tree: Tree) -> tuple[int, list[Survivor]]:
    """Kill a tree and wait for its end; how many were alive, and who still is. Blocks."""
    count = tree.kill()
    return count, tree.survivors()


async def _end_zygote(zygote: Zygote) -> None:
    await _remove(zygote.tree, zygote.directory)


async def _remove(tree: Tree, directory: Path) -> None:
    def remove() -> None:
        kill_all(tree)
        tree.remove()
        shutil.rmtree(directory, ignore_errors=True)

    await anyio.to_thread.run_sync(remove)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"
