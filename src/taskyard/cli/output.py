"""Printing: JSON for programs, tables for people. Rich is loaded only when a table is drawn."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

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
    """Bytes to standard output, at once."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_error(data: bytes) -> None:
    """Bytes to standard error, at once."""
    sys.stderr.flush()
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


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
    """A plain table; a column whose name ends in ``>`` is aligned to the right."""
    from rich import box  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        right = name.endswith(">")
        whole = name.rstrip(">") == "ID"
        drawn.add_column(
            name.rstrip(">"),
            justify="right" if right else "left",
            no_wrap=whole,
            min_width=36 if whole else None,
            overflow="ellipsis",
        )
    for row in rows:
        drawn.add_row(*row)
    return drawn


def print_table(columns: Sequence[str], rows: Iterable[Sequence["RenderableType"]]) -> None:
    """Draw a table on the terminal; says so when it is empty."""
    drawn = table(columns, rows)
    if drawn.row_count == 0:
        say("none")
    else:
        console().print(drawn)


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
