"""A process that has imported one function, and forks instances of it."""

import contextlib
import gc
import importlib
import importlib.util
import os
import select
import site
import socket
import sys
import traceback
from collections.abc import Iterable
from types import ModuleType
from typing import Final, NoReturn

from taskyard.runtimes.function.child import confining
from taskyard.runtimes.function.child.descendants import children, end_strays
from taskyard.runtimes.function.child.frames import Closed, Json, receive, send, write_frame
from taskyard.runtimes.function.child.leftovers import count_starts
from taskyard.runtimes.function.child.serving import Entrance, entrance_of, serve
from taskyard.runtimes.function.child.streams import Streams

_PACKAGE: Final = "function"
"""The package of handlers that lie in none of their own; OpenFaaS calls it so."""


def become(spec: Json, descriptor: int, outputs: tuple[int, int], parent: int) -> NoReturn:
    """Turn this newly forked process into a zygote, or with ``direct`` into an instance; no return.

    ``descriptor`` is the zygote's control socket, or the instance's socket of calls; ``outputs``
    are what its output and its errors go to.
    """
    kind = socket.SOCK_STREAM if spec["direct"] else socket.SOCK_SEQPACKET
    sock = socket.socket(socket.AF_UNIX, kind, fileno=descriptor)
    try:
        confining.mute()
        confining.take_output(*outputs)
        confining.close_others(descriptor)
        confining.confine(spec, parent)
        streams = Streams()
        count_starts()
        _enter_environment(spec)
        entrance = _load(spec)
        streams.imported()
    except BaseException:
        text = traceback.format_exc(chain=True)[-8000:]
        with contextlib.suppress(BaseException):
            said = {"failed": text}
            tell = write_frame if spec["direct"] else send
            tell(sock, said)
        os._exit(1)
    if spec["direct"]:
        serve(sock, entrance, streams, spec)
    with contextlib.suppress(BaseException):
        _fork_on_request(sock, entrance, streams, spec)
    os._exit(0)


def _enter_environment(spec: Json) -> None:
    os.environ.clear()
    os.environ.update(spec["env"])
    for name in [name for name in sys.modules if name.partition(".")[0] == "taskyard"]:
        # Ours is nobody's business, and a function may bring a module of that name.
        del sys.modules[name]
    sys.dont_write_bytecode = True
    sys.argv = [spec["handler"]]
    for path in spec["packages"]:
        site.addsitedir(path)
    sys.path[:0] = [spec["code"]]
    folder = os.path.dirname(os.path.join(spec["code"], spec["handler"]))
    if folder.rstrip("/") != spec["code"].rstrip("/"):
        sys.path.insert(0, folder)


def _load(spec: Json) -> Entrance:
    path = os.path.join(spec["code"], spec["handler"])
    stem = os.path.splitext(os.path.basename(path))[0]
    name = f"{_package(spec['code'], os.path.dirname(spec['handler']))}.{stem}"
    module = sys.modules.get(name)
    if module is None:
        module_spec = importlib.util.spec_from_file_location(name, path)
        if module_spec is None or module_spec.loader is None:
            raise ImportError(f"{spec['handler']} is no Python source")
        module = importlib.util.module_from_spec(module_spec)
        # By its own name as well, for modules beside it.
        sys.modules[name] = sys.modules[stem] = module
        module_spec.loader.exec_module(module)
    handler = getattr(module, spec["entry"], None)
    if not callable(handler):
        raise TypeError(f"{spec['handler']} has no function {spec['entry']}()")
    return entrance_of(handler)


def _package(code: str, folder: str) -> str:
    """The name of the package that a handler's folder is, so that it can import relatively."""
    place = os.path.join(code, folder) if folder else code
    parts = folder.split("/") if folder else []
    if parts and all(one.isidentifier() for one in parts):
        name = ".".join(parts)
        if os.path.exists(os.path.join(place, "__init__.py")):
            package = importlib.import_module(name)
            if place in list(getattr(package, "__path__", ())):
                return name
    name = _PACKAGE
    while name in sys.modules or (
        place != os.path.join(code, name) and os.path.lexists(os.path.join(code, name))
    ):
        name += "_"
    package = ModuleType(name)
    package.__path__ = [place]
    sys.modules[name] = package
    return name


def _leaves_nothing_open(control: socket.socket) -> bool:
    """Whether what was imported can be shared by processes: no thread, descriptor or file of it.

    A fork copies the calling thread alone: what others hold would be held forever. Connections,
    event loops, databases and places in files would be everybody's.
    """
    if len(os.listdir("/proc/self/task")) > 1 or os.listdir("."):
        return False
    ours = {0, 1, 2, control.fileno()}
    # The one that lists them is gone once it has.
    return all(
        int(one) in ours or not os.path.exists(f"/proc/self/fd/{one}")
        for one in os.listdir("/proc/self/fd")
    )


def _fork_on_request(
    control: socket.socket, entrance: Entrance, streams: Streams, spec: Json
) -> None:
    gc.collect()
    gc.freeze()
    send(control, {"ready": True, "forks": _leaves_nothing_open(control)})
    poll = select.poll()
    poll.register(control, select.POLLIN)
    instances: dict[int, tuple[int, int]] = {}
    with_us = _children()
    tidy = True
    while True:
        for descriptor, _ in poll.poll(None if tidy else 1):
            if descriptor == control.fileno():
                try:
                    order, given = receive(control)
                except Closed:
                    return
                if len(given) < 3:
                    continue
                spec_of_it = {**spec, **order}
                pid = _fork(control, entrance, streams, spec_of_it, given, instances)
                watch = os.pidfd_open(pid)
                instances[watch] = (order["number"], pid)
                poll.register(watch, select.POLLIN)
                send(control, {"born": order["number"], "pid": pid})
                continue
            poll.unregister(descriptor)
            number, pid = instances.pop(descriptor)
            os.close(descriptor)
            status = os.waitpid(pid, 0)[1]
            # What it left is gone before its end is told.
            tidy = end_strays(with_us | {one for _, one in instances.values()})
            send(control, {"exited": number, "status": status})
        # Only the death of an instance makes more of them.
        tidy = tidy or end_strays(with_us | {one for _, one in instances.values()})


def _children() -> set[int]:
    """What was started while the handler was imported: it stays."""
    with contextlib.suppress(OSError, ValueError):
        return set(children())
    return set()


def _fork(
    control: socket.socket,
    entrance: Entrance,
    streams: Streams,
    spec: Json,
    given: list[int],
    watched: Iterable[int],
) -> int:
    parent = os.getpid()
    call_fd, out, err = given
    pid = os.fork()
    if pid == 0:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=call_fd)
        try:
            # Ours alone: what the handler's modules opened is theirs.
            control.close()
            for descriptor in watched:
                os.close(descriptor)
            confining.confine(spec, parent)
            # The zygote's own directory is not emptied between calls.
            os.environ.update(HOME=spec["work"], TMPDIR=spec["work"])
            confining.take_output(out, err)
            serve(sock, entrance, streams, spec)
        except BaseException:
            with contextlib.suppress(BaseException):
                write_frame(sock, {"failed": traceback.format_exc()[-8000:]})
        os._exit(1)
    for descriptor in given:
        os.close(descriptor)
    return pid
