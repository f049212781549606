"""Interrupts that arrive just before a wait begins, so that they end nothing."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from eventually import eventually
from taskyard.cli.stream import Interrupted, Record, TaskStream


class SilentTask:
    """A task that prints nothing; its follower's thread takes a signal in the main one's place."""

    def __init__(self) -> None:
        self.is_over = threading.Event()

    def follow_task(self, task_id: str, **_options: Any) -> Iterator[Record]:  # noqa: ARG002 - the client's
        """Deliver a signal to this thread: nobody who waits in another one is woken by it."""
        _until_main_waits()
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        self.is_over.wait()
        yield from ()


def _until_main_waits() -> None:
    """Return once the main thread has slept for a while, with nothing left to do but wait."""
    stat = Path(f"/proc/self/task/{threading.main_thread().native_id}/stat")
    in_a_row = 0

    def look() -> bool:
        nonlocal in_a_row
        in_a_row = in_a_row + 1 if stat.read_text().rpartition(")")[2].split()[0] == "S" else 0
        return in_a_row == 10

    eventually(look)


@pytest.mark.timeout(20)
def test_an_interrupt_that_wakes_nobody_is_seen_all_the_same() -> None:
    """Soon, although the task prints nothing more."""
    task = SilentTask()
    stream = TaskStream(cast("Any", task), "t1")
    try:
        with stream.signals(signal.SIGINT):
            seen = next(iter(stream))
    finally:
        task.is_over.set()
    assert isinstance(seen, Interrupted)
    assert seen.number == signal.SIGINT
