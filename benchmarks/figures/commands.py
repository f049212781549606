"""Commands end to end, against a bare spawn loop and against RQ."""

import time
from collections.abc import Sequence

from benchmarks import server
from benchmarks.api import Api
from benchmarks.figures import Bench, Lines
from benchmarks.rows import Requirement, Row, compared, missing
from benchmarks.spawn import spawns_per_s
from benchmarks.yardsticks import PeerFailed, PeerMissing

NAME = "commands"
SPAWN = "`true` end to end, against a bare posix_spawn loop"
RQ = "the same, against RQ with two workers"
LINES: Lines = {
    SPAWN: Requirement("ratio", "at least", 0.6),
    RQ: Requirement("ratio", "at least", 4),
}


def measure(bench: Bench) -> Sequence[Row]:
    """From the first submit to the last task succeeded, in turns with the yardsticks."""
    scale = bench.scale
    rates: list[float] = []
    spawns: list[float] = []
    rq: list[float] = []
    reason, failed = "", False
    with server.running(bench.data) as running:
        api = Api(running.port)
        _commands_per_s(api, "warm-up", scale.commands // 10)
        for number in range(scale.rounds):
            spawns.append(spawns_per_s(scale.spawn_s))
            rates.append(_commands_per_s(api, f"round-{number}", scale.commands))
            if reason:
                continue
            try:
                rq.append(bench.peers.rate("rq_redis", "command", scale.slow_peer_tasks))
            except (PeerMissing, PeerFailed) as error:
                reason, failed = str(error), isinstance(error, PeerFailed)
        api.close()
    rows = [compared(NAME, SPAWN, "/s", rates, "posix_spawn", spawns, LINES[SPAWN])]
    if reason:
        return [*rows, missing(NAME, RQ, reason, LINES[RQ], failed=failed)]
    title = bench.peers.title("rq_redis")
    return [*rows, compared(NAME, RQ, "/s", rates, title, rq, LINES[RQ])]


def _commands_per_s(api: Api, group: str, count: int) -> float:
    begin = time.perf_counter()
    api.submit_many({"command": ["true"], "group": group}, count)
    api.wait_until_succeeded(group, count)
    return count / (time.perf_counter() - begin)
