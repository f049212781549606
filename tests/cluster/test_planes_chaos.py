"""Three control planes on one database under load, killed, frozen and cut off in turns."""

import http.server
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from checking import check
from histories import LIMIT, LIMITED, Client
from planes import installation, one_after_another

SECONDS = float(os.environ.get("CHAOS_SECONDS", "60"))
"""How long faults go on; ``make chaos`` takes ten minutes."""
CLIENTS = 4
TASKS = int(os.environ.get("CHAOS_TASKS", "2000"))


@contextmanager
def hook() -> Iterator[tuple[str, Counter[str]]]:
    """A server that counts the webhook messages for each task; its address, and the counts."""
    told: Counter[str] = Counter()

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            told[str(json.loads(self.rfile.read(length))["data"]["task"]["id"])] += 1
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", told
        finally:
            server.shutdown()
            thread.join(10)


@pytest.mark.chaos
@pytest.mark.long
@pytest.mark.timeout(SECONDS + 400)
def test_nothing_is_lost_or_doubled_whatever_befalls_the_planes(
    tmp_path: Path, common_path: Path
) -> None:
    """What was acknowledged is done as it was asked for; nobody's plan is carried out twice."""
    runs = common_path / "runs"
    runs.touch()
    runs.chmod(0o666)
    seed = int(os.environ.get("CHAOS_SEED", str(random.randrange(1 << 30))))
    done: list[str] = []
    with hook() as (url, told), installation(tmp_path) as planes:
        planes.ask(
            "PATCH", f"/groups/{LIMITED}", json={"concurrency_limit": LIMIT}
        ).raise_for_status()
        planes.ask("POST", "/tasks", json={"command": "true", "cron": "* * * * *"})
        clients = [Client(planes, n, runs, TASKS // CLIENTS, url) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            faults = one_after_another(planes, random.Random(seed), time.monotonic() + SECONDS)
            done.extend(faults)
        finally:
            for client in clients:
                client.finish()
        for plane in planes.all:
            plane.await_ready()
        figures = check(planes, [client.history for client in clients], runs, told)
    print(f"seed {seed}: {len(done)} faults {dict(Counter(word.split()[0] for word in done))}")  # noqa: T201
    print(figures)  # noqa: T201
    assert figures["acknowledged"] > SECONDS
