"""An instance: answers calls, one at a time, until the other end hangs up."""

import contextlib
import contextvars
import inspect
import os
import shutil
import signal
import socket
import traceback
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, NoReturn
from weakref import WeakSet

from taskyard.runtimes.function.child.channel import Channel
from taskyard.runtimes.function.child.frames import Closed
from taskyard.runtimes.function.child.leftovers import Leftovers
from taskyard.runtimes.function.child.request import Context, Request, Unusable, answer_of
from taskyard.runtimes.function.child.streams import Streams

_PLAIN: Final = frozenset({str, bytes, dict, tuple, list, int, type(None)})
"""What nobody has to look at twice to see that it need not be awaited."""

Handler = Callable[..., Any]


class Entrance(NamedTuple):
    """A handler, and what was found out about it: once for all that are forked."""

    handler: Handler
    takes_two: bool


def entrance_of(handler: Handler) -> Entrance:
    """Look at a handler."""
    return Entrance(handler, _takes_two(handler))


def serve(
    sock: socket.socket, entrance: Entrance, streams: Streams, spec: dict[str, Any]
) -> NoReturn:
    """Serve until the runtime hangs up; never returns."""
    try:
        channel = Channel(sock)
        leftovers = Leftovers(spec["code"], spec["packages"])
        instance = _Instance(channel, entrance, streams, leftovers, spec["result_bytes"])
        home = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # What was made on import stays, like all that was opened there.
        kept = frozenset(os.listdir("."))
        streams.begin()
        leftovers.begin()
        channel.ready()
        while True:
            header, body = channel.read()
            instance.answer(header, body)
            _tidy(home, kept)
    except (Closed, OSError):
        os._exit(0)


class _Instance:
    """What answers one call after the other."""

    def __init__(
        self,
        channel: Channel,
        entrance: Entrance,
        streams: Streams,
        leftovers: Leftovers,
        result_bytes: int,
    ) -> None:
        self._channel = channel
        self._entrance = entrance
        self._streams = streams
        self._leftovers = leftovers
        self._result_bytes = result_bytes
        self._met: WeakSet[Any] = WeakSet()
        """Tasks that outlived calls."""
        self._runner: Any = None
        """Runs what the handler's answer has to be awaited for; made with the first of them."""

    def answer(self, header: dict[str, Any], body: bytes) -> None:
        """Call the handler, and say what became of it. Raises ``OSError``."""
        request = Request(header, body, partial(self._channel.note, header.get("call")))
        self._streams.enter()
        code, head, content = self._called(request)
        if os.getpid() != self._channel.pid:
            # A child that the handler forked, and that came back from it.
            self._streams.flush()
            os._exit(int("error" in head) if code is None else code & 255)
        is_left = self._leftovers.remain(self._tasks()) or self._streams.are_lost()
        kids = is_left or _has_children()
        self._streams.end()
        # Before the answer: when that arrives, it is looked for.
        self._streams.flush()
        head.update(sizes=[len(content), 0, 0], kids=kids)
        self._channel.answer(head, content)
        if code is not None:
            os._exit(code & 255)

    def _called(self, request: Request) -> tuple[int | None, dict[str, Any], bytes]:
        """The exit code, if the process is to end, and the answer: header and body."""
        try:
            value = self._value(request)
            _switch_off_alarms()
            status, headers, body = answer_of(value)
            if len(body) > self._result_bytes:
                raise Unusable(  # noqa: TRY301 - the one place where all of them are told
                    f"the answer has {len(body)} bytes; {self._result_bytes} are allowed"
                )
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            return code, {"error": f"the handler called exit({code})", "exit": code}, b""
        except Unusable as error:
            text = f"the handler answered with something unusable: {error}"
            return None, {"error": text}, b""
        except BaseException as error:
            _switch_off_alarms()
            with contextlib.suppress(BaseException):
                traceback.print_exception(type(error), error, _beyond_us(error.__traceback__))
            return None, {"error": words(error)}, b""
        return None, {"status": status, "headers": headers}, body

    def _value(self, request: Request) -> Any:
        """What the handler gives, awaited if it can be.

        One that takes two arguments gets an event and a context, as functions of GreenCloud do.
        """
        handler, pair = self._entrance
        value = handler(request, Context(request)) if pair else handler(request)
        if type(value) in _PLAIN or not inspect.isawaitable(value):
            return value
        import asyncio  # noqa: PLC0415 - the fork server has it already

        if isinstance(value, asyncio.Future):
            # Of a loop that the function made.
            return value.get_loop().run_until_complete(value)
        if self._runner is None:
            self._runner = asyncio.Runner()
        coroutine = value if inspect.iscoroutine(value) else _awaited(value)
        # The runner's own context is that of the first call.
        return self._runner.run(coroutine, context=contextvars.copy_context())

    def _tasks(self) -> Iterable[Any]:
        """Those of the event loop that are not over."""
        if self._runner is None:
            return ()
        import asyncio  # noqa: PLC0415 - as above

        tasks = asyncio.all_tasks(self._runner.get_loop())
        for task in tasks:
            if task not in self._met:
                # Its error would be told in the log of the call that runs when it is forgotten.
                self._met.add(task)
                task.add_done_callback(_forgive)
        return tasks


def _forgive(task: Any) -> None:
    if not task.cancelled():
        task.exception()


def _switch_off_alarms() -> None:
    """Those of a call must not go off in the next one."""
    for kind in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(kind, 0)


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _takes_two(handler: Handler) -> bool:
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return False
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [one for one in parameters if one.kind in plain and one.default is one.empty]
    return len(needed) == 2


def _beyond_us(trace: TracebackType | None) -> TracebackType | None:
    """The trace from where the handler's own code begins."""
    while trace is not None and trace.tb_next is not None:
        if trace.tb_frame.f_code.co_filename != __file__:
            break
        trace = trace.tb_next
    return trace


def words(error: BaseException) -> str:
    """An exception in its own words, without the way to it."""
    with contextlib.suppress(Exception):
        if isinstance(error, SyntaxError):
            # In full it begins with the line of the source.
            return f"{type(error).__name__}: {error}"[-2000:]
        return "".join(traceback.format_exception_only(type(error), error)).strip()[-2000:]
    return type(error).__name__


def _has_children() -> bool:
    """Whether the handler left processes behind; whoever is dead is buried on the way."""
    try:
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
    except ChildProcessError:
        return False


def _tidy(home: int, kept: frozenset[str]) -> None:
    """A working directory for the next call that is as it was before the first."""
    os.fchdir(home)
    for entry in os.listdir("."):
        if entry in kept:
            continue
        try:
            os.unlink(entry)
        except OSError:
            shutil.rmtree(entry, ignore_errors=True)
