"""Translates placement policies into policies of the engine.

Executors with tags are reserved: a policy that neither asks for a tag nor decides by a rule never
goes to one.
"""

from collections.abc import Callable
from typing import Final, assert_never

from taskyard.core.scheduling import policies as core
from taskyard.core.scheduling.rules import problem_of_rule
from taskyard.dialects.drove import schemas as wire
from taskyard.dialects.drove.hope import rule_of_hope
from taskyard.dialects.drove.mvel import rule_of_mvel
from taskyard.dialects.drove.ruledata import LENGTH_LIMIT, RuleData

HOST_LIMIT: Final = 64
_TAG_LENGTH: Final = 255
_STEPS_A_CHARACTER: Final = 8

Say = Callable[[str, str], None]
"""Takes the path of a member and what is wrong with it."""


class LocalRefused(ValueError):
    """The policy LOCAL is for another kind of workload."""


class RuleRefused(ValueError):
    """A rule that cannot be evaluated here."""


def check_policy(say: Say, path: str, policy: wire.WirePolicy) -> None:
    """Tell every violation in a policy and in those inside it.

    Rules that are too long together are told before anything tries to understand them.
    """
    if _characters(policy) > core.TEXT_LIMIT:
        say(path, f"has rules of more than {core.TEXT_LIMIT} characters together")
    else:
        _check_policy(say, path, policy, 1)


def translation_effort(policy: wire.WirePolicy | None) -> int:
    """Steps that translating the rules of a checked policy takes; see ``core.steps``."""
    return 0 if policy is None else _STEPS_A_CHARACTER * _characters(policy)


def _characters(policy: wire.WirePolicy) -> int:
    """Of all rules within a policy, those aside that are too long by themselves."""
    count, level, depth = 0, [policy], 0
    while level and depth <= core.DEPTH_LIMIT:
        lengths = [len(one.rule or "") for one in level if isinstance(one, wire.RuleBased)]
        count += sum(length for length in lengths if length <= LENGTH_LIMIT)
        composites = [one for one in level if isinstance(one, wire.Composite)]
        level = [part for one in composites for part in one.policies or ()]
        depth += 1
    return count


def _check_policy(say: Say, path: str, policy: wire.WirePolicy, depth: int) -> None:
    match policy:
        case wire.MaxPerHost(max=most):
            if not 1 <= most <= HOST_LIMIT:
                say(f"{path}.max", f"must be between 1 and {HOST_LIMIT}")
        case wire.MatchTag(tag=tag):
            if not tag:
                say(f"{path}.tag", "must not be empty")
            elif len(tag) > _TAG_LENGTH:
                say(f"{path}.tag", f"size must be between 1 and {_TAG_LENGTH}")
        case wire.RuleBased(rule=rule, ruleType=kind):
            if not rule:
                say(f"{path}.rule", "must not be empty")
            if kind is None:
                say(f"{path}.ruleType", "must not be null")
        case wire.Composite(policies=policies):
            _check_parts(say, f"{path}.policies", policies or [], depth)
        case _:
            return


def _check_parts(say: Say, path: str, policies: list[wire.WirePolicy], depth: int) -> None:
    if not policies:
        say(path, "must not be empty")
    elif len(policies) > core.PARTS_LIMIT or depth >= core.DEPTH_LIMIT:
        say(path, "has too many parts")
    else:
        for number, one in enumerate(policies):
            _check_policy(say, f"{path}[{number}]", one, depth + 1)


def engine_policy(policy: wire.WirePolicy | None, data: RuleData) -> core.Policy:
    """What a checked policy means; without one, any executor that is not reserved.

    Raises :class:`LocalRefused`, :class:`RuleRefused`.
    """
    meant = core.reserving(_policy(policy or wire.AnyHost(), data))
    if (problem := core.problem_of(meant)) is not None:
        raise RuleRefused(f"placementPolicy: {problem}")
    return meant


def _policy(policy: wire.WirePolicy, data: RuleData) -> core.Policy:
    match policy:
        case wire.AnyHost():
            return core.AnyHost()
        case wire.OnePerHost():
            return core.OnePerHost()
        case wire.MaxPerHost(max=most):
            return core.MaxPerHost(most)
        case wire.MatchTag(tag=tag):
            return core.MatchTag(tag or "")
        case wire.NoTag():
            return core.NoTag()
        case wire.RuleBased(rule=rule, ruleType=kind):
            return core.RuleBased(_rule(rule or "", kind, data))
        case wire.Composite(policies=policies, combiner=combiner):
            parts = tuple(_policy(one, data) for one in policies or ())
            either = combiner is wire.Combiner.OR
            return core.Composite(parts, core.Combiner.OR if either else core.Combiner.AND)
        case wire.Local():
            raise LocalRefused("placement policy LOCAL is not for tasks")
        case _ as never:
            assert_never(never)


def _rule(rule: str, kind: wire.RuleType | None, data: RuleData) -> str:
    if len(rule) > LENGTH_LIMIT:
        raise RuleRefused(f"the rule has more than {LENGTH_LIMIT} characters")
    translate = rule_of_hope if kind is wire.RuleType.HOPE else rule_of_mvel
    try:
        text = translate(rule, data)
    except ValueError as error:
        raise RuleRefused(f"Rule of type {kind}: {error}") from error
    problem = problem_of_rule(text)
    if problem is not None:
        raise RuleRefused(f"Rule of type {kind}: it is too large, or nested too deeply")
    return text


def without_rules(policy: core.Policy) -> core.Policy | None:
    """What of a policy is about tags alone, for the check of capacity; None if that is nothing."""
    static = core.static_part(policy)
    return None if static is None else _tags_only(static)


def _tags_only(policy: core.Policy) -> core.Policy | None:
    match policy:
        case core.RuleBased():
            return None
        case core.Composite(parts, core.Combiner.OR) if any(
            _tags_only(one) is None for one in parts
        ):
            return None
        case core.Composite(parts, combiner):
            kept = tuple(one for part in parts if (one := _tags_only(part)) is not None)
            return core.Composite(kept, combiner) if kept else None
        case _:
            return policy
