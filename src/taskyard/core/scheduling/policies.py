"""Placement policies: which workers a task may go to, besides having room.

Each is a pure predicate over a worker as :class:`Candidate`, with a text of its own for the case
that it refuses one. Those that look at nothing but what workers are (tags, a rule) are *static*:
the scheduler answers them once for each worker, and not once for each task.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Final, Protocol

from msgspec import Meta, Struct

from taskyard.core.scheduling.rules import (
    LENGTH_LIMIT,
    NOBODY,
    Workers,
    asks_for_all,
    holds,
    problem_of_rule,
    reading_effort_of,
    size_of_rule,
)

DEPTH_LIMIT: Final = 8
"""How deep policies may be nested."""
PARTS_LIMIT: Final = 64
"""Policies directly within one policy."""
SIZE_LIMIT: Final = 2000
"""Policies within one policy however deep, and the parts of all its rules, counted together."""
TEXT_LIMIT: Final = 8000
"""Characters of all rules within one policy; what is longer is not even parsed."""


class Candidate(Protocol):
    """A worker as policies see it."""

    @property
    def worker_id(self) -> str:
        """Its name."""
        ...

    @property
    def hostname(self) -> str:
        """Of its machine."""
        ...

    @property
    def tags(self) -> frozenset[str]:
        """Given by its operator; the host name counts as one more."""
        ...

    @property
    def metadata(self) -> dict[str, str]:
        """Given by its operator."""
        ...


class AnyHost(Struct, frozen=True, cache_hash=True, forbid_unknown_fields=True, tag="any"):
    """Every worker will do."""


class OnePerHost(
    Struct, frozen=True, cache_hash=True, forbid_unknown_fields=True, tag="one_per_host"
):
    """At most one attempt of the task's group on a worker."""


class MaxPerHost(
    Struct, frozen=True, cache_hash=True, forbid_unknown_fields=True, tag="max_per_host"
):
    """At most so many attempts of the task's group on a worker."""

    max: Annotated[int, Meta(ge=1, le=64)]


class MatchTag(Struct, frozen=True, cache_hash=True, forbid_unknown_fields=True, tag="match_tag"):
    """Workers with this tag, or with this host name."""

    tag: Annotated[str, Meta(min_length=1, max_length=255)]


class NoTag(Struct, frozen=True, cache_hash=True, forbid_unknown_fields=True, tag="no_tag"):
    """Workers without tags besides their host name."""


class RuleBased(Struct, frozen=True, cache_hash=True, forbid_unknown_fields=True, tag="rule"):
    """Workers for which an expression is true; see :mod:`taskyard.core.scheduling.rules`."""

    rule: Annotated[str, Meta(min_length=1, max_length=LENGTH_LIMIT)]


class Combiner(StrEnum):
    """How the parts of a composite go together."""

    AND = "and"
    OR = "or"


class Composite(Struct, frozen=True, cache_hash=True, forbid_unknown_fields=True, tag="composite"):
    """All of these, or any of them."""

    policies: Annotated["tuple[Policy, ...]", Meta(min_length=1, max_length=64)]
    combiner: Combiner = Combiner.AND


Policy = AnyHost | OnePerHost | MaxPerHost | MatchTag | NoTag | RuleBased | Composite


Judge = Callable[[str, Candidate, Workers], bool]
"""Says whether a rule holds for a worker, given all that are here."""


def refusal(
    policy: Policy,
    worker: Candidate,
    count: int,
    workers: Workers = NOBODY,
    judge: Judge = holds,
) -> str | None:
    """Why a worker will not do, as part of a sentence; None if it will.

    ``count`` is how many attempts of the task's group the worker has; ``workers`` are all that are
    here, which only a rule looks at; ``judge`` may know already what a rule says.
    """
    match policy:
        case AnyHost():
            return None
        case OnePerHost():
            return "runs one of the group already" if count else None
        case MaxPerHost(most):
            return f"runs {count} of the group, and {most} may" if count >= most else None
        case MatchTag(tag):
            has = tag in worker.tags or tag == worker.hostname
            return None if has else f"has no tag {tag!r}"
        case NoTag():
            others = worker.tags - {worker.hostname}
            return f"is reserved by its tag {min(others)!r}" if others else None
        case RuleBased(rule):
            return None if judge(rule, worker, workers) else "does not satisfy the rule"
        case Composite(policies, combiner):
            return _combined(policies, combiner, worker, count, workers, judge)


def _combined(
    policies: tuple[Policy, ...],
    combiner: Combiner,
    worker: Candidate,
    count: int,
    workers: Workers,
    judge: Judge,
) -> str | None:
    texts = []
    for one in policies:
        text = refusal(one, worker, count, workers, judge)
        if combiner is Combiner.AND and text is not None:
            return text
        if combiner is Combiner.OR and text is None:
            return None
        texts.append(text)
    return None if combiner is Combiner.AND else " and ".join(filter(None, texts))


