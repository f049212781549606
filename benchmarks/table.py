"""The table on the terminal and the JSON report."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.machine import Machine
from benchmarks.rows import Row, quantity

HEADINGS = ("name", "what", "figure", "low … high", "yardstick", "ratio", "required", "verdict")
RIGHT_ALIGNED = {"figure", "low … high", "ratio"}


class Report(msgspec.Struct, frozen=True):
    """One run of the suite, as written to the JSON file."""

    started_at: str
    duration_s: float
    quick: bool
    machine: Machine
    rows: tuple[Row, ...]


def render(rows: Sequence[Row]) -> str:
    """A text table, its notes below it, one line each."""
    lines = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    text = [_line(HEADINGS, widths), "  ".join("-" * width for width in widths)]
    text += [_line(line, widths) for line in lines[1:]]
    notes = _notes(rows)
    return "\n".join([*text, "", *notes] if notes else text)


def report_json(report: Report) -> bytes:
    """The report as indented JSON; each row carries its verdict."""
    document = msgspec.to_builtins(report)
    for row, written in zip(report.rows, document["rows"], strict=True):
        written["verdict"] = row.verdict
        written["required"] = row.requirement.text() if row.requirement else None
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def write_report(report: Report, path: Path) -> None:
    """Replace the report file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(report_json(report))
    unfinished.replace(path)


def _notes(rows: Sequence[Row]) -> list[str]:
    """The rows' notes; one that several rows of a figure share stands once."""
    sharers: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.note:
            sharers.setdefault((row.name, row.note), []).append(row.what)
    return [
        f"{name}: {whats[0]}: {note}" if len(whats) == 1 else f"{name}: {note}"
        for (name, note), whats in sharers.items()
    ]


def _cells(row: Row) -> tuple[str, ...]:
    figure = spread = yardstick = ""
    if row.figure is not None:
        figure = quantity(row.figure.median, row.unit)
        if len(row.figure.rounds) > 1:
            spread = f"{quantity(row.figure.low, '')} … {quantity(row.figure.high, '')}"
    if row.yardstick is not None:
        yardstick = row.yardstick
        if row.yardstick_figure is not None:
            yardstick += f" {quantity(row.yardstick_figure.median, row.unit)}"
    return (
        row.name,
        row.what,
        figure,
        spread,
        yardstick,
        "" if row.ratio is None else f"{row.ratio:.2f} x",
        row.requirement.text() if row.requirement else "",
        row.verdict,
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if heading in RIGHT_ALIGNED else cell.ljust(width)
        for heading, cell, width in zip(HEADINGS, cells, widths, strict=True)
    ]
    return "  ".join(padded).rstrip()
