"""What a Python call left running says and does nothing in later calls, however it tries."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import util
from pathlib import Path
from types import ModuleType

import anyio
import pytest
from function_world import FunctionWorld

from taskyard.core.states import AttemptState
from taskyard.runtimes.function.child import leftovers as leftovers_module
from taskyard.runtimes.function.child.leftovers import Leftovers

SOURCE = """
    import _thread, asyncio, functools, os, subprocess, sys, threading, time
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)
    later = None
    WAYS = {
        "print": lambda: print("late", flush=True),
        "original": lambda: print("late", file=sys.__stdout__, flush=True),
        "buffer": lambda: (sys.stdout.buffer.write(b"late\\n"), sys.stdout.flush()),
        "raw": lambda: sys.stdout.buffer.raw.write(b"late\\n"),
        "descriptor": lambda: os.write(1, b"late\\n"),
        "reopened": lambda: os.fdopen(1, "w", closefd=False).write("late\\n"),
        "system": lambda: os.system("echo late"),
        "exit": lambda: os._exit(7),
    }

    def soon():
        time.sleep(0.08)
        later()

    def always():
        while True:
            soon()

    async def beat():
        while True:
            await asyncio.sleep(0.001)
            later()

    async def start_task():
        asyncio.get_running_loop().kept = asyncio.create_task(beat())

    async def start_timer():
        asyncio.get_running_loop().call_later(0.01, later)

    def leave(how):
        if how == "thread":
            threading.Thread(target=always, daemon=True).start()
        elif how == "partial":
            threading.Thread(target=functools.partial(always), daemon=True).start()
        elif how == "timer":
            threading.Timer(0.08, later).start()
        elif how == "builtin":
            threading.Timer(0.08, os.write, (1, b"late\\n")).start()
        elif how == "low":
            _thread.start_new_thread(always, ())
        elif how == "pool":
            pool.submit(soon)
        elif how == "queued":
            pool.submit(time.sleep, 0.08)
            pool.submit(later)
        elif how == "awaited":
            async def start():
                asyncio.get_running_loop().kept = asyncio.create_task(asyncio.to_thread(soon))
                await asyncio.sleep(0)
            return start()
        elif how == "child":
            subprocess.Popen("while :; do sleep 0.01; echo late; done", shell=True)
        elif how == "session":
            subprocess.run("setsid sh -c 'while :; do sleep 0.01; echo late; done' &", shell=True)
        elif how == "task":
            return start_task()
        elif how == "tick":
            return start_timer()

    def handle(request):
        global later
        what, _, rest = request.text.partition(" ")
        print("from", what)
        if what == "leave":
            how, later = rest.split()[0], WAYS[rest.split()[1]]
            return leave(how)
        if what == "stay":
            time.sleep(0.15)
        elif what == "await":
            return asyncio.sleep(0.15, "awaited")
        elif what == "pooled":
            pool.submit(len, "x").result()
        elif what == "to":
            return asyncio.to_thread(os.getpid)
        return os.getpid()
