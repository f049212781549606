"""`python -m benchmarks`: measure every figure, print the table, write the JSON report."""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine, table
from benchmarks.figures import (
    Bench,
    Figure,
    bulk,
    commands,
    containers,
    drove,
    fastlane,
    flat,
    flat_postgresql,
    function_images,
    functions,
    kill,
    languages,
    latency,
    logs,
    messages,
    objects,
    peers,
    placing,
    postgresql,
    shares,
    simulation,
    submits,
    watching,
)
from benchmarks.rows import Row, missing
from benchmarks.scale import FULL, QUICK
from benchmarks.server import ServerUnavailable
from benchmarks.yardsticks import Peers

FIGURES: tuple[Figure, ...] = (
    submits,
    bulk,
    commands,
    latency,
    logs,
    kill,
    containers,
    functions,
    languages,
    function_images,
    flat,
    flat_postgresql,
    placing,
    simulation,
    messages,
    objects,
    watching,
    shares,
    fastlane,
    drove,
    postgresql,
    peers,
)
RESULTS = Path(__file__).resolve().parent / "results"


def main() -> int:
    """Run the suite.

    Returns:
        0 when nothing required was missed, 1 when something was or a measurement failed. What could
        not be measured for want of a part does not count.
    """
    arguments = _arguments()
    scale = QUICK if arguments.quick else FULL
    started = datetime.now(UTC)
    begin = time.monotonic()
    with _data_directory(arguments.data) as data:
        here = machine.describe(data)
        bench = Bench(scale=scale, peers=Peers(wanted=arguments.peers), data=data)
        rows: list[Row] = []
        for figure in FIGURES:
            if arguments.only and figure.NAME not in arguments.only:
                continue
            if figure is peers and not arguments.peers:
                continue
            print(f"measuring {figure.NAME} …", file=sys.stderr, flush=True)
            rows += _measured(figure, bench)
    report = table.Report(
        started_at=started.isoformat(),
        duration_s=round(time.monotonic() - begin, 1),
        quick=scale.quick,
        machine=here,
        rows=tuple(rows),
    )
    table.write_report(report, RESULTS / "latest.json")
    if arguments.json:
        sys.stdout.write(table.report_json(report).decode())
    else:
        print(machine.summary(here), table.render(rows), sep="\n\n")
    return 1 if any(row.verdict in {"missed", "failed"} for row in rows) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [figure.NAME for figure in FIGURES]
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--quick", action="store_true", help="one short round of everything")
    parser.add_argument(
        "--json", action="store_true", help="print the report in place of the table"
    )
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--data", type=Path, help="where data directories are made: name the disk to measure"
    )
    return parser.parse_args()


@contextmanager
def _data_directory(chosen: Path | None) -> Iterator[Path]:
    """A directory for this run on the chosen disk, by default the one this repository is on."""
    parent = chosen or RESULTS
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=parent) as name:
        yield Path(name)


def _measured(figure: Figure, bench: Bench) -> list[Row]:
    """The figure's rows; when it cannot be measured, its lines all the same, with the reason."""
    try:
        return list(figure.measure(bench))
    except ServerUnavailable as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 -- the other figures are still worth having
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
    return [
        missing(figure.NAME, what, reason, line, failed=True) for what, line in figure.LINES.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
