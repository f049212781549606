"""A member: answers calls, one at a time, until the other end hangs up."""

import contextlib
import inspect
import os
import shutil
import socket
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, NamedTuple, NoReturn

from taskyard.runtimes.function.child.confining import open_output
from taskyard.runtimes.function.child.frames import Closed, read_frame, write_frame
from taskyard.runtimes.function.child.request import Context, Request, Unusable, answer_of

CARRIED_BYTES: Final = 16 << 10
"""Output that travels with the answer; more stays in the files."""

Handler = Callable[..., Any]


class Entrance(NamedTuple):
    """A handler, and what was found out about it: once for all that are forked."""

    handler: Handler
    takes_two: bool
    is_async: bool


def entrance_of(handler: Handler) -> Entrance:
    """Look at a handler."""
    return Entrance(handler, _takes_two(handler), inspect.iscoroutinefunction(handler))


def serve(sock: socket.socket, entrance: Entrance, spec: dict[str, Any]) -> NoReturn:
    """Serve until the runtime hangs up; never returns."""
    try:
        call = _caller(entrance)
        home = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        write_frame(sock, {"ready": True})
        while True:
            header, body = read_frame(sock)
            if header.get("fresh"):
                open_output(spec)
            request = Request(header, body, lambda said: write_frame(sock, said))
            _answer(sock, call, request, spec["result_bytes"])
            _tidy(home)
    except (Closed, OSError):
        os._exit(0)


def _caller(entrance: Entrance) -> Callable[[Request], Any]:
    """The handler as a plain function of a request.

    One that takes two arguments gets an event and a context, as functions of GreenCloud do.
    """
    handler, pair, is_async = entrance
    run = None
    if is_async:
        import asyncio  # noqa: PLC0415 - the nursery has it; other starts need it here only

        run = asyncio.Runner().run

    def call(request: Request) -> Any:
        value = handler(request, Context(request)) if pair else handler(request)
        return value if run is None else run(value)

    return call


def _takes_two(handler: Handler) -> bool:
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return False
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [one for one in parameters if one.kind in plain and one.default is one.empty]
    return len(needed) == 2


def _answer(
    sock: socket.socket, call: Callable[[Request], Any], request: Request, result_bytes: int
) -> None:
    code = None
    head: dict[str, Any]
    body = b""
    try:
        status, headers, body = answer_of(call(request))
        if len(body) > result_bytes:
            raise Unusable(  # noqa: TRY301 - the one place where all of them are told
                f"the answer has {len(body)} bytes; {result_bytes} are allowed"
            )
        head = {"status": status, "headers": headers}
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        head = {"error": f"the handler called exit({code})", "exit": code}
    except Unusable as error:
        body, head = b"", {"error": f"the handler answered with something unusable: {error}"}
    except BaseException as error:
        body, head = b"", {"error": _words(error)}
        with contextlib.suppress(BaseException):
            traceback.print_exception(type(error), error, _beyond_us(error.__traceback__))
    kids = _has_children()
    out, err, spill = _output()
    head.update(sizes=[len(body), len(out), len(err)], spill=spill, kids=kids)
    write_frame(sock, head, body, out, err)
    if code is not None:
        os._exit(code & 255)


def _beyond_us(trace: TracebackType | None) -> TracebackType | None:
    """The trace from where the handler's own code begins."""
    while trace is not None and trace.tb_next is not None:
        if trace.tb_frame.f_code.co_filename != __file__:
            break
        trace = trace.tb_next
    return trace


def _words(error: BaseException) -> str:
    with contextlib.suppress(Exception):
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


def _output() -> tuple[bytes, bytes, bool]:
    """What was printed, if it is little: then the files are emptied."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    first, second = os.fstat(1), os.fstat(2)
    total = first.st_size + second.st_size
    if not total and first.st_nlink == 1:
        return b"", b"", False
    if total > CARRIED_BYTES or first.st_nlink != 1 or second.st_nlink != 1:
        return b"", b"", True
    out, err = os.pread(1, first.st_size, 0), os.pread(2, second.st_size, 0)
    os.ftruncate(1, 0)
    os.ftruncate(2, 0)
    return out, err, False


def _tidy(home: int) -> None:
    """An empty working directory for the next call."""
    os.fchdir(home)
    for entry in os.listdir("."):
        try:
            os.unlink(entry)
        except OSError:
            shutil.rmtree(entry, ignore_errors=True)
