"""Members and methods of what rules in MVEL can see."""

from collections.abc import Callable, Sequence
from typing import Final

from taskyard.dialects.drove.ruledata import Kind, RuleData, RuleProblem, Term, need

_Forms = dict[tuple[Kind, str, int], tuple[str, Kind]]
_FORMS: Final[_Forms] = {
    (Kind.TEXT, "contains", 1): ("({1} in {0})", Kind.TRUTH),
    (Kind.TEXT, "startsWith", 1): ("starts({0}, {1})", Kind.TRUTH),
    (Kind.TEXT, "endsWith", 1): ("ends({0}, {1})", Kind.TRUTH),
    (Kind.TEXT, "equals", 1): ("({0} == {1})", Kind.TRUTH),
    (Kind.TEXT, "equalsIgnoreCase", 1): ("(lower({0}) == lower({1}))", Kind.TRUTH),
    (Kind.TEXT, "isEmpty", 0): ("(size({0}) == 0)", Kind.TRUTH),
    (Kind.TEXT, "length", 0): ("size({0})", Kind.NUMBER),
    (Kind.TEXT, "toLowerCase", 0): ("lower({0})", Kind.TEXT),
    (Kind.TEXT, "toUpperCase", 0): ("upper({0})", Kind.TEXT),
    (Kind.TEXT, "trim", 0): ("trim({0})", Kind.TEXT),
    (Kind.TEXT, "substring", 1): ("part({0}, {1})", Kind.TEXT),
    (Kind.TEXT, "substring", 2): ("part({0}, {1}, {2})", Kind.TEXT),
    (Kind.EXECUTOR, "equals", 1): ("({0} == {1})", Kind.TRUTH),
    (Kind.LIST, "contains", 1): ("({1} in {0})", Kind.TRUTH),
    (Kind.LIST, "isEmpty", 0): ("(size({0}) == 0)", Kind.TRUTH),
    (Kind.LIST, "size", 0): ("size({0})", Kind.NUMBER),
    (Kind.METADATA, "get", 1): ("get({0}, {1})", Kind.TEXT),
    (Kind.METADATA, "getOrDefault", 2): ("get({0}, {1}, {2})", Kind.TEXT),
    (Kind.EXECUTORS, "get", 1): ("get({0}, {1})", Kind.METADATA),
} | {
    (kind, name, count): form
    for kind in (Kind.METADATA, Kind.EXECUTORS)
    for name, count, form in (
        ("containsKey", 1, ("({1} in {0})", Kind.TRUTH)),
        ("contains", 1, ("({1} in {0})", Kind.TRUTH)),
        ("isEmpty", 0, ("(size({0}) == 0)", Kind.TRUTH)),
        ("size", 0, ("size({0})", Kind.NUMBER)),
    )
}
"""By what a method belongs to, its name and how many arguments it has: its form, and of what kind
that is. MVEL's operator ``contains`` means the same as the methods of that name.
"""
_NUMBERS: Final = frozenset({"substring"})
"""Methods whose arguments are numbers; those of all others are single values."""
_OF_IDS: Final = frozenset(
    {(Kind.EXECUTOR, "equals"), (Kind.TEXT, "equals"), (Kind.LIST, "contains")}
)
"""Methods that compare with an executor's id."""


def called(data: RuleData, owner: Term, name: str, given: Sequence[Term]) -> Term:
    """A call of a method. Raises :class:`RuleProblem` for one that is not known here."""
    if owner.kind is Kind.ENVIRONMENT:
        return _of_environment(data, name, given)
    form = _FORMS.get((owner.kind, name, len(given)))
    if form is None:
        raise RuleProblem(f"{name}() with {len(given)} arguments is not known for {owner.kind}")
    for one in given:
        if name in _NUMBERS:
            need(one, Kind.NUMBER, f"{name}()")
        elif one.kind is Kind.EXECUTOR:
            if owner.kind is not Kind.EXECUTORS and (owner.kind, name) not in _OF_IDS:
                raise RuleProblem(f"{name}() of {owner.kind} does not take {one.kind}")
        elif one.kind not in {Kind.TEXT, Kind.NUMBER, Kind.TRUTH, Kind.UNKNOWN}:
            raise RuleProblem(f"{name}() needs a single value, not {one.kind}")
    texts = [owner.text, *(one.text for one in given)]
    kinds = {owner.kind, *(one.kind for one in given)}
    if (owner.kind, name) in _OF_IDS and Kind.EXECUTOR in kinds:
        texts = [data.as_executor(one) for one in (owner, *given)]
    elif owner.kind is Kind.EXECUTORS and given:
        texts[1] = data.as_executor(given[0])
    return Term(form[0].format(*texts), form[1])


def member(data: RuleData, owner: Term, key: Term, *, needed: bool) -> Term:
    """A member of a map. Raises :class:`RuleProblem`.

    With ``needed`` the rule is false where it is missing, as in MVEL for ``map.key``; without,
    for ``map["key"]``, it is null.
    """
    if owner.kind is Kind.ENVIRONMENT:
        found = data.variable(_written_out(key))
        if found is None and needed:
            raise RuleProblem(f"the environment of the task has no {key.literal!r}")
        return found or Term("None", Kind.UNKNOWN)
    kinds = {Kind.METADATA: Kind.TEXT, Kind.EXECUTORS: Kind.METADATA}
    if owner.kind not in kinds:
        raise RuleProblem(f"{key.literal or 'a member'!r} is not known for {owner.kind}")
    is_id = key.kind is Kind.EXECUTOR and owner.kind is Kind.EXECUTORS
    if key.kind is not Kind.TEXT and not is_id:
        raise RuleProblem(f"a member of {owner.kind} is named by text, not by {key.kind}")
    form = "{0}[{1}]" if needed else "get({0}, {1})"
    text = data.as_executor(key) if owner.kind is Kind.EXECUTORS else key.text
    return Term(form.format(owner.text, text), kinds[owner.kind])


def _of_environment(data: RuleData, name: str, given: Sequence[Term]) -> Term:
    known: dict[tuple[str, int], Callable[[], Term]] = {
        ("get", 1): lambda: member(data, Term("", Kind.ENVIRONMENT), given[0], needed=False),
        ("getOrDefault", 2): lambda: data.variable(_written_out(given[0])) or given[1],
        ("containsKey", 1): lambda: Term(
            str(data.variable(_written_out(given[0])) is not None), Kind.TRUTH
        ),
        ("contains", 1): lambda: Term(
            str(data.variable(_written_out(given[0])) is not None), Kind.TRUTH
        ),
        ("isEmpty", 0): lambda: Term(str(not data.env), Kind.TRUTH),
        ("size", 0): lambda: Term(str(len(data.env)), Kind.NUMBER),
    }
    found = known.get((name, len(given)))
    if found is None:
        raise RuleProblem(f"{name}() with {len(given)} arguments is not known for the environment")
    return found()


def _written_out(key: Term) -> str:
    if key.literal is None:
        raise RuleProblem("the environment is asked for names that are written out")
    return key.literal
