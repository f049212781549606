"""``taskyard run``."""

import signal
import sys
from collections.abc import Callable
from typing import Annotated

from cyclopts import Parameter

from taskyard.cli import exit_status
from taskyard.cli.connection import Connection
from taskyard.cli.error_messages import problems_as_flags
from taskyard.cli.errors import UsageError
from taskyard.cli.last_task import remember
from taskyard.cli.output import OutputLost, clean, note, print_json, say
from taskyard.cli.prompts import ask, can_ask
from taskyard.cli.stream import Interrupted, Remark, TaskStream, emit, tell_missing
from taskyard.cli.task_options import TaskOptions, command_of
from taskyard.cli.task_view import describe_end
from taskyard.cli.waiting import WaitingReasons
from taskyard.sdk import Client
from taskyard.sdk.models import Exit

_QUESTION = "[d]etach (or Ctrl-C again), [k]ill, [c]ontinue?"


def run(
    *command: str,
    shell: Annotated[str | None, Parameter(name=["--shell", "-s"])] = None,
    detach: Annotated[bool, Parameter(name=["--detach", "-d"])] = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"])] = False,
    options: TaskOptions = TaskOptions(),  # noqa: B008 - frozen
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Run a command: taskyard run [options] -- COMMAND ARGUMENT...

    Streams its output and exits as it does. Ctrl-C asks whether to detach or to kill.

    Args:
        command: Program and arguments, after --.
        shell: A shell command line instead, such as 'make | tee log'.
        detach: Print the task id and return without waiting.
        quiet: Print nothing about what the task waits for, and how it ended.
        options: Options of the task.
        connection: Which server.
    """
    wanted = command_of(command, shell)
    if wanted is None and options.image is None:
        raise UsageError(
            "no command given", what_to_do="Give a command after --, or --shell, or --image."
        )
    members = options.members()
    if "cron" in members and not detach:
        raise UsageError(
            "a recurring task has no output of its own",
            what_to_do="Use 'taskyard cron add', or --detach.",
        )
    with connection.open() as client:
        # An interrupt between submit and follow would leave a task that nobody knows of.
        with _held(), problems_as_flags():
            task = client.submit_spec({**members, "command": wanted})
            remember(task.id)
        if detach:
            if connection.json:
                print_json(task)
            else:
                say(task.id)
            return exit_status.OK
        return _attend(client, task.id, None if quiet else note)


class _held:  # noqa: N801 - reads as a statement
    """Holds back SIGINT and SIGTERM; they arrive when the block is left."""

    def __enter__(self) -> None:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)


def _attend(client: Client, task_id: str, remark: Callable[[str], None] | None) -> int:
    """Stream a task to its end, or until the user detaches; the exit status."""
    stream = TaskStream(client, task_id)
    last: Exit | None = None
    killing = False
    reasons = WaitingReasons(client, task_id, stream.remark)
    if remark is not None and sys.stderr.isatty():
        reasons.start()
    with stream.signals(signal.SIGINT, signal.SIGTERM):
        for item in stream:
            if isinstance(item, Interrupted):
                choice = _choose(item.number, killing)
                if choice == "d":
                    state = "detached; it is still being killed" if killing else "detached"
                    note(f"{state}; follow it with: taskyard logs -f {task_id}")
                    return 128 + item.number
                if choice == "k":
                    killing = True
                    client.cancel(task_id)
                    note("killing the task; interrupt again to detach without waiting for its end")
            elif isinstance(item, Remark):
                note(f"taskyard: waiting: {clean(item.text)}")
            elif isinstance(item, Exit):
                reasons.stop()
                last = item
                tell_missing(item)
            else:
                reasons.stop()
                try:
                    emit(item)
                except (BrokenPipeError, OutputLost):
                    # As the command itself would end if it wrote to that pipe or file.
                    client.cancel(task_id)
                    raise
    reasons.stop()
    task = client.get(task_id)
    if remark is not None and task.state != "succeeded":
        remark(f"taskyard: {describe_end(task)}")
    return exit_status.of_task(last, task)


def _choose(number: int, killing: bool) -> str:
    """``d`` detaches, ``k`` kills, anything else goes on."""
    if killing:
        return "d"
    if number == signal.SIGINT and can_ask():
        return ask(_QUESTION) or "k"
    return "k"
