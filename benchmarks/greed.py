"""A workspace that uses all it gets of something that is common, in a process of its own.

`python -m benchmarks.greed KIND PORT TOKEN` says `ready` once it holds its share, and goes on using
it until its standard input ends. It asks for more a hundred times a second, and is refused.
"""

import contextlib
import http.client
import json
import resource
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

PACE_S = 0.01
SETTLE_S = 1.0
RULES = 4
POLICIES = 200
STREAMS = 1000
WAITS = 2000
BODIES = 40
BODY_BYTES = 8 << 20
HOOKS = 400
HOSTS = 40


class Greed:
    """One workspace's connections."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._line = f"authorization: Bearer {token}\r\ncontent-type: application/json\r\n"
        self._kept = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.open: list[socket.socket] = []

    def call(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Status and body of an answer, whatever it is."""
        encoded = None if body is None else json.dumps(body).encode()
        self._kept.request(method, f"/api/v1{path}", encoded, self._headers)
        answer = self._kept.getresponse()
        return answer.status, answer.read()

    def begin(self, request: str, more: str = "", body: bytes = b"") -> None:
        """Open one more connection, and begin a request that will not end soon."""
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        head = f"{request} HTTP/1.1\r\nhost: 127.0.0.1\r\n{self._line}{more}\r\n"
        with contextlib.suppress(OSError):  # refused before all of it was sent
            opened.sendall(head.encode() + body)
        self.open.append(opened)

    def again(self, request: str, more: str = "", body: bytes = b"") -> None:
        """Begin one more, look how it is answered, and close it if it was refused."""
        self.begin(request, more, body)
        last = self.open.pop()
        asked = select.poll()
        asked.register(last, select.POLLIN)
        asked.poll(1000)
        last.close()


def policies(greed: Greed) -> Iterator[None]:
    """Tasks whose placement policies are as large as may be, and all different."""
    number = 0
    while True:
        tasks = []
        for _ in range(20):
            number += 1
            tests = " and ".join(f'get(metadata,"a{number}{n}",{n})=={n}' for n in range(40))
            rules = [f'{tests} and worker=="x{number}{n}"' for n in range(RULES)]
            parts = [{"type": "rule", "rule": rule} for rule in rules]
            policy = {"type": "composite", "combiner": "or", "policies": parts}
            tasks.append({"command": "true", "group": f"g{number}", "placement": policy})
        greed.call("POST", "/tasks/batch", {"tasks": tasks})
        if number >= POLICIES:
            yield
            time.sleep(0.5)


def bodies(greed: Greed) -> Iterator[None]:
    """Large bodies that are nearly complete, and stay so."""
    length = f"content-length: {BODY_BYTES}\r\n"
    for _ in range(BODIES):
        greed.begin("POST /api/v1/tasks", length, b"x" * (BODY_BYTES // 2))
    while True:
        yield
        greed.again("POST /api/v1/tasks", length, b"x" * 100_000)


def streams(greed: Greed) -> Iterator[None]:
    """Live streams of events, and a task every quarter of a second that all of them tell of."""
    for _ in range(STREAMS):
        greed.begin("GET /api/v1/events/stream")
    number = 0
    while True:
        yield
        greed.again("GET /api/v1/events/stream")
        number += 1
        if number % 25 == 0:
            greed.call("POST", "/tasks", {"command": "true", "start_in_s": 9000})
        for one in greed.open[number % 25 :: 25]:
            with contextlib.suppress(BlockingIOError):
                one.recv(1 << 16, socket.MSG_DONTWAIT)


def waits(greed: Greed) -> Iterator[None]:
    """Requests that wait for a task that does not end."""
    _, made = greed.call("POST", "/tasks", {"command": "true", "start_in_s": 9000})
    path = f"GET /api/v1/tasks/{json.loads(made)['id']}/wait?timeout_s=60"
    for _ in range(WAITS):
        greed.begin(path)
    while True:
        yield
        greed.again(path)


def webhooks(greed: Greed) -> Iterator[None]:
    """Webhooks to many hosts that take a request and never answer."""
    listening = socket.create_server(("0.0.0.0", 0), backlog=4096)  # noqa: S104 - all of 127/8
    port = listening.getsockname()[1]
    number = 0
    while True:
        tasks = []
        for _ in range(20):
            url = f"http://127.0.1.{number % HOSTS + 1}:{port}/{number}"
            task = {"command": "true", "start_in_s": 9000, "webhooks": [{"url": url}]}
            tasks.append({**task, "group": f"g{number // 20}"})
            number += 1
        greed.call("POST", "/tasks/batch", {"tasks": tasks})
        greed.call("POST", "/tasks/cancel", {"group": f"g{number // 20 - 1}"})
        if number >= HOOKS:
            yield
            time.sleep(1)


def output(greed: Greed) -> Iterator[None]:
    """Commands that print more than they may keep, until nothing more is taken, and on."""
    while True:
        greed.call("POST", "/tasks", {"command": "head -c 3000000 /dev/zero"})
        yield
        time.sleep(0.2)


def builds(greed: Greed) -> Iterator[None]:
    """As many builds waiting as there may be, each of a function of its own."""
    number = 0
    while True:
        body = {"source": "def handle(request): return 1\n", "language": "python"}
        status, _ = greed.call("PUT", f"/functions/f{number}", body)
        number += 1
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            yield


KINDS: dict[str, Callable[[Greed], Iterator[None]]] = {
    one.__name__: one for one in (policies, bodies, streams, waits, webhooks, output, builds)
}


def main() -> None:
    """Be greedy until told to stop."""
    kind, port, token = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192), most))
    told = False
    for _ in KINDS[kind](Greed(int(port), token)):
        if not told:
            time.sleep(SETTLE_S)
            print("ready", flush=True)
            told = True
        if select.select([sys.stdin], [], [], PACE_S)[0]:
            return


if __name__ == "__main__":
    main()
