import json
from pathlib import Path

import msgspec
from benchmarks.machine import describe, summary
from benchmarks.rows import Requirement, compared, missing
from benchmarks.table import Report, render, report_json, write_report

ROWS = (
    compared(
        "submits", "submits", "/s", [5000, 6000], "Celery", [2000, 2000],
        Requirement("ratio", "at least", 2.3),
    ),
    missing("peers", "enqueue", "install redis-server"),
)  # fmt: skip


def report(directory: Path) -> Report:
    """A report of two rows on this machine."""
    return Report(
        started_at="2026-01-01T00:00:00+00:00",
        duration_s=1.5,
        quick=True,
        machine=describe(directory),
        rows=ROWS,
    )


def test_table_shows_figure_yardstick_ratio_requirement_and_verdict() -> None:
    """Each row is one line with everything a reader judges it by; notes stand below."""
    text = render(ROWS)
    line = next(line for line in text.splitlines() if line.startswith("submits"))
    assert line.split("  ")[0] == "submits"
    for part in ("5,500/s", "5,000 … 6,000", "Celery 2,000/s", "2.75 x", "≥ 2.3 x", "ok"):
        assert part in line
    assert "peers: enqueue: install redis-server" in text
    assert "not measured" in text


def test_columns_are_aligned() -> None:
    """All lines of the table begin their columns at the same place."""
    heading, rule, first, second, *_ = render(ROWS).splitlines()
    at = heading.index("yardstick")
    assert rule[at - 1] == " "
    assert first[at:].startswith("Celery")
    assert second[at - 1] == " "


def test_json_has_the_verdicts_and_the_machine(tmp_path: Path) -> None:
    """What the table computes for display is in the JSON as well."""
    document = json.loads(report_json(report(tmp_path)))
    assert [row["verdict"] for row in document["rows"]] == ["ok", "not measured"]
    assert document["rows"][0]["required"] == "≥ 2.3 x"
    assert document["rows"][0]["figure"]["rounds"] == [5000, 6000]
    assert document["machine"]["cores"] >= 1
    assert document["machine"]["kernel"]


def test_report_replaces_the_last_one(tmp_path: Path) -> None:
    """The file is whole, its folder is made, and nothing is left beside it."""
    path = tmp_path / "results" / "latest.json"
    write_report(report(tmp_path), path)
    write_report(report(tmp_path), path)
    assert json.loads(path.read_bytes())["quick"] is True
    assert [entry.name for entry in path.parent.iterdir()] == ["latest.json"]


def test_note_shared_by_the_rows_of_a_figure_stands_once() -> None:
    """An error that took a whole figure is told once, not for each of its rows."""
    rows = [missing("flat", what, "no server", failed=True) for what in ("submit", "page")]
    assert render(rows).splitlines()[-1] == "flat: no server"


def test_busy_machine_is_named(tmp_path: Path) -> None:
    """Figures taken while somebody else was at work say so."""
    idle = msgspec.structs.replace(describe(tmp_path), cores=2, load_1m=0.2)
    assert "somebody else" not in summary(idle)
    assert "somebody else" in summary(msgspec.structs.replace(idle, load_1m=5.0))
