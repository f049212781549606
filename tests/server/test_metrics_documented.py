"""Every metric is in the reference, and nothing else is."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


def test_metrics_are_those_of_the_reference() -> None:
    """By the names that the source gives them."""
    sources = "".join(one.read_text() for one in ROOT.glob("src/taskyard/server/*metrics.py"))
    made = {name.removesuffix("_total") for name in re.findall(r'"(taskyard_\w+)"', sources)}
    page = (ROOT / "docs/reference/metrics.md").read_text()
    told = re.findall(r"^\| `(taskyard_\w+)`", page, re.MULTILINE)
    assert sorted({name.removesuffix("_total") for name in told}) == sorted(made)
    assert len(told) == len(set(told))
