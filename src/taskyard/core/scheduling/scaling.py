"""How many workers a group's tasks are worth, for whoever starts and stops workers."""

from collections import Counter
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from msgspec import Struct

from taskyard.core.scheduling.policies import Combiner, Composite, MatchTag, Policy
from taskyard.core.scheduling.requirements import Requirements


class Sample(NamedTuple):
    """Some tasks, in order, and how many there are in all."""

    seen: Sequence[Requirements]
    total: int


class TagDemand(Struct, frozen=True):
    """The tasks that ask for one tag."""

    tag: str | None
    """None for those that ask for none."""
    waiting: int
    running: int
    wanted: int
    """Workers."""


def demand_by_tag(
    waiting: Sample, running: Sample, startable: int | None, slots: int
) -> list[TagDemand]:
    """What is there and how many workers that wants, by tag; nothing for nothing.

    Args:
        waiting: ready tasks, those that go first in front.
        running: tasks that are running.
        startable: how many of the waiting ones limits let start; all of them if None.
        slots: that one worker has, at least 1.

    Those that were not seen count as if they were like those that were.
    """
    may_start = waiting.total if startable is None else min(startable, waiting.total)
    starting = Sample(waiting.seen[:may_start], may_start)
    counts = _counts(waiting), _counts(running)
    asked = _slots(starting)
    asked.update(_slots(running))
    tags = sorted({*counts[0], *counts[1]}, key=lambda tag: (tag is not None, tag or ""))
    return [
        TagDemand(tag, counts[0][tag], counts[1][tag], ceil(asked[tag] / slots)) for tag in tags
    ]


def tag_of(policy: Policy | None) -> str | None:
    """The tag that a policy asks for without an alternative; None if it asks for none."""
    match policy:
        case MatchTag(tag):
            return tag
        case Composite(policies, Combiner.AND):
            return next((found for found in map(tag_of, policies) if found is not None), None)
        case _:
            return None


def _counts(sample: Sample) -> Counter[str | None]:
    return _projected(sample, Counter(tag_of(one.policy) for one in sample.seen))


def _slots(sample: Sample) -> Counter[str | None]:
    """Slots by tag; what takes none counts as one in all, as it needs a worker too."""
    found: Counter[str | None] = Counter()
    for one in sample.seen:
        found[tag_of(one.policy)] += one.resources.slots
    return _projected(sample, Counter({tag: max(1, count) for tag, count in found.items()}))


def _projected(sample: Sample, found: Counter[str | None]) -> Counter[str | None]:
    """The same for all of them."""
    seen = len(sample.seen)
    if not seen:
        return Counter({None: sample.total}) if sample.total else Counter()
    return Counter(
        {tag: -(-count * max(seen, sample.total) // seen) for tag, count in found.items()}
    )
