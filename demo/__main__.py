"""Runs the tour, and says how to go on."""

import tempfile
import time
from pathlib import Path

from rich.console import Console

from demo.scenes import Tour
from demo.server import served


def main() -> None:
    """Run all scenes on a server that ends with them."""
    console = Console(highlight=False)
    began = time.monotonic()
    console.print("[b]Taskyard demo[/b]: starting a server of its own …")
    with served() as client, tempfile.TemporaryDirectory(prefix="taskyard-demo-") as directory:
        # Commands have a user of their own where root runs the server.
        Path(directory).chmod(0o777)
        console.print(f"up after {time.monotonic() - began:.1f} s")
        tour = Tour(client, console, directory)
        recurring = tour.recurring()
        tour.pipeline()
        tour.retried()
        tour.killed()
        tour.waiting()
        tour.fired(recurring)
        tour.summary()
    console.print(
        "\nThat was all real, and its server is gone again. To start one that stays:\n\n"
        "  [b].venv/bin/taskyard up --dev[/b]       then open http://127.0.0.1:8000\n"
        "  [b].venv/bin/taskyard run -- echo hello[/b]\n"
    )


if __name__ == "__main__":
    main()
