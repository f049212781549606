"""Measure one peer and print the result as JSON.

`python -m benchmarks.peers celery_redis --measure enqueue --measure noop --count 2000`, run from
the repository with the peers' own interpreter.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.peers import brokers, harness
from benchmarks.peers.names import PEERS

BROKERS = {"redis": brokers.redis, "postgresql": brokers.postgresql}


def main() -> int:
    """Measure what the command line asks for.

    Returns:
        0; 1 when the workers failed; 3, having printed `{"missing": …}`, when a part is missing.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--measure", action="append", choices=("enqueue", "noop", "command"))
    parser.add_argument("--count", type=int, default=1000, help="tasks of each measurement")
    arguments = parser.parse_args()
    broker = arguments.peer.rpartition("_")[2]
    with tempfile.TemporaryDirectory(prefix="taskyard-peer-") as name:
        directory = Path(name)
        done = directory / "done"
        done.touch()
        os.environ[harness.DONE_VARIABLE] = str(done)
        try:
            with BROKERS[broker](directory) as url:
                os.environ[harness.BROKER_VARIABLE] = url
                measurements = arguments.measure or ["enqueue", "noop"]
                print(
                    json.dumps(_measured(arguments.peer, measurements, arguments.count, directory))
                )
        except brokers.BrokerMissing as missing:
            print(json.dumps({"missing": str(missing)}))
            return 3
        except harness.PeerFailed as failure:
            print(
                failure,
                (directory / "workers.log").read_text(errors="replace")[-2000:],
                file=sys.stderr,
            )
            return 1
    return 0


def _measured(
    module: str, measurements: list[str], count: int, directory: Path
) -> dict[str, object]:
    peer: harness.Peer = importlib.import_module(f"benchmarks.peers.{module}").PEER
    if peer.prepare is not None:
        peer.prepare()
    result: dict[str, object] = dict(harness.describe(peer))
    # End to end first: what `enqueue` leaves in the queue would otherwise be worked off too.
    for kind in ("noop", "command"):
        if kind in measurements:
            result[f"{kind}_per_s"] = harness.measure_end_to_end(peer, kind, count, directory)
    if "enqueue" in measurements:
        result["enqueue_per_s"] = harness.measure_enqueue(peer, count)
    return result


if __name__ == "__main__":
    sys.exit(main())
