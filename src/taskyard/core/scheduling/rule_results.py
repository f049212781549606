"""Results of placement rules, evaluated once per rule and worker.

Kept for each workspace apart: one with more rules than fit forgets its own, and pays for them
again.
"""

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Final

from taskyard.core.ids import WorkerId, WorkspaceName
from taskyard.core.scheduling.policies import (
    Candidate,
    Composite,
    Policy,
    looks_around,
    parts_in,
    refusal,
    rules_of,
)
from taskyard.core.scheduling.rule_budget import Budget
from taskyard.core.scheduling.rules import Workers, effort_of, holds, mentions_all

RULES: Final = 4096
"""Rules remembered of one workspace."""
ANSWERS: Final = 1 << 17
"""Answers remembered of one workspace."""
IN_ALL: Final = 1 << 20
"""Answers remembered of all workspaces together."""
_PARTS_A_STEP: Final = 16
"""Parts of a policy that are looked at within one step, their rules' answers being known."""


class _Rule:
    """One rule's answers, by the edition of the worker."""

    __slots__ = ("answers", "generation")

    def __init__(self) -> None:
        self.answers: dict[int, bool] = {}
        self.generation = 0


class _Known:
    """What is remembered for one workspace."""

    __slots__ = ("count", "rules")

    def __init__(self) -> None:
        self.rules: OrderedDict[str, _Rule] = OrderedDict()
        """The one asked for longest ago first."""
        self.count = 0

    def forget_oldest(self) -> int:
        _, rule = self.rules.popitem(last=False)
        self.count -= len(rule.answers)
        return len(rule.answers)


class RuleResults:
    """The memory, and the way to ask."""

    def __init__(self, metadata: Workers) -> None:
        """``metadata`` is that of all workers here, always as it is now."""
        self._metadata = metadata
        self._known: dict[WorkspaceName | None, _Known] = {}
        self._editions: dict[WorkerId, int] = {}
        """One life of one description of a worker; never used again for another."""
        self._last_edition = 0
        self._generation = 0
        self._count = 0

    def describe(self, worker_id: WorkerId) -> None:
        """A worker is here with a new description: what was said of it is void.

        So is what rules said that look at all workers.
        """
        self._last_edition += 1
        self._editions[worker_id] = self._last_edition
        self._generation += 1

    def forget(self, worker_id: WorkerId) -> None:
        """A worker is gone."""
        if self._editions.pop(worker_id, None) is not None:
            self._generation += 1

    def refusal(self, policy: Policy, worker: Candidate, count: int, budget: Budget) -> str | None:
        """As :func:`~taskyard.core.scheduling.policies.refusal`, paying for missing answers.

        Raises :class:`OutOfSteps`. What was found out until then is kept.
        """
        if isinstance(policy, Composite):
            parts = parts_in(policy) // _PARTS_A_STEP
            if parts:
                budget.spend(parts)
        return refusal(policy, worker, count, self._metadata, partial(self._holds, budget))

    def is_wide(self, policy: Policy, budget: Budget) -> bool:
        """Whether what a policy says of a worker may change with the others that are here.

        Raises :class:`OutOfSteps`.
        """
        for one in rules_of(policy):
            if mentions_all(one):
                budget.spend(effort_of(one))
        return looks_around(policy)

    def _holds(self, budget: Budget, rule: str, worker: Candidate, workers: Workers) -> bool:
        known = self._known.get(budget.owner)
        if known is None:
            known = self._known[budget.owner] = _Known()
        kept = known.rules.get(rule)
        if kept is None:
            kept = known.rules[rule] = _Rule()
            self._keep_bounds(known)
        else:
            known.rules.move_to_end(rule)
        if kept.generation != self._generation and mentions_all(rule):
            self._count -= len(kept.answers)
            known.count -= len(kept.answers)
            kept.answers.clear()
        kept.generation = self._generation
        edition = self._editions[WorkerId(worker.worker_id)]
        found = kept.answers.get(edition)
        if found is None:
            budget.spend(effort_of(rule))
            found = kept.answers[edition] = holds(rule, worker, workers)
            known.count += 1
            self._count += 1
            self._keep_bounds(known)
        return found

    def _keep_bounds(self, known: _Known) -> None:
        while len(known.rules) > RULES or (known.count > ANSWERS and len(known.rules) > 1):
            self._count -= known.forget_oldest()
        while self._count > IN_ALL:
            owner, most = max(self._known.items(), key=lambda one: one[1].count)
            self._count -= most.forget_oldest()
            if not most.rules:
                del self._known[owner]

    def remembered(self) -> Mapping[WorkspaceName | None, int]:
        """How many answers are remembered for whom."""
        return {owner: known.count for owner, known in self._known.items()}