def parts_in(policy: Policy) -> int:
    """A policy and all within it, counted."""
    if isinstance(policy, Composite):
        return 1 + sum(map(parts_in, policy.policies))
    return 1


def rules_of(policy: Policy) -> list[str]:
    """All rules within a policy."""
    match policy:
        case RuleBased(rule):
            return [rule]
        case Composite(policies, _):
            return [rule for one in policies for rule in rules_of(one)]
        case _:
            return []


def looks_around(policy: Policy) -> bool:
    """Whether what it says of a worker may change with the others that are here."""
    match policy:
        case RuleBased(rule):
            return asks_for_all(rule)
        case Composite(policies, _):
            return any(map(looks_around, policies))
        case _:
            return False


def static_part(policy: Policy) -> Policy | None:
    """What of a policy depends on nothing but what a worker is; None if that is nothing."""
    match policy:
        case MatchTag() | NoTag() | RuleBased():
            return policy
        case Composite(policies, Combiner.AND):
            parts = tuple(part for one in policies if (part := static_part(one)) is not None)
            return Composite(parts) if len(parts) > 1 else (parts[0] if parts else None)
        case Composite(policies, Combiner.OR):
            parts = tuple(part for one in policies if (part := static_part(one)) is not None)
            # Only if every alternative is static, and wholly so, is their choice.
            return policy if len(parts) == len(policies) and parts == policies else None
        case _:
            return None


def most_per_host(policy: Policy) -> int | None:
    """The least number of attempts of a group at which a policy refuses any worker; None if there
    is no such number.
    """
    match policy:
        case OnePerHost():
            return 1
        case MaxPerHost(most):
            return most
        case Composite(policies, Combiner.AND):
            return min(
                (n for one in policies if (n := most_per_host(one)) is not None), default=None
            )
        case _:
            return None


def reserving(policy: Policy) -> Policy:
    """The same, but never on a worker with tags unless it asks for tags or decides by a rule."""
    return policy if _chooses(policy) else Composite((policy, NoTag()))


def problem_of(policy: Policy) -> str | None:
    """What is wrong with a submitted policy; None if it is valid.

    What it costs to say so is bounded by the limits above, however large the policy is.
    """
    parts = parts_of(policy, SIZE_LIMIT, DEPTH_LIMIT)
    if parts is None:
        return f"is nested deeper than {DEPTH_LIMIT}, or has more than {SIZE_LIMIT} parts"
    rules = {one.rule for one in parts if isinstance(one, RuleBased)}
    if sum(map(len, rules)) > TEXT_LIMIT:
        return f"its rules have more than {TEXT_LIMIT} characters together"
    for one in parts:
        if (problem := _problem_of_part(one)) is not None:
            return problem
    if len(parts) + sum(map(size_of_rule, rules)) > SIZE_LIMIT:
        return f"it and its rules have more than {SIZE_LIMIT} parts together"
    return None


def reading_effort(policy: Policy) -> int:
    """Steps that :func:`problem_of` takes for rules that were not parsed lately; see ``steps``."""
    parts = parts_of(policy, SIZE_LIMIT, DEPTH_LIMIT) or ()
    rules = {one.rule for one in parts if isinstance(one, RuleBased)}
    if sum(map(len, rules)) > TEXT_LIMIT:
        return 0  # They will be refused unread.
    return sum(map(reading_effort_of, rules))


def parts_of(policy: Policy, most: int, depth: int) -> list[Policy] | None:
    """A policy and all within it; None if they are too many, or nested too deeply."""
    found: list[Policy] = []
    level: list[Policy] = [policy]
    while level:
        found += level
        if depth <= 0 or len(found) > most:
            return None
        depth -= 1
        level = [one for part in level if isinstance(part, Composite) for one in part.policies]
    return found


def _problem_of_part(part: Policy) -> str | None:
    match part:
        case MaxPerHost(most) if not 1 <= most <= 64:
            return "max must be from 1 to 64"
        case MatchTag(tag) if not 1 <= len(tag) <= 255:
            return "tag needs 1 to 255 characters"
        case RuleBased(rule):
            return problem_of_rule(rule)
        case Composite(policies, _) if not 1 <= len(policies) <= PARTS_LIMIT:
            return f"a composite needs 1 to {PARTS_LIMIT} policies"
        case _:
            return None


def _chooses(policy: Policy) -> bool:
    if isinstance(policy, Composite):
        return any(map(_chooses, policy.policies))
    return isinstance(policy, MatchTag | RuleBased)
