"""The server database: PostgreSQL on the same machine, with one control plane and with two.

The database keeps its default durability and shares the processors with everything else.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import load, server
from benchmarks.api import BASE, Api, accepted
from benchmarks.figures import Bench, Lines, functions, latency
from benchmarks.peers import brokers
from benchmarks.rounds import percentile
from benchmarks.rows import Requirement, Row, compared, missing, plain
from benchmarks.yardsticks import PeerFailed, PeerMissing

NAME = "postgresql"
SUBMITS = "durable submits over HTTP, 32 connections"
CALLS = "no-op calls, durable submit and result, 32 connections"
AGAINST_SQLITE = "the same, against SQLite"
AGAINST_PEER = "the same, against Procrastinate's no-ops (two processes)"
START = "submit to started, idle, p50"
SNAPSHOT = "no-op calls while somebody holds a snapshot open, against before"
PLANES = "durable submits at two control planes together, against one"
LINES: Lines = {
    SUBMITS: Requirement("figure", "at least", 7000, "/s"),
    CALLS: Requirement("figure", "at least", 2500, "/s"),
    AGAINST_SQLITE: Requirement("ratio", "at least", 0.5),
    AGAINST_PEER: Requirement("ratio", "at least", 4),
    START: Requirement("figure", "under", 8, "ms"),
    SNAPSHOT: Requirement("ratio", "at least", 0.9),
    PLANES: Requirement("ratio", "at least", 1),
}
GROUP = "bench"
PEER = "procrastinate_postgresql"


def measure(bench: Bench) -> Sequence[Row]:
    """Everything on one database, empty at first; calls in turns with SQLite's and the peer's."""
    with brokers.postgresql(bench.data) as uri:
        database = new_database(uri)
        options = ("--database", database, "--config", str(configuration(bench)))
        with (
            server.running(bench.data, *options) as ours,
            server.running(bench.data) as embedded,
        ):
            api = Api(ours.port)
            starts = _starts_ms(api, bench)
            rates, embedded_rates, peer_rates, trouble = _calls(bench, ours.port, embedded.port)
            held = _calls_beside_snapshot(bench, ours.port, database)
            submits = _submits(bench, api, [ours.port])
            api.close()
        with _two(bench, options) as ports:
            both = _submits(bench, None, ports)
    rows = [
        plain(NAME, SUBMITS, "/s", submits, LINES[SUBMITS]),
        plain(NAME, CALLS, "/s", rates, LINES[CALLS]),
        compared(
            NAME, AGAINST_SQLITE, "/s", rates, "SQLite", embedded_rates, LINES[AGAINST_SQLITE]
        ),
    ]
    if trouble is None:
        title = bench.peers.title(PEER)
        rows.append(
            compared(NAME, AGAINST_PEER, "/s", rates, title, peer_rates, LINES[AGAINST_PEER])
        )
    else:
        failed = isinstance(trouble, PeerFailed)
        rows.append(missing(NAME, AGAINST_PEER, str(trouble), LINES[AGAINST_PEER], failed=failed))
    return [
        *rows,
        plain(NAME, START, "ms", [percentile(starts, 0.50)], LINES[START]),
        _against(SNAPSHOT, held, "before", rates),
        _against(PLANES, both, "one plane", submits),
    ]


def _against(what: str, ours: Sequence[float], title: str, theirs: Sequence[float]) -> Row:
    return compared(NAME, what, "/s", ours, title, theirs, LINES[what])


def configuration(bench: Bench) -> Path:
    """A file with the key of secrets, which all planes need."""
    path = bench.data / "taskyard.toml"
    path.write_text(f'secret_key = "{base64.b64encode(bytes(32)).decode()}"\n')
    return path


def new_database(uri: str, name: str = "taskyard") -> str:
    """The URL of a database of ours, which is empty."""
    import psycopg  # noqa: PLC0415 - an extra

    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    return uri.replace("/postgres?", f"/{name}?")


def _starts_ms(api: Api, bench: Bench) -> list[float]:
    latency.starts_ms(api, "warm-up", 20)
    return latency.starts_ms(api, "latency", bench.scale.latency_tasks)


def _calls(
    bench: Bench, port: int, embedded_port: int
) -> tuple[list[float], list[float], list[float], PeerMissing | PeerFailed | None]:
    """Rates of ours, SQLite's and the peer's, round by round; and why the peer has none."""
    ours: list[float] = []
    embedded: list[float] = []
    peer: list[float] = []
    trouble: PeerMissing | PeerFailed | None = None
    for one in (port, embedded_port):
        api = Api(one)
        functions.deploy(api, "noop")
        api.close()
        accepted(load.generate(one, _call(), duration_s=bench.scale.warm_up_s))
    for _ in range(bench.scale.rounds):
        ours.append(_call_rate(bench, port))
        embedded.append(_call_rate(bench, embedded_port))
        if trouble is None:
            try:
                peer.append(bench.peers.rate(PEER, "noop", bench.scale.slow_peer_tasks))
            except (PeerMissing, PeerFailed) as error:
                trouble = error
    return ours, embedded, peer, trouble


def _call() -> bytes:
    return load.request("POST", f"{BASE}/functions/noop/calls?wait=30s", server.TOKEN, b"x")


def _call_rate(bench: Bench, port: int) -> float:
    return accepted(load.generate(port, _call(), duration_s=bench.scale.submit_s)).rate


def _calls_beside_snapshot(bench: Bench, port: int, database: str) -> list[float]:
    """Rates while a transaction keeps all dead rows from being removed."""
    import psycopg  # noqa: PLC0415 - an extra

    with psycopg.connect(database) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM taskyard.tasks")
        return [_call_rate(bench, port) for _ in range(bench.scale.rounds)]


def _submits(bench: Bench, api: Api | None, ports: Sequence[int]) -> list[float]:
    """Submits a second into a paused group, at all of these together."""
    if api is not None:
        api.pause(GROUP)
    body = json.dumps({"command": ["true"], "group": GROUP}).encode()
    message = load.request("POST", f"{BASE}/tasks", server.TOKEN, body)

    def rate() -> float:
        # One generator for all: several in one process would wait for each other.
        return accepted(load.generate(ports, message, duration_s=bench.scale.submit_s)).rate

    rate()  # to warm up
    return [rate() for _ in range(bench.scale.rounds)]


@contextmanager
def _two(bench: Bench, options: Sequence[str]) -> Iterator[list[int]]:
    """Two control planes with a message server between them."""
    with (
        brokers.nats(bench.data) as nats,
        server.running(bench.data, *options, "--nats", nats) as one,
        server.running(bench.data, *options, "--nats", nats) as two,
    ):
        yield [one.port, two.port]
