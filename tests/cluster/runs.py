"""What really ran: each run writes a line when it begins and one when it ends, or one alone."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

COMMAND = (
    'run="$MARK $$.$(date +%s%N)"; echo "$run begin $(date +%s%N)" >> "$RUNS"; echo "out $MARK";'
    ' sleep 0.$TENTHS; echo "$run end $(date +%s%N)" >> "$RUNS"; exit $CODE'
)
"""A shell line that runs for a moment; ``MARK``, ``RUNS``, ``TENTHS`` and ``CODE`` say how."""
FUNCTION = """
import os, time

def run(mark):
    with open({runs!r}, "a") as runs:
        name = f"{{mark}} {{os.getpid()}}.{{time.time_ns()}}"
        runs.write(f"{{name}} begin {{time.time_ns()}}\\n")
        runs.flush()
        time.sleep(0.1)
        runs.write(f"{{name}} end {{time.time_ns()}}\\n")
    return mark

def handle(event, context):
    return run({prefix!r} + event.body.decode())
"""
"""Source of a function that answers with its body, behind a prefix."""

Span = tuple[int, int]


@dataclass
class Runs:
    """Everything that ran, by mark."""

    begun: Counter[str] = field(default_factory=Counter)
    """How often each began."""
    spans: dict[str, list[Span]] = field(default_factory=dict)
    """From when to when, in nanoseconds, those ran that came to their end."""

    @classmethod
    def read(cls, path: Path) -> "Runs":
        """What was written there."""
        found, since = cls(), dict[str, int]()
        for line in path.read_text().splitlines():
            mark, name, what, at = line.split()
            if what == "ran":
                found.begun[mark] += 1
            elif what == "begin":
                found.begun[mark] += 1
                since[name] = int(at)
            else:
                found.spans.setdefault(mark, []).append((since[name], int(at)))
        return found

    def most_at_once(self, marks: set[str]) -> int:
        """How many of these ran at one moment, at most."""
        spans = [span for mark in marks for span in self.spans.get(mark, [])]
        moments = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
        most = now = 0
        for _, step in moments:
            now += step
            most = max(most, now)
        return most