"""
LEFT = [
    ("thread", "print"),
    ("thread", "original"),
    ("thread", "buffer"),
    ("thread", "raw"),
    ("thread", "descriptor"),
    ("thread", "reopened"),
    ("thread", "system"),
    ("thread", "exit"),
    ("partial", "descriptor"),
    ("timer", "descriptor"),
    ("builtin", "print"),
    ("low", "descriptor"),
    ("pool", "descriptor"),
    ("queued", "descriptor"),
    ("awaited", "descriptor"),
    ("child", "print"),
    ("session", "print"),
    ("task", "descriptor"),
    ("tick", "print"),
    ("tick", "original"),
    ("tick", "buffer"),
    ("tick", "raw"),
]


async def one_process(world: FunctionWorld) -> None:
    """From here on there is one process, which gets all calls."""
    await world.call("x")
    (pool,) = world.runtime._pools.values()
    with anyio.fail_after(20):
        while not all(one.ready for one in pool.instances.values()):  # noqa: ASYNC110 - tells nobody
            await anyio.sleep(0.01)


@pytest.mark.anyio
@pytest.mark.parametrize(("how", "what"), LEFT)
async def test_it_says_nothing_in_later_calls(fast: FunctionWorld, how: str, what: str) -> None:
    """They succeed, and print what they print."""
    await fast.build(SOURCE)
    await one_process(fast)
    left = await fast.call(f"leave {how} {what}")
    assert left.state is AttemptState.SUCCEEDED, left
    assert (await fast.output(left, "stdout")).startswith(b"from leave\n")
    for call in ("stay", "await", "stay"):
        ended = await fast.call(call)
        assert ended.state is AttemptState.SUCCEEDED, ended
        assert await fast.output(ended, "stdout") == f"from {call}\n".encode()
        assert await fast.output(ended, "stderr") == b""


@pytest.mark.anyio
async def test_a_process_that_is_left_nothing_goes_on(fast: FunctionWorld) -> None:
    """Idle threads of pools are no reason to end it."""
    await fast.build(SOURCE)
    await one_process(fast)
    pids = set()
    for call in ("x", "pooled", "to", "pooled", "x", "await", "x"):
        ended = await fast.call(call)
        assert ended.result is not None, ended
        if call != "await":
            pids.add(ended.result.body)
    assert len(pids) == 1, pids


LIBRARY = """
import threading

def wait(event):
    event.wait()

def start(event):
    thread = threading.Thread(target=wait, args=(event,))
    thread.start()
    return thread

def call(event, function):
    thread = threading.Thread(target=lambda: (function(), event.wait()))
    thread.start()
    return thread
"""


class Looks:
    """Time that tells when it is waited."""

    def __init__(self, looked: threading.Event) -> None:
        self.monotonic = time.monotonic
        self._looked = looked

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._looked.set()
        time.sleep(seconds)


@pytest.fixture
def library(tmp_path: Path) -> ModuleType:
    """A module in a directory of packages."""
    path = tmp_path / "packages" / "library.py"
    path.parent.mkdir()
    path.write_text(LIBRARY)
    spec = util.spec_from_file_location("library", path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def event() -> Iterator[threading.Event]:
    """What threads of a test wait for."""
    event = threading.Event()
    yield event
    event.set()


def test_threads_of_installed_libraries_are_let_be(
    tmp_path: Path, library: ModuleType, event: threading.Event
) -> None:
    """Unless the function's own code runs in them."""
    here = str(Path(__file__).parent)
    leftovers = Leftovers(here, [str(tmp_path / "packages")])
    leftovers.begin()
    threads = [library.start(event)]
    assert not leftovers.remain()
    inside = threading.Event()

    def ours() -> None:
        inside.set()
        event.wait()

    threads.append(library.call(event, ours))
    assert inside.wait(10)
    assert leftovers.remain()
    event.set()
    for one in threads:
        one.join(10)
    assert not leftovers.remain()


def test_threads_that_are_about_to_end_are_waited_for(
    event: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a moment, which is long here."""
    monkeypatch.setattr(leftovers_module, "GRACE_S", 30.0)
    looked = threading.Event()

    def end() -> None:
        looked.wait()
        event.set()

    before = threading.Thread(target=end)
    before.start()
    leftovers = Leftovers("/nowhere", ())
    leftovers.begin()
    outcome = threading.Thread(target=event.wait)
    outcome.start()
    monkeypatch.setattr(leftovers_module, "time", Looks(looked))
    assert not leftovers.remain()
    before.join(10)
    outcome.join(10)


def test_what_runs_before_the_first_call_belongs_to_none(event: threading.Event) -> None:
    """Neither threads nor what pools do; what they get to do later does."""
    with ThreadPoolExecutor(1) as pool:
        thread = threading.Thread(target=event.wait)
        thread.start()
        pool.submit(event.wait)
        leftovers = Leftovers("/nowhere", ())
        leftovers.begin()
        assert not leftovers.remain()
        inside, other = threading.Event(), threading.Event()

        def wait_inside() -> None:
            inside.set()
            other.wait()

        pool.submit(wait_inside)
        assert not leftovers.remain()
        event.set()
        assert inside.wait(10)
        try:
            assert leftovers.remain()
        finally:
            other.set()
    thread.join(10)
