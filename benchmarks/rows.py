"""The rows of the table: a figure, its yardstick, what is required, and the verdict."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from benchmarks.rounds import Summary, paired_ratio, summarize

Verdict = Literal["ok", "missed", "not measured", "failed", "-"]


class Requirement(msgspec.Struct, frozen=True):
    """A limit on a row's figure or on its ratio to the yardstick.

    Attributes:
        subject: what is held against the limit.
        direction: `at least` and `at most` include the limit, `under` does not.
        unit: that of a figure; a ratio has none.
    """

    subject: Literal["figure", "ratio"]
    direction: Literal["at least", "at most", "under"]
    limit: float
    unit: str = ""

    def holds(self, value: float) -> bool:
        """Whether a value keeps to the limit."""
        if self.direction == "at least":
            return value >= self.limit
        return value <= self.limit if self.direction == "at most" else value < self.limit

    def text(self) -> str:
        """As the table shows it: `≥ 5,000/s`, `≥ 2.3 x`, `< 20 ms`."""
        sign = {"at least": "≥", "at most": "≤", "under": "<"}[self.direction]
        return (
            f"{sign} {self.limit:g} x"
            if self.subject == "ratio"
            else f"{sign} {quantity(self.limit, self.unit)}"
        )


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table.

    Attributes:
        figure: None when it could not be measured; `note` then says why.
        yardstick: what it is compared with, if anything.
        failed: measuring ended in an error rather than for want of a part.
    """

    name: str
    what: str
    unit: str = ""
    figure: Summary | None = None
    yardstick: str | None = None
    yardstick_figure: Summary | None = None
    ratio: float | None = None
    requirement: Requirement | None = None
    note: str | None = None
    failed: bool = False

    @property
    def verdict(self) -> Verdict:
        """Whether the requirement is kept; `-` without one."""
        if self.failed:
            return "failed"
        if self.figure is None:
            return "not measured"
        if self.requirement is None:
            return "-"
        value = self.ratio if self.requirement.subject == "ratio" else self.figure.median
        if value is None:
            return "not measured"
        return "ok" if self.requirement.holds(value) else "missed"


def plain(
    name: str,
    what: str,
    unit: str,
    values: Sequence[float],
    requirement: Requirement | None = None,
    note: str | None = None,
) -> Row:
    """A row that stands for itself."""
    return Row(
        name=name,
        what=what,
        unit=unit,
        figure=summarize(values),
        requirement=requirement,
        note=note,
    )


def compared(
    name: str,
    what: str,
    unit: str,
    values: Sequence[float],
    yardstick: str,
    yardstick_values: Sequence[float],
    requirement: Requirement | None = None,
    note: str | None = None,
) -> Row:
    """A row held against a yardstick measured in turns with it, round by round."""
    return Row(
        name=name,
        what=what,
        unit=unit,
        figure=summarize(values),
        yardstick=yardstick,
        yardstick_figure=summarize(yardstick_values),
        ratio=paired_ratio(values, yardstick_values),
        requirement=requirement,
        note=note,
    )


def missing(
    name: str, what: str, note: str, requirement: Requirement | None = None, *, failed: bool = False
) -> Row:
    """A row without a figure, and why."""
    return Row(name=name, what=what, requirement=requirement, note=note, failed=failed)


def quantity(value: float, unit: str) -> str:
    """A number with as many digits as it deserves, and its unit."""
    if value >= 100 or value == int(value):
        number = f"{value:,.0f}"
    else:
        number = f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return number + unit if unit.startswith("/") else f"{number} {unit}".rstrip()
