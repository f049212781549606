"""Rules of placement in MVEL, translated to the engine's own small language.

Taken is what rules about executors are made of: comparisons, ``&&``, ``||``, ``!``, a choice,
arithmetic, ``contains`` and ``in``, members of maps in all three ways of writing them, and some
methods of text and maps. Nothing else is: no classes, no ``new``, no assignments, no patterns.
As in MVEL, text that looks like a number is one where it is compared or computed with numbers.
"""

from functools import lru_cache
from typing import Final

from lark import Lark, Token, Transformer_NonRecursive

from taskyard.dialects.drove.mvel_methods import called, member
from taskyard.dialects.drove.ruledata import (
    Kind,
    RuleData,
    RuleProblem,
    Term,
    listed,
    literal,
    need,
    plain_number,
    root,
    translated_by,
    unquoted,
)

_GRAMMAR: Final = r"""
    ?start: choice
    ?choice: either ["?" choice ":" choice]
    ?either: both (("||" | "or") both)*
    ?both: equality (("&&" | "and") equality)*
    ?equality: relation [EQUALITY relation]
    ?relation: sum [RELATION sum] | sum "contains" sum -> contains | sum "in" sum -> within
    ?sum: product | sum SIGN product
    ?product: unary | product FACTOR unary
    ?unary: postfix | "!" unary -> negation | SIGN unary -> signed
    ?postfix: atom
        | postfix "." NAME "(" [choice ("," choice)*] ")" -> call
        | postfix "." NAME -> property
        | postfix "[" choice "]" -> index
    ?atom: NUMBER -> number
        | TEXT -> text
        | "true" -> true
        | "false" -> false
        | ("null" | "nil") -> null
        | NAME -> name
        | "[" [choice ("," choice)*] "]" -> several
        | "(" choice ")"
    EQUALITY: "==" | "!="
    RELATION: "<=" | ">=" | "<" | ">"
    SIGN: "+" | "-"
    FACTOR: "*" | "/" | "%"
    NUMBER: /[0-9]{1,18}(\.[0-9]{1,18})?/
    TEXT: /"(\\.|[^"\\\n])*"|'(\\.|[^'\\\n])*'/
    NAME: /[A-Za-z_$][A-Za-z0-9_$]*/
    %ignore /[ \t\r\n]+/
"""
_YES: Final = '("true", "True", "TRUE", "yes", "on", "1")'
"""What MVEL takes for true where text is compared with it."""


def rule_of_mvel(rule: str, data: RuleData) -> str:
    """The same rule in the engine's language. Raises :class:`RuleProblem`."""
    found = translated_by(_parser(), _Translation(data), rule)
    return need(found, Kind.TRUTH, "a rule")


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", maybe_placeholders=False)


