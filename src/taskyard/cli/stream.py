"""Follows a task in a thread of its own, so that signals are answered while output is awaited."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from types import FrameType

from taskyard.cli.output import note, write_error, write_out
from taskyard.sdk import Client
from taskyard.sdk.client_models import Output
from taskyard.sdk.models import Exit

PATIENCE_S = 300.0
"""How long a follower waits for a server that does not answer; restarts take less."""
_LOOK_AGAIN_S = 0.25
"""A signal that arrives in the moment before a thread begins to wait wakes nobody; its handler runs
once the wait is over, so no wait is longer than this."""
_AHEAD = 64
"""Records read before the terminal has taken the earlier ones."""

Record = Output | Exit


class Interrupted:
    """A signal arrived that asks us to end."""

    def __init__(self, number: int) -> None:
        self.number = number


class Ended:
    """There is nothing more to follow, or following failed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error


class Remark:
    """Something to tell whoever follows, which another thread has found out."""

    def __init__(self, text: str) -> None:
        self.text = text


class TaskStream:
    """Records of a task, mixed with signals, in one queue.

    ``SimpleQueue`` can be put to from within a signal handler; the semaphore bounds it.
    """

    def __init__(self, client: Client, task_id: str) -> None:
        self._client = client
        self._task_id = task_id
        self._queue: SimpleQueue[Record | Interrupted | Remark | Ended] = SimpleQueue()
        self._room = threading.Semaphore(_AHEAD)
        # A daemon: after a detach it may hang in a read that nobody waits for any more.
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def remark(self, text: str) -> None:
        """Put a remark between what follows; from any thread."""
        self._queue.put(Remark(text))

    def __iter__(self) -> Iterator[Record | Interrupted | Remark]:
        """Records, remarks and interruptions until the task has ended.

        Raises what following raised.
        """
        self._thread.start()
        while True:
            try:
                item = self._queue.get(timeout=_LOOK_AGAIN_S)
            except Empty:
                continue
            if isinstance(item, Ended):
                if item.error is not None:
                    raise item.error
                return
            yield item
            if not isinstance(item, Interrupted | Remark):
                self._room.release()

    @contextmanager
    def signals(self, *numbers: int) -> Iterator[None]:
        """Turn these signals into :class:`Interrupted` while the block runs."""

        def note(number: int, _frame: FrameType | None) -> None:
            self._queue.put(Interrupted(number))

        before = {number: signal.signal(number, note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _follow(self) -> None:
        try:
            for record in self._client.follow_task(self._task_id, patience_s=PATIENCE_S):
                self._room.acquire()
                self._queue.put(record)
            self._queue.put(Ended())
        except Exception as error:  # noqa: BLE001 - carried over to the main thread and raised there
            self._queue.put(Ended(error))


def tell_missing(record: Record) -> bool:
    """Say what of an attempt's output is gone; False if something is."""
    if isinstance(record, Output):
        return True
    sizes = {"stdout": record.stdout_missing, "stderr": record.stderr_missing}
    for name, size in sizes.items():
        if size:
            text = f"{size} bytes of {name} of attempt {record.attempt} are gone from the server"
            note(f"taskyard: {text}: deleted from its disk, or damaged; its log tells more")
    return not any(sizes.values())


def emit(output: Output) -> None:
    """The bytes to our own stream of the same name."""
    if output.stream == "stderr":
        write_error(output.data)
    else:
        write_out(output.data)
