"""What the peers reach by themselves: enqueueing, and no-ops end to end with two processes."""

from collections.abc import Sequence

from benchmarks.figures import Bench, Lines
from benchmarks.peers.names import PEERS
from benchmarks.rows import Row, missing, plain
from benchmarks.yardsticks import SLOW_PEERS, PeerFailed, PeerMissing

NAME = "peers"
KINDS = {"enqueue": "enqueue", "noop": "no-op end to end, two worker processes"}
LINES: Lines = {f"{peer}: {what}": None for peer in PEERS for what in KINDS.values()}


def measure(bench: Bench) -> Sequence[Row]:
    """Every peer, each measurement with a broker of its own."""
    rows: list[Row] = []
    for peer in PEERS:
        for kind, what in KINDS.items():
            slow = kind == "noop" and peer in SLOW_PEERS
            count = bench.scale.slow_peer_tasks if slow else bench.scale.peer_tasks
            try:
                rates = [bench.peers.rate(peer, kind, count) for _ in range(bench.scale.rounds)]
            except (PeerMissing, PeerFailed) as error:
                failed = isinstance(error, PeerFailed)
                rows.append(missing(NAME, f"{peer}: {what}", str(error), failed=failed))
            else:
                rows.append(plain(NAME, f"{bench.peers.title(peer)}: {what}", "/s", rates))
    return rows
