"""Rules of placement in HOPE, translated to the engine's own small language.

HOPE compares what JSON pointers (``'/executorNodeId'``) and JSON paths (``'$.executorNodeId'``)
lead to, and the results of functions. All of it is typed, so that whatever could only ever be a
mismatch of types, and with it false, is refused when the rule is read. A member that is missing
makes the whole rule false.

The grammar follows ``hope-lang/src/main/javacc/hope.jj`` of github.com/santanusinha/hope, with one
difference: there, of ``&&`` and ``||`` in one row the last one counts for all; here such a row
has to be made clear by parentheses.
"""

from functools import lru_cache
from typing import Final

from lark import Lark, Token, Transformer_NonRecursive

from taskyard.dialects.drove.hope_functions import called
from taskyard.dialects.drove.hope_paths import exists, is_path, value_at
from taskyard.dialects.drove.ruledata import (
    Kind,
    RuleData,
    RuleProblem,
    Term,
    listed,
    literal,
    need,
    plain_number,
    translated_by,
    unquoted,
)

_GRAMMAR: Final = r"""
    ?start: row
    ?row: operation (COMBINER operation)*
    ?operation: value SIGN value -> compared
        | "^" value -> negation
        | "(" row ")"
    ?value: NUMBER -> number
        | TEXT -> text
        | TRUTH -> truth
        | EXISTS "(" TEXT ")" -> exists
        | FUNCTION "(" [argument ("," argument)*] ")" -> call
    ?argument: value | "[" [value ("," value)*] "]" -> several
    COMBINER.2: "&&" | "||"
    SIGN: "==" | "!=" | "<=" | ">=" | "<" | ">" | "&" | "|"
    EXISTS.2: "path.exists" | "pointer.exists"
    TRUTH.2: "true" | "TRUE" | "false" | "FALSE"
    NUMBER: /-?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})/
    TEXT: /"(\\.|[^"\\\n\r])*"|'(\\.|[^'\\\n\r])*'/
    FUNCTION: /[A-Za-z][A-Za-z0-9_.]+/
    %ignore /[ \r\n]+/
"""
_EQUALITIES: Final = frozenset({"==", "!="})
_LOGIC: Final = {"&": "and", "|": "or"}


def rule_of_hope(rule: str, data: RuleData) -> str:
    """The same rule in the engine's language. Raises :class:`RuleProblem`."""
    return translated_by(_parser(), _Translation(data), rule).text


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", maybe_placeholders=False)


class _Translation(Transformer_NonRecursive[Token, Term]):
    """Puts a rule together from its parts; methods are named as in the grammar."""

    def __init__(self, data: RuleData) -> None:
        super().__init__()
        self._data = data

    def number(self, parts: list[str]) -> Term:
        sign, digits = ("-", parts[0][1:]) if parts[0].startswith("-") else ("", parts[0])
        return Term(f"({sign}{plain_number(digits)})", Kind.NUMBER)

    def text(self, parts: list[str]) -> Term:
        inner = unquoted(parts[0])
        return value_at(inner, self._data) if is_path(inner) else literal(inner)

    def truth(self, parts: list[str]) -> Term:
        return Term(parts[0].capitalize(), Kind.TRUTH)

    def several(self, parts: list[Term]) -> Term:
        return listed(parts)

    def call(self, parts: list[Term]) -> Term:
        name, *given = parts
        return called(self._data, str(name), given)

    def exists(self, parts: list[str]) -> Term:
        inner = unquoted(parts[1])
        if not is_path(inner):
            raise RuleProblem(f"{parts[0]}() needs a path, not {inner!r}")
        return exists(inner, self._data)

    def negation(self, parts: list[Term]) -> Term:
        return Term(f"(not {need(parts[0], Kind.TRUTH, '^')})", Kind.TRUTH)

    def compared(self, parts: tuple[Term, str, Term]) -> Term:
        left, sign, right = parts
        if sign in _LOGIC:
            texts = [need(one, Kind.TRUTH, sign) for one in (left, right)]
            return Term(f"({texts[0]} {_LOGIC[sign]} {texts[1]})", Kind.TRUTH)
        wanted = Kind.NUMBER if sign not in _EQUALITIES else None
        for one in (left, right):
            if wanted is not None:
                need(one, wanted, sign)
            elif one.kind in {Kind.METADATA, Kind.EXECUTORS, Kind.ENVIRONMENT}:
                raise RuleProblem(f"{one.kind} is not a single value")
        if Kind.EXECUTOR in {left.kind, right.kind}:
            known = self._data.as_executor
            return Term(f"({known(left)} {sign} {known(right)})", Kind.TRUTH)
        return Term(f"({left.text} {sign} {right.text})", Kind.TRUTH)

    def row(self, parts: list[Term]) -> Term:
        signs = {str(one) for one in parts[1::2]}
        if len(signs) > 1:
            raise RuleProblem("&& and || in one row need parentheses")
        word = " and " if signs == {"&&"} else " or "
        return Term(f"({word.join(one.text for one in parts[::2])})", Kind.TRUTH)
