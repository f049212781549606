"""``taskyard submit``."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from taskyard.cli.connection import Connection
from taskyard.cli.error_messages import problems_as_flags
from taskyard.cli.errors import UsageError
from taskyard.cli.last_task import remember
from taskyard.cli.output import print_json, say
from taskyard.cli.task_options import TaskOptions, command_of
from taskyard.sdk import Client
from taskyard.sdk.errors import Overloaded
from taskyard.sdk.models import Submitted
from taskyard.sdk.requests import keyed

Spec = dict[str, Any]
_BATCH_COUNT = 500
_BATCH_BYTES = 4 * 1024 * 1024
"""Half of what the server takes in one body."""
_LONGEST_PAUSE_S = 30.0


def submit(
    *command: str,
    shell: Annotated[str | None, Parameter(name=["--shell", "-s"])] = None,
    file: Annotated[str | None, Parameter(name=["--file", "-f"], allow_leading_hyphen=True)] = None,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"])] = False,
    options: TaskOptions = TaskOptions(),  # noqa: B008 - frozen
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Submit a task without waiting for it: taskyard submit [options] -- COMMAND ARGUMENT...

    Or submit specifications from --file or standard input: a JSON object, a list, or JSON lines.
    Options then apply to specifications that do not set them.

    Args:
        command: Program and arguments, after --.
        shell: A shell command line instead.
        file: File with specifications; - is standard input.
        quiet: Print ids only.
        options: Options of the task.
        connection: Which server.
    """
    wanted = command_of(command, shell)
    if wanted is not None and file is not None:
        raise UsageError("give a command or --file, not both")
    has_image = file is None and options.image is not None
    if wanted is None and file is None and not has_image and sys.stdin.isatty():
        raise UsageError("no command given", what_to_do="Give a command after --, or --file.")
    members = options.members()
    if wanted is not None or has_image:
        with problems_as_flags():
            _submit_one(connection, {**members, "command": wanted}, quiet)
        return
    alone, specs = _read_specs(file or "-")
    specs = [{**members, **spec} for spec in specs]
    if alone:
        _submit_one(connection, specs[0], quiet)
        return
    with connection.open(timeout_s=120) as client, _progress(len(specs)) as advance:
        outcomes = list(_submit_all(client, specs, advance))
    if outcomes:
        remember(outcomes[-1].id)
    if quiet:
        for outcome in outcomes:
            say(outcome.id)
    elif connection.as_json:
        print_json(outcomes)
    else:
        known = sum(not outcome.created for outcome in outcomes)
        say(f"{len(outcomes) - known} submitted" + (f", {known} already known" if known else ""))


def _submit_one(connection: Connection, spec: Spec, quiet: bool) -> None:
    with connection.open() as client:
        task = client.submit_spec(spec)
    remember(task.id)
    if connection.as_json and not quiet:
        print_json(task)
    else:
        say(task.id)


def _read_specs(source: str) -> tuple[bool, list[Spec]]:
    """The specifications in a file, and whether it is a single object. Raises ``UsageError``."""
    try:
        text = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error}") from error
    where = "standard input" if source == "-" else source
    if not text.strip():
        raise UsageError(f"{where} contains no specification")
    try:
        whole = msgspec.json.decode(text, type=list[Spec] | Spec)
    except msgspec.DecodeError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or not text.lstrip().startswith(b"{"):
            raise UsageError(
                f"{where} is neither a JSON object, nor a list of them, nor JSON lines: {error}"
            ) from error
        return False, [_read_line(line, number, where) for number, line in enumerate(lines, 1)]
    if isinstance(whole, dict):
        return True, [whole]
    if not whole:
        raise UsageError(f"{where} contains no specification")
    return False, whole


def _read_line(line: bytes, number: int, where: str) -> Spec:
    try:
        return msgspec.json.decode(line, type=Spec)
    except msgspec.DecodeError as error:
        raise UsageError(
            f"{where}, specification {number}, is not a JSON object: {error}"
        ) from error


def _batches(specs: Iterable[Spec]) -> Iterator[list[Spec]]:
    batch: list[Spec] = []
    size_bytes = 0
    for spec in specs:
        length = len(msgspec.json.encode(spec))
        if batch and (len(batch) == _BATCH_COUNT or size_bytes + length > _BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(spec)
        size_bytes += length
    if batch:
        yield batch


def _submit_all(
    client: Client, specs: Iterable[Spec], advance: Callable[[int], None]
) -> Iterator[Submitted]:
    """Submit in batches; waits as long as an overloaded server asks for."""
    for batch in _batches(specs):
        # Keys chosen here and not by the client: a batch that is sent again keeps them.
        sent = [keyed(spec) for spec in batch]
        while True:
            try:
                yield from client.submit_many(sent)
                break
            except Overloaded as error:
                time.sleep(min(error.retry_after_s, _LONGEST_PAUSE_S))
        advance(len(batch))


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to load, and only this needs it
    from rich.progress import Progress  # noqa: PLC0415 - as above

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("submitting", total=total)
        yield lambda count: bar.advance(task, count)
