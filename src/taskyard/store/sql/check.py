"""Checks what has to hold in every store at every moment: one rule, one query of ``check.sql``.

The caller gives a connection that sees one snapshot; nothing is written. The same rules hold on
both databases, and tests use them too.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, Protocol

import msgspec
from msgspec import Struct

SHOWN: Final = 10
"""Entries that a finding names; the others are counted."""
_TASKS: Final = (
    "Such tasks may be shown wrongly, or never end. Remove them with 'taskyard rm' once they have "
    "ended, or restore a backup."
)
_COUNTS: Final = "What is shown as totals is wrong, and so are limits. Restore a backup."
_ROWS: Final = "The rows are harmless, but take room. Restore a backup if anything is missed."
_FUNCTIONS: Final = "Deploy the functions again."


class Finding(Struct, frozen=True):
    """A rule that does not hold."""

    rule: str
    severity: Literal["error", "warning"]
    problem: str
    """What is wrong, as a sentence."""
    what_to_do: str
    count: int
    """How many entries break it."""
    entries: tuple[str, ...]
    """The first of them, each with what is wrong with it."""


class Rule(Struct, frozen=True):
    """What has to hold, and what to say if it does not."""

    name: str
    """Of its query."""
    problem: str
    what_to_do: str


RULES: Final = (
    Rule("state_against_history", "Tasks are in another state than their history says.", _TASKS),
    Rule("history_after_end", "Tasks went on after they had ended.", _TASKS),
    Rule("history_numbers", "Histories of tasks have gaps.", _TASKS),
    Rule("task_columns", "Tasks contradict themselves.", _TASKS),
    Rule("attempt_numbers", "Tasks do not have the attempts that they count.", _TASKS),
    Rule("attempt_owner", "Attempts name another task than they belong to.", _TASKS),
    Rule("attempt_end", "Attempts contradict themselves.", _TASKS),
    Rule("current_attempt", "Tasks and attempts disagree on what runs.", _TASKS),
    Rule("attempt_worker", "Attempts run on workers that are unknown.", _TASKS),
    Rule("success", "Tasks succeeded without an attempt that did.", _TASKS),
    Rule("assigned_events", "Histories disagree with the attempts of tasks.", _TASKS),
    Rule("started_events", "Histories disagree with the starts of attempts.", _TASKS),
    Rule("ended_events", "Histories disagree with the ends of attempts.", _TASKS),
    Rule("event_attempts", "Histories name attempts that do not exist.", _TASKS),
    Rule("task_counts", "Kept totals of tasks differ from what there is.", _COUNTS),
    Rule("output_totals", "Kept totals of output differ from what there is.", _COUNTS),
    Rule("job_counts", "Kept totals of jobs differ from what there is.", _COUNTS),
    Rule("list_numbers", "Lists would give numbers twice.", _COUNTS),
    Rule("execution_numbers", "Jobs would give numbers twice.", _COUNTS),
    Rule("version_numbers", "Functions would give numbers of versions twice.", _FUNCTIONS),
    Rule("live_versions", "Functions have a live version that does not exist.", _FUNCTIONS),
    Rule("orphans", "Rows belong to what does not exist.", _ROWS),
    Rule("tries", "Messages have more tries than they count.", _ROWS),
    Rule("parked", "Parked entries do not exist.", _ROWS),
)


class Snapshot(Protocol):
    """A connection whose reads all see the same state of the store."""

    def execute(self, name: str) -> Iterable[tuple[Any, ...]]:
        """Run a named query."""
        ...


class Bytes(Protocol):
    """What is kept outside the database. Calls may block."""

    def has_stream(self, attempt_id: str, stream: str) -> bool:
        """Whether there is output of this stream of an attempt."""
        ...

    def has_result(self, attempt_id: str) -> bool:
        """Whether there is an attempt's large answer."""
        ...

    def has_bundle(self, bundle: str) -> bool:
        """Whether there is a bundle of source."""
        ...


def check_rows(snapshot: Snapshot, rules: Iterable[Rule] = RULES) -> Iterator[Finding]:
    """The rules that do not hold, in the order above. Blocks."""
    for rule in rules:
        entries = (f"{name} {what}" for name, what in snapshot.execute(f"check.{rule.name}"))
        finding = _finding(rule, "error", entries)
        if finding is not None:
            yield finding


def check_bytes(snapshot: Snapshot, kept: Bytes) -> Iterator[Finding]:
    """What the database says is kept outside of it, and is not: warnings. Blocks."""
    for rule, entries in (
        (
            Rule("output", "Output of attempts is gone.", "Copy 'attempts' back from a backup."),
            _missing_output(snapshot, kept),
        ),
        (
            Rule("results", "Answers of calls are gone.", "Copy 'attempts' back from a backup."),
            (
                attempt_id
                for (attempt_id,) in snapshot.execute("check.results_expected")
                if not kept.has_result(attempt_id)
            ),
        ),
        (
            Rule("bundles", "Sources of functions are gone.", _FUNCTIONS),
            (
                bundle
                for (bundle,) in snapshot.execute("check.bundles_expected")
                if not kept.has_bundle(bundle)
            ),
        ),
    ):
        finding = _finding(rule, "warning", entries)
        if finding is not None:
            yield finding


def _finding(
    rule: Rule, severity: Literal["error", "warning"], entries: Iterable[str]
) -> Finding | None:
    count, shown = 0, []
    for entry in entries:
        count += 1
        if count <= SHOWN:
            shown.append(entry)
    if not count:
        return None
    return Finding(rule.name, severity, rule.problem, rule.what_to_do, count, tuple(shown))


def _missing_output(snapshot: Snapshot, kept: Bytes) -> Iterator[str]:
    for attempt_id, outcome in snapshot.execute("check.output_expected"):
        claims: Mapping[str, Any] = msgspec.json.decode(outcome)
        for stream in ("stdout", "stderr"):
            size = claims.get(stream, {}).get("stored_bytes", 0)
            if size and not kept.has_stream(attempt_id, stream):
                yield f"{attempt_id} has lost {size} bytes of {stream}"
