"""A pool whose instances are processes on this machine."""

import asyncio
import os
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread
import structlog

from taskyard.core.states import Reason
from taskyard.runtimes.function.adopting import NotItsChild, adopt
from taskyard.runtimes.function.channel import Attached, Channel, datagrams
from taskyard.runtimes.function.containment import ProcessTrees, Tree
from taskyard.runtimes.function.instance import Answer, Instance
from taskyard.runtimes.function.instance_output import Descriptor, MemberOutput
from taskyard.runtimes.function.limits import PoolKey
from taskyard.runtimes.function.manifest import Manifest
from taskyard.runtimes.function.ownership import ids, make_private
from taskyard.runtimes.function.pool import Host, Pool, how
from taskyard.runtimes.function.process_body import TreeBody, Zygote, discard_directory
from taskyard.runtimes.function.sandboxed_fork_server import SandboxedForkServer

_log = structlog.get_logger(__name__)


class ProcessHost(Host, Protocol):
    """What such a pool needs of the runtime it belongs to."""

    process_trees: ProcessTrees

    def make(
        self, order: dict[str, Any], attached: Sequence[Attached], pool: "ProcessPool"
    ) -> None:
        """Have the fork server make a process of this pool."""
        ...

    def output(self) -> MemberOutput:
        """What a new process prints. Raises ``OSError``."""
        ...

    def unheard(self) -> None:
        """The fork server does not make what it was told to: it hangs, and has to be replaced."""
        ...

    def lost(self, pool: "ProcessPool") -> None:
        """All processes of a pool have died with the sandbox that they were in."""
        ...


