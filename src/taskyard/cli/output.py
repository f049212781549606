"""Printing: JSON for programs, tables for people. Rich is loaded only when a table is drawn."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from taskyard.cli import exit_status
from taskyard.cli.errors import CommandError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

WHOLE_COLUMNS = ("ID", "STATE", "ADDRESS", "PLANE", "WORKER")
"""What one has to read whole, or copies."""
STATE_COLOURS = {
    "scheduled": "cyan",
    "queued": "blue",
    "assigned": "blue",
    "running": "yellow",
    "retrying": "magenta",
    "succeeded": "green",
    "failed": "red",
    "dead": "bold red",
    "lost": "bold red",
    "killed": "dim red",
    "cancelled": "dim",
    "expired": "dim",
    "ready": "green",
    "draining": "yellow",
    "pending": "yellow",
    "delivered": "green",
}


class OutputLost(CommandError):
    """One of our own output streams cannot be written, such as when its disk is full."""

    def __init__(self, name: str, error: OSError) -> None:
        super().__init__(
            f"{name} cannot be written: {error.strerror or error}",
            exit_status.OUTPUT,
            what_to_do="Redirect it, for example to a file on another disk.",
        )


def open_closed_streams() -> None:
    """Open those of the standard streams that our caller has closed, on ``/dev/null``.

    Otherwise the next file or connection would get the number of one of them, and what is
    written to that stream would end up there.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number and not _is_open(number):
                os.dup2(opened, number)
                os.close(opened)
                opened = number
            setattr(sys, name, open(opened, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - a descriptor, for as long as the process lives


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def on_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:
    """One JSON document: indented on a terminal, on a single line otherwise."""
    encoded = msgspec.json.encode(value)
    if on_terminal():
        encoded = msgspec.json.format(encoded, indent=2)
    write_out(encoded + b"\n")


def write_out(data: bytes) -> None:
    """Bytes to standard output, at once. Raises ``BrokenPipeError`` or :class:`OutputLost`."""
    _write(sys.stdout, "standard output", data)


def write_error(data: bytes) -> None:
    """Bytes to standard error, at once. Raises ``BrokenPipeError`` or :class:`OutputLost`."""
    _write(sys.stderr, "standard error", data)


def flush_out() -> None:
    """Write what tables have left in the buffer. Raises as :func:`write_out`."""
    _write(sys.stdout, "standard output", b"")


def _write(stream: TextIO, name: str, data: bytes) -> None:
    try:
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard(stream)
        raise OutputLost(name, error) from error


def discard(stream: TextIO) -> None:
    """Send a stream to ``/dev/null``: Python flushes at its end, and would complain again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def say(line: str) -> None:
    """A line for people on standard output."""
    write_out(line.encode("utf-8", "replace") + b"\n")


def note(line: str) -> None:
    """A remark for people on standard error, out of the way of the output."""
    write_error(line.encode("utf-8", "replace") + b"\n")


def console() -> "Console":
    """Where tables are drawn; NO_COLOR and dumb terminals are respected."""
    from rich.console import Console  # noqa: PLC0415 - costs a third of the whole start

    return Console(highlight=False, no_color=bool(os.environ.get("NO_COLOR")) or None)


def table(columns: Sequence[str], rows: Iterable[Sequence["RenderableType"]]) -> "Table":
    """A plain table; a column whose name ends in ``>`` is aligned to the right.

    Where the terminal is narrow, columns of :data:`WHOLE_COLUMNS` keep their width.
    """
    from rich import box  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    rows = list(rows)
    for number, name in enumerate(columns):
        right = name.endswith(">")
        whole = name.rstrip(">") in WHOLE_COLUMNS
        longest = max((len(str(row[number])) for row in rows), default=0) if whole else 0
        drawn.add_column(
            name.rstrip(">"),
            justify="right" if right else "left",
            no_wrap=whole,
            min_width=max(longest, len(name)) if whole else None,
            overflow="ellipsis",
        )
    for row in rows:
        drawn.add_row(*row)
    return drawn


def print_table(columns: Sequence[str], rows: Iterable[Sequence["RenderableType"]]) -> None:
    """Draw a table on the terminal; prints "none" if it is empty."""
    drawn = table(columns, rows)
    if drawn.row_count == 0:
        say("none")
    else:
        console().print(drawn)


def one_line(text: object) -> "RenderableType":
    """Plain text that is cut off where its column is too narrow, instead of being wrapped."""
    from rich.text import Text  # noqa: PLC0415 - as above

    return Text("" if text is None else clean(str(text)), no_wrap=True, overflow="ellipsis")


def coloured(state: str) -> "RenderableType":
    """A state in its colour."""
    from rich.text import Text  # noqa: PLC0415 - as above

    return Text(state, style=STATE_COLOURS.get(state, ""))


def plain(text: object) -> "RenderableType":
    """Text that is shown as it is, whatever brackets it has; None is empty."""
    from rich.text import Text  # noqa: PLC0415 - as above

    return Text("" if text is None else clean(str(text)))


def clean(text: str) -> str:
    """Text without control characters, which could take over the terminal."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}"
        for letter in text
    )


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values, one to a line; facts without a value are left out."""
    known = [(name, value) for name, value in facts if value not in (None, "", (), {})]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        say(f"{name:<{width}}  {clean(str(value))}")