class _Translation(Transformer_NonRecursive[Token, Term]):
    """Puts a rule together from its parts; methods are named as in the grammar."""

    def __init__(self, data: RuleData) -> None:
        super().__init__()
        self._data = data

    def number(self, parts: list[str]) -> Term:
        return Term(plain_number(parts[0]), Kind.NUMBER)

    def text(self, parts: list[str]) -> Term:
        return literal(unquoted(parts[0]))

    def true(self, _: list[str]) -> Term:
        return Term("True", Kind.TRUTH)

    def false(self, _: list[str]) -> Term:
        return Term("False", Kind.TRUTH)

    def null(self, _: list[str]) -> Term:
        return Term("None", Kind.UNKNOWN)

    def name(self, parts: list[str]) -> Term:
        return root(str(parts[0]))

    def several(self, parts: list[Term]) -> Term:
        return listed(_values(parts))

    def choice(self, parts: list[Term]) -> Term:
        test, yes, no = parts
        need(test, Kind.TRUTH, "?:")
        _values((yes, no))
        if yes.kind is not no.kind and Kind.EXECUTOR in {yes.kind, no.kind}:
            raise RuleProblem("?: cannot choose between the id of an executor and something else")
        kind = yes.kind if yes.kind is no.kind else Kind.UNKNOWN
        return Term(f"({yes.text} if {test.text} else {no.text})", kind)

    def either(self, parts: list[Term]) -> Term:
        return _joined("or", "||", parts)

    def both(self, parts: list[Term]) -> Term:
        return _joined("and", "&&", parts)

    def negation(self, parts: list[Term]) -> Term:
        return Term(f"(not {need(parts[0], Kind.TRUTH, '!')})", Kind.TRUTH)

    def equality(self, parts: tuple[Term, str, Term]) -> Term:
        left, sign, right = parts
        _values((left, right))
        if {left.kind, right.kind} == {Kind.TRUTH, Kind.TEXT}:
            left, right = _as_truth(left), _as_truth(right)
        if Kind.EXECUTOR in {left.kind, right.kind}:
            known = self._data.as_executor
            return Term(f"({known(left)} {sign} {known(right)})", Kind.TRUTH)
        return _compared(left, sign, right)

    def relation(self, parts: tuple[Term, str, Term]) -> Term:
        left, sign, right = parts
        for one in (left, right):
            if one.kind not in {Kind.NUMBER, Kind.TEXT, Kind.UNKNOWN}:
                raise RuleProblem(f"{sign} compares numbers or text, not {one.kind}")
        return Term(f"({_as_number(left)} {sign} {_as_number(right)})", Kind.TRUTH)

    def contains(self, parts: list[Term]) -> Term:
        return called(self._data, parts[0], "contains", parts[1:])

    def within(self, parts: list[Term]) -> Term:
        need(parts[1], Kind.LIST, "in")
        return called(self._data, parts[1], "contains", parts[:1])

    def sum(self, parts: tuple[Term, str, Term]) -> Term:
        left, sign, right = parts
        if sign == "+" and left.kind is right.kind is Kind.TEXT:
            return Term(f"({left.text} + {right.text})", Kind.TEXT)
        if sign == "+" and Kind.TEXT in {left.kind, right.kind}:
            raise RuleProblem(f"{left.kind} and {right.kind} cannot be added")
        return _computed(left, sign, right)

    def product(self, parts: tuple[Term, str, Term]) -> Term:
        return _computed(*parts)

    def signed(self, parts: tuple[str, Term]) -> Term:
        sign, number = parts
        return _computed(Term("0", Kind.NUMBER), sign, number)

    def call(self, parts: list[Term]) -> Term:
        owner, name, *given = parts
        return called(self._data, owner, str(name), given)

    def property(self, parts: tuple[Term, str]) -> Term:
        owner, name = parts
        return member(self._data, owner, literal(str(name)), needed=True)

    def index(self, parts: list[Term]) -> Term:
        return member(self._data, parts[0], parts[1], needed=False)


def _values(terms: list[Term] | tuple[Term, ...]) -> list[Term] | tuple[Term, ...]:
    """Terms that stand for single values. Raises :class:`RuleProblem`."""
    for one in terms:
        if one.kind in {Kind.METADATA, Kind.EXECUTORS, Kind.ENVIRONMENT, Kind.LIST}:
            raise RuleProblem(f"{one.kind} is not a single value")
    return terms


def _joined(word: str, sign: str, parts: list[Term]) -> Term:
    texts = [need(one, Kind.TRUTH, sign) for one in parts]
    return Term(f"({f' {word} '.join(texts)})", Kind.TRUTH)


def _compared(left: Term, sign: str, right: Term) -> Term:
    if Kind.NUMBER in {left.kind, right.kind}:
        return Term(f"({_as_number(left)} {sign} {_as_number(right)})", Kind.TRUTH)
    return Term(f"({left.text} {sign} {right.text})", Kind.TRUTH)


def _computed(left: Term, sign: str, right: Term) -> Term:
    for one in (left, right):
        if one.kind not in {Kind.NUMBER, Kind.TEXT, Kind.UNKNOWN}:
            raise RuleProblem(f"{sign} computes with numbers, not with {one.kind}")
    return Term(f"({_as_number(left)} {sign} {_as_number(right)})", Kind.NUMBER)


def _as_number(term: Term) -> str:
    return term.text if term.kind is Kind.NUMBER else f"number({term.text})"


def _as_truth(term: Term) -> Term:
    return term if term.kind is Kind.TRUTH else Term(f"({term.text} in {_YES})", Kind.TRUTH)