class ProcessPool(Pool):
    """Instances that a zygote forks, or that the fork server makes."""

    def __init__(
        self,
        key: PoolKey,
        host: ProcessHost,
        manifest: Manifest,
        place: Path,
        run: Path,
        sandbox: SandboxedForkServer | None = None,
    ) -> None:
        """``place`` is the version's directory, ``run`` where processes have theirs.

        With a ``sandbox``, which is to be opened, that makes the processes. It is closed with this.
        """
        super().__init__(key, host)
        self._processes = host
        self._manifest = manifest
        self._place = place
        self._run = run
        self._sandbox = sandbox
        self._user = os.geteuid() if sandbox is not None else key.identity.uid
        """Of instances that may not enter cgroups themselves; None if they may."""
        self._zygote: Zygote | None = None
        self._making_zygote = asyncio.Lock()
        self._direct = bool(manifest.program)
        self._outside: dict[int, bool] = {}
        """Instances that a zygote of another user, or in a sandbox, was asked for, and that are not
        in their cgroups yet; with whether they said that they are ready."""
        self._adopting: set[int] = set()
        """Those of them that are just being moved."""

    async def open(self) -> None:
        """Start the sandbox, if there is one. Raises ``RuntimeUnavailable``, ``OSError``."""
        if self._sandbox is not None:
            await self._sandbox.start(self.heard, self._lost_sandbox)

    def close(self) -> None:
        """See the base."""
        super().close()
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            if zygote.channel is not None:
                zygote.channel.close()
            zygote.ready.set()
            self._host.spawn(zygote.body.remove)
        if self._sandbox is not None and not self.instances:
            self._host.spawn(self._sandbox.close)

    def take_out(self, instance: Instance) -> None:
        """See the base."""
        self._outside.pop(instance.number, None)
        self._adopting.discard(instance.number)
        super().take_out(instance)
        if self._sandbox is not None and self._closed and not self.instances:
            self._host.spawn(self._close_sandbox, instance)

    async def _close_sandbox(self, last: Instance) -> None:
        await last.body.remove()
        if self._sandbox is not None:
            await self._sandbox.close()

    def heard(self, said: dict[str, Any]) -> None:
        """What the fork server says about a process of this pool."""
        if "born" in said:
            pid = int(said["pid"])
            if self._sandbox is not None:
                try:
                    pid = self._sandbox.pid_of(pid)
                except ProcessLookupError:
                    # Dead already; its end will be heard.
                    return
            self._born(said["born"], pid)
        elif "exited" in said:
            self._exited(said["exited"], int(said["status"]))

    def _heard_zygote(self, said: dict[str, Any]) -> None:
        """What the zygote says, whose code is the function's: it may be anything."""
        try:
            self._told(said)
        except (KeyError, TypeError, ValueError):
            self._fail("the function's process broke the protocol")

    def _told(self, said: dict[str, Any]) -> None:
        """Raises ``KeyError``, ``TypeError``, ``ValueError`` for what no zygote says."""
        if "failed" in said:
            self._fail(str(said["failed"]))
        elif "forks" in said:
            if not said["forks"]:
                # Threads do not survive a fork: each instance imports the handler by itself.
                self._direct = True
            if self._zygote is not None:
                self._zygote.ready.set()
        elif "born" in said:
            number, pid = int(said["born"]), int(said["pid"])
            if self._user is None:
                self._born(number, pid)
            elif number in self._outside and number not in self._adopting:
                self._adopting.add(number)
                self._host.spawn(self._adopt, number, pid)
        elif "exited" in said:
            status = int(said["status"])
            os.waitstatus_to_exitcode(status)
            self._exited(said["exited"], status)

    def _born(self, number: int, pid: int) -> None:
        instance = self.instances.get(number)
        if instance is not None:
            instance.pid = pid
            if isinstance(instance.body, TreeBody):
                instance.body.tree.spawned(pid)
        elif self._zygote is not None and number == self._zygote.number:
            self._zygote.pid = pid
            self._zygote.body.tree.spawned(pid)
            self._zygote.born.set()

    async def _adopt(self, number: int, pid: int) -> None:
        """Put an instance into its cgroups, which its zygote may not; then it can take calls."""
        instance, zygote, uid = self.instances.get(number), self._zygote, self._user
        if instance is None or zygote is None or uid is None:
            return
        with anyio.move_on_after(self._host.limits.warmup_s):
            await zygote.born.wait()
        doors = instance.body.tree.doors() if isinstance(instance.body, TreeBody) else []
        try:
            if self._sandbox is not None:
                pid = await anyio.to_thread.run_sync(self._sandbox.pid_of, pid, zygote.pid)
            await anyio.to_thread.run_sync(adopt, pid, zygote.pid, uid, doors)
        except NotItsChild:
            _log.warning("zygote lies", function=self.key.function_id, workspace=self.key.workspace)
            self._fail("the function's process names a process that is not its own")
            return
        except OSError as error:
            # Its end will be heard.
            _log.info("instance not placed", function=self.key.function_id, reason=str(error))
            return
        self._born(number, pid)
        self._adopting.discard(number)
        if self._outside.pop(number, False):
            super()._heard_instance(instance, {"ready": True}, b"")

    def _heard_instance(self, instance: Instance, said: Answer, payload: bytes) -> None:
        if instance.number in self._outside and "failed" not in said:
            self._outside[instance.number] = "ready" in said
            return
        super()._heard_instance(instance, said, payload)

    def _too_late(self, text: str) -> None:
        """See the base. What was never even made is no fault of the function's."""
        if self._zygote is not None:
            hangs = not self._zygote.born.is_set()
        else:
            hangs = any(not (one.ready or one.pid) for one in self.instances.values())
        if not hangs:
            super()._too_late(text)
            return
        self._fail(
            "no process was made for the function; another try may do", Reason.RUNTIME_TROUBLE
        )
        if self._sandbox is None:
            self._processes.unheard()
        else:
            self._sandbox.kill()

    def _exited(self, number: object, status: int) -> None:
        instance = self.instances.get(number) if isinstance(number, int) else None
        if instance is not None:
            instance.status = status
            instance.gone.set()
            self._over(instance)
        elif self._zygote is not None and number == self._zygote.number:
            if self._zygote.channel is not None:
                # It may have said why, a moment before and on a way of its own.
                self._zygote.channel.catch_up()
            self._fail(f"the function's process ended before it was ready ({how(status)})")

    async def _make_instance(self) -> None:
        instance: Instance | None = None
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
            directory, body = await anyio.to_thread.run_sync(self._prepare, number)
            ours, theirs = socket.socketpair()
            instance = Instance(
                self,
                number,
                directory,
                body,
                self._heard_instance,
                self._hung_up,
                self._host.limits.result_bytes,
            )
            instance.identity = self.key.identity
            self.instances[number] = instance
            ours.setblocking(False)
            made = instance
            attached: list[Attached] = [theirs]
            try:
                instance.output = self._processes.output()
                attached += instance.output.ends(self._owner())
                await asyncio.get_running_loop().create_unix_connection(lambda: made, sock=ours)
            except BaseException:
                # The runtime may close while processes are being made; our end the loop closes.
                for one in attached:
                    one.close()
                raise
            order = self._order(number, body.tree)
            if self._direct or zygote is None or zygote.channel is None:
                self._order_process(order, attached)
            else:
                if self._user is not None:
                    # It is that user already, who may not enter cgroups.
                    self._outside[number] = False
                    order |= {"cgroup": [], "identity": None}
                zygote.channel.send(order, *attached)
        except OSError as error:
            if instance is None:
                self._starting -= 1
            else:
                self.take_out(instance)
            self._fail(f"no process could be made: {error}")

    async def _make_zygote(self) -> None:
        number = self._host.number()
        _, body = await anyio.to_thread.run_sync(self._prepare, number)
        zygote = Zygote(number, body)
        if self._closed:
            await zygote.body.remove()
            return
        self._zygote = zygote
        ours, theirs = datagrams()
        zygote.channel = Channel(ours, self._heard_zygote, lambda: self._lost_zygote(zygote))
        # What it prints belongs to no call.
        nulls = [Descriptor(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) for _ in range(2)]
        order = {**self._order(number, body.tree), "direct": False}
        self._order_process(order, [theirs, *nulls])

    def _owner(self) -> tuple[int, int] | None:
        identity = self.key.identity
        return None if identity.uid is None else ids(identity)

    def _order_process(self, order: dict[str, Any], attached: list[Attached]) -> None:
        """Have a fork server make one, which gets these: its socket, its output and its errors."""
        if self._sandbox is None:
            self._processes.make(order, attached, self)
            return
        doors: list[Attached] = []
        try:
            # No cgroups are to be seen in there.
            doors += [open(path, "wb", buffering=0) for path in order["cgroup"]]  # noqa: PTH123, SIM115
        except OSError:
            for one in (*attached, *doors):
                one.close()
            raise
        self._sandbox.order({**order, "cgroup": []}, *attached, *doors)

    def _lost_sandbox(self) -> None:
        if not self._closed:
            self._processes.lost(self)

    def _lost_zygote(self, zygote: Zygote) -> None:
        if self._zygote is not zygote:
            return
        _log.warning("zygote lost", function=self.key.function_id, version=self.key.version)
        self._fail("the function's process ended")

    def _prepare(self, number: int) -> tuple[Path, TreeBody]:
        """The directory of a process, as this one has to name it, and what holds it together."""
        identity, sandbox = self.key.identity, self._sandbox
        directory = self._run / str(number)
        discard = partial(discard_directory, directory)
        if sandbox is not None:
            descriptor = sandbox.open_directory(number)
            directory = Path(f"/proc/self/fd/{descriptor}")
            discard = partial(sandbox.remove_directory, number)
        elif identity.uid is None:
            directory.mkdir(mode=0o700, parents=True)
        else:
            # Ours, with what is the user's in it: nobody can put a link where we read and write.
            directory.mkdir(mode=0o711)
            make_private(directory / "work", identity)
        limits = self._host.limits
        memory = self.key.memory_bytes or limits.memory_bytes
        tree = self._processes.process_trees.new(memory, self.key.cpu_millis, limits.pids)
        return directory, TreeBody(tree, discard)

    def _order(self, number: int, tree: Tree) -> dict[str, Any]:
        directory = self._run / str(number)
        manifest, limits = self._manifest, self._host.limits
        memory = self.key.memory_bytes or limits.memory_bytes
        work = str(directory / "work")
        order: dict[str, Any] = {
            "number": number,
            "direct": True,
            "cgroup": tree.doors(),
            "identity": self._owner(),
            "data_bytes": None if self._processes.process_trees.limits_memory else memory,
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
                "TASKYARD_RESULT_BYTES": str(limits.result_bytes),
            }
        return order
