"""What a Python function's modules do on import holds in its calls."""

import pytest
from function_world import FunctionWorld

from taskyard.runtimes.function.process_pool import ProcessPool

pytestmark = pytest.mark.anyio


async def answers(world: FunctionWorld, *bodies: str) -> list[str]:
    """What calls with these bodies answer."""
    said = []
    for body in bodies:
        ended = await world.call(body)
        assert ended.result is not None, (ended, await world.output(ended, "stderr"))
        said.append((ended.result.body or b"").decode())
    return said


OPENED = {
    "a file": """
        own = open(__file__, "rb")
        def handle(request):
            own.seek(0)
            return str(own.read(14))
        """,
    "a database": """
        import sqlite3
        db = sqlite3.connect("kept.db", check_same_thread=False)
        db.execute("create table if not exists t(a)")
        db.commit()
        def handle(request):
            db.execute("insert into t values (1)")
            db.commit()
            return "ok"
        """,
    "an event loop": """
        import asyncio
        loop = asyncio.new_event_loop()
        async def work():
            await asyncio.sleep(0.001)
            return "ok"
        def handle(request):
            return loop.run_until_complete(work())
        """,
    "a pair of sockets": """
        import socket
        one, other = socket.socketpair()
        def handle(request):
            one.sendall(b"ok")
            return other.recv(2)
        """,
    "a log file": """
        import logging
        logging.basicConfig(filename="kept.log", level="INFO")
        def handle(request):
            logging.info("marker")
            assert "marker" in open("kept.log").read()
            return "ok"
        """,
}


@pytest.mark.parametrize("what", OPENED)
async def test_what_was_opened_on_import_works_in_calls(fast: FunctionWorld, what: str) -> None:
    """In every call, and with calls side by side: each process has its own."""
    await fast.build(OPENED[what])
    assert len(set(await answers(fast, "1", "2", "3"))) == 1
    together = [fast.assignment(str(number)) for number in range(4)]
    for one in together:
        await fast.start(one)
    for one in together:
        assert (await fast.ended(one)).result is not None


@pytest.mark.parametrize(
    ("source", "direct"),
    [
        ("import json\nprint('imported')\ndef handle(r): return 'ok'\n", False),
        ("import os\nown = os.open('/dev/null', os.O_RDONLY)\ndef handle(r): return 'ok'\n", True),
        ("open('kept', 'w').close()\ndef handle(r): return open('kept').read()\n", True),
    ],
)
async def test_only_what_can_be_shared_is_forked(
    fast: FunctionWorld, source: str, direct: bool
) -> None:
    """Each process imports by itself if the import leaves something open, or files."""
    await fast.build(source)
    await answers(fast, "1", "2")
    (pool,) = fast.runtime._pools.values()
    assert isinstance(pool, ProcessPool)
    assert pool._direct is direct


STREAMS = {
    "taken": "from sys import stdout\ndef handle(r): stdout.write(r.text * 2000 + '\\n')",
    "binary": (
        "import sys\nout = sys.stdout.buffer\ndef handle(r): out.write(r.body * 2000 + b'\\n')"
    ),
    "logging": (
        "import logging, sys\n"
        "logging.basicConfig(stream=sys.stdout, level='INFO', format='%(message)s')\n"
        "def handle(r): logging.info(r.text * 2000)"
    ),
    "wrapped": (
        "import io, sys\n"
        "out = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, 'w', closefd=False)))\n"
        "def handle(r): out.write(r.text * 2000 + '\\n')"
    ),
    "replaced": (
        "import sys\n"
        "class Own:\n"
        "    def __init__(self, to): self.to = to\n"
        "    def write(self, text): self.to.write(text)\n"
        "sys.stdout = Own(sys.stdout)\n"
        "def handle(r): print(r.text * 2000)"
    ),
}


@pytest.mark.parametrize("how", STREAMS)
async def test_what_is_printed_is_in_the_log_of_its_call(fast: FunctionWorld, how: str) -> None:
    """However the function got hold of the stream, and as much as it likes."""
    await fast.build(STREAMS[how])
    for number in range(4):
        ended = await fast.call(f"<{number}>")
        assert await fast.output(ended, "stdout") == f"<{number}>".encode() * 2000 + b"\n"


AWAITED = {
    "decorated": """
        import functools
        def logged(function):
            @functools.wraps(function)
            def inner(*arguments): return function(*arguments)
            return inner
        @logged
        async def handle(request): return request.text
        """,
    "an object": """
        class Handler:
            async def __call__(self, request): return request.text
        handle = Handler()
        """,
    "awaitable": """
        class Later:
            def __init__(self, value): self.value = value
            def __await__(self):
                return self.value
                yield
        def handle(request): return Later(request.text)
        """,
    "a future of its own loop": """
        import asyncio
        loop = None
        def handle(request):
            global loop
            loop = loop or asyncio.new_event_loop()
            return loop.create_task(asyncio.sleep(0.001, request.text))
        """,
}


@pytest.mark.parametrize("what", AWAITED)
async def test_whatever_can_be_awaited_is_awaited(fast: FunctionWorld, what: str) -> None:
    """Also if no ``async def`` shows."""
    await fast.build(AWAITED[what])
    assert await answers(fast, "a", "b") == ["a", "b"]


NEIGHBOURS = {
    "a package": {
        "function/__init__.py": "GREETING = 'hello'\n",
        "function/near.py": "from . import GREETING\n",
        "function/handler.py": "from .near import GREETING\ndef handle(r): return GREETING\n",
    },
    "a folder": {
        "function/near.py": "GREETING = 'hello'\n",
        "function/handler.py": "from .near import GREETING\ndef handle(r): return GREETING\n",
    },
    "the root": {
        "near.py": "GREETING = 'hello'\n",
        "handler.py": "from .near import GREETING\ndef handle(r): return GREETING\n",
    },
    "the root beside a package of that name": {
        "near.py": "GREETING = 'hello'\n",
        "function/__init__.py": "REST = ''\n",
        "handler.py": (
            "from function import REST\nfrom .near import GREETING\n"
            "def handle(r): return GREETING + REST\n"
        ),
    },
    "absolutely": {
        "function/near.py": "GREETING = 'hello'\n",
        "function/handler.py": "import near\ndef handle(r): return near.GREETING\n",
    },
}


@pytest.mark.parametrize("where", NEIGHBOURS)
async def test_modules_beside_the_handler_can_be_imported(fast: FunctionWorld, where: str) -> None:
    """Relatively and absolutely, wherever the handler lies."""
    await fast.build(NEIGHBOURS[where])
    assert await answers(fast, "") == ["hello"]
