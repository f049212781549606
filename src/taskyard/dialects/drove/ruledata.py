"""What placement rules in either language can see, and how the engine names it.

A rule is translated once, when its task is created. What is known by then (the task's environment,
which worker an executor's id stands for) is written into it as literals.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from lark import Lark, Token, Transformer_NonRecursive
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError

LENGTH_LIMIT: Final = 4096
_SHOWN: Final = 20
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES: Final = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "b": "\b",
    "f": "\f",
    "\\": "\\",
    "'": "'",
    '"': '"',
}


class Kind(StrEnum):
    """What a term of a rule stands for, in words for people."""

    TEXT = "text"
    NUMBER = "a number"
    TRUTH = "true or false"
    LIST = "a list"
    EXECUTOR = "the id of an executor"
    METADATA = "the metadata of an executor"
    EXECUTORS = "the metadata of all executors"
    ENVIRONMENT = "the environment"
    UNKNOWN = "any value"


class Term(NamedTuple):
    """A part of a rule."""

    text: str
    """In the engine's language; stands for itself wherever it is put."""
    kind: Kind
    literal: str | None = None
    """The text itself, of one that is known when the rule is translated."""
    items: "tuple[Term, ...]" = ()
    """What is in a list."""


ROOTS: Final = {
    "executorNodeId": Term("worker", Kind.EXECUTOR),
    "allocatedExecutorNodeMetadata": Term("metadata", Kind.METADATA),
    "allExecutorMetadata": Term("workers", Kind.EXECUTORS),
    "applicationEnvironment": Term("", Kind.ENVIRONMENT),
}
"""All there is to see, by the names that rules use."""


class RuleProblem(ValueError):
    """A rule that cannot be evaluated here."""


class RuleData(NamedTuple):
    """What is known when a rule is translated."""

    env: Mapping[str, str]
    """Environment of the task."""
    executors: Mapping[str, str]
    """The engine's names of executors, by their ids."""

    def as_executor(self, term: Term) -> str:
        """The text of what is compared with the id of an executor: for an id, its worker's name.

        Raises :class:`RuleProblem` for what is not known when the rule is translated.
        """
        if term.kind is Kind.LIST:
            return f"[{', '.join(map(self.as_executor, term.items))}]"
        if term.literal is not None:
            return repr(self.executors.get(term.literal, term.literal))
        if term.kind in {Kind.EXECUTOR, Kind.UNKNOWN}:
            return term.text
        raise RuleProblem(
            f"the id of an executor is compared with ids that are known, not {term.kind}"
        )

    def variable(self, name: str) -> Term | None:
        """A variable of the environment; None if it is not there."""
        value = self.env.get(name)
        return None if value is None else Term(repr(value), Kind.TEXT, value)


def root(name: str) -> Term:
    """What a name stands for. Raises :class:`RuleProblem`."""
    found = ROOTS.get(name)
    if found is None:
        raise RuleProblem(f"there is no {name!r}, only {', '.join(ROOTS)}")
    return found


def literal(value: str) -> Term:
    """A text that is written out."""
    return Term(repr(value), Kind.TEXT, value)


def listed(items: Sequence[Term]) -> Term:
    """A list of single values. Raises :class:`RuleProblem` for an id that is not known yet."""
    if any(one.kind is Kind.EXECUTOR for one in items):
        raise RuleProblem("the id of an executor cannot be in a list")
    return Term(f"[{', '.join(one.text for one in items)}]", Kind.LIST, items=tuple(items))


def need(term: Term, kind: Kind, where: str) -> str:
    """The text of a term of this kind. Raises :class:`RuleProblem` for one of another."""
    if term.kind is not kind:
        raise RuleProblem(f"{where} needs {kind}, not {term.kind}")
    return term.text


def translated_by(
    parser: Lark, translation: Transformer_NonRecursive[Token, Term], rule: str
) -> Term:
    """What a grammar and its translation make of a rule. Raises :class:`RuleProblem`."""
    try:
        return translation.transform(parser.parse(rule))
    except VisitError as error:
        if isinstance(error.orig_exc, RuleProblem):
            raise error.orig_exc from error
        raise
    except UnexpectedInput as error:
        raise _unreadable(rule, error) from error


def _unreadable(rule: str, error: UnexpectedInput) -> RuleProblem:
    """Where a parser gave up."""
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return RuleProblem("the rule ends too early")
    at: int = getattr(error, "pos_in_stream", None) or 0
    shown = rule[at : at + _SHOWN]
    return RuleProblem(f"the rule is not understood at character {at + 1}: {shown!r}")


def unquoted(token: str) -> str:
    """The text between quotes, with its escapes put right. Raises :class:`RuleProblem`."""

    def meant(found: re.Match[str]) -> str:
        code = found[1]
        if len(code) > 1:
            return chr(int(code[1:], 16))
        if code not in _ESCAPES:
            raise RuleProblem(f"{found[0]!r} is not a valid escape")
        return _ESCAPES[code]

    return _ESCAPE.sub(meant, token[1:-1])


def plain_number(token: str) -> str:
    """A number as the engine writes it, without zeros in front."""
    digits = token.lstrip("0")
    return digits if digits[:1].isdigit() else f"0{digits}"
