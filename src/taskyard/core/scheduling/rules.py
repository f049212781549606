"""Rules of placement: small expressions over a worker, such as ``metadata["zone"] == "a"``.

The language is the expressions of Python without attributes, powers, comprehensions and anything
else that could reach out or run for long, and with a few functions of our own (module
``rule_functions``); evaluated by the library simpleeval. Names are ``worker``, ``hostname``,
``tags``, ``metadata``, and ``workers``: the metadata of every worker, by its name.
"""

import ast
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from simpleeval import DEFAULT_OPERATORS, EvalWithCompoundTypes

from taskyard.core.scheduling.rule_functions import FUNCTIONS, OPERATORS

LENGTH_LIMIT: Final = 2000
NODES_LIMIT: Final = 500
NAMES: Final = ("worker", "hostname", "tags", "metadata", "workers")
_ALL: Final = "workers"
_PARSED_KEPT: Final = 256
_PARSING: Final = 2
"""Steps for each character of a rule that has to be parsed, measured against :data:`_READING`."""
_READING: Final = 4
"""Characters that are evaluated within one step."""
_ALLOWED: Final = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.IfExp, ast.Name,
    ast.Load, ast.Constant, ast.Subscript, ast.Tuple, ast.List, ast.Call, ast.BinOp, ast.Add,
    ast.Sub, ast.Mult, ast.Div, ast.Mod,
)  # fmt: skip
_OPERATORS: Final = {
    operator: apply for operator, apply in DEFAULT_OPERATORS.items() if operator in _ALLOWED
} | OPERATORS

Workers = Mapping[Any, Mapping[str, str]]
"""Metadata by the names of workers. No ``dict``: simpleeval would look through all of it."""
NOBODY: Final[Workers] = MappingProxyType({})
"""No workers at all."""


class Described(Protocol):
    """What a rule can see."""

    @property
    def worker_id(self) -> str: ...  # noqa: D102 - see ``policies.Candidate``
    @property
    def hostname(self) -> str: ...  # noqa: D102 - see ``policies.Candidate``
    @property
    def tags(self) -> frozenset[str]: ...  # noqa: D102 - see ``policies.Candidate``
    @property
    def metadata(self) -> dict[str, str]: ...  # noqa: D102 - see ``policies.Candidate``


class Parsed(NamedTuple):
    """A rule that can be evaluated."""

    body: Any
    size: int
    """Its parts."""


_parsed_rules: Final[OrderedDict[str, Parsed]] = OrderedDict()
"""Those evaluated last. Only what they cost depends on it, never what they say."""


def effort_of(rule: str) -> int:
    """Steps that evaluating a rule for one worker takes: about 0.4 µs each.

    Less for a rule that was parsed not long ago.
    """
    steps = 1 + len(rule) // _READING
    return steps if rule in _parsed_rules else steps + _PARSING * len(rule)


def reading_effort_of(rule: str) -> int:
    """Steps that parsing a rule takes; 0 if it was parsed recently."""
    return 0 if rule in _parsed_rules else _PARSING * len(rule)


def size_of_rule(rule: str) -> int:
    """Parts of a rule that :func:`problem_of_rule` finds nothing wrong with."""
    return _parsed(rule).size


def mentions_all(rule: str) -> bool:
    """Whether a rule may depend on other workers, guessed without parsing; may be a false yes."""
    return _ALL in rule


def problem_of_rule(rule: str) -> str | None:
    """What is wrong with a rule; None if it can be evaluated."""
    if not 1 <= len(rule) <= LENGTH_LIMIT:
        return f"a rule needs 1 to {LENGTH_LIMIT} characters"
    try:
        _parsed(rule)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"the rule cannot be read: {error}"
    return None


def asks_for_all(rule: str) -> bool:
    """Whether a rule depends on workers other than the one it is held against."""
    if not mentions_all(rule):
        return False
    try:
        tree = _parsed(rule).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.Name) and node.id == _ALL for node in ast.walk(tree))


def holds(rule: str, worker: Described, workers: Workers = NOBODY) -> bool:
    """Whether a rule is true for a worker; one that fails to evaluate is not.

    ``workers`` are all that are here.
    """
    names = {
        "worker": worker.worker_id,
        "hostname": worker.hostname,
        "tags": worker.tags,
        "metadata": worker.metadata,
        _ALL: workers,
    }
    try:
        parsed = _parsed(rule).body
        return bool(EvalWithCompoundTypes(_OPERATORS, FUNCTIONS, names).eval(rule, parsed))
    except Exception:  # noqa: BLE001 - by definition, whatever goes wrong means no
        return False


def _parsed(rule: str) -> Parsed:
    """The expression of a rule. Raises ``SyntaxError`` or ``ValueError``."""
    found = _parsed_rules.get(rule)
    if found is None:
        found = _parsed_rules[rule] = _parse(rule)
        if len(_parsed_rules) > _PARSED_KEPT:
            _parsed_rules.popitem(last=False)
    else:
        _parsed_rules.move_to_end(rule)
    return found


def _parse(rule: str) -> Parsed:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of odd escapes in somebody's text.
        tree = ast.parse(rule.strip(), mode="eval")
    nodes = list(ast.walk(tree))
    if len(nodes) > NODES_LIMIT:
        raise ValueError(f"it has more than {NODES_LIMIT} parts")
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        if not isinstance(node, _ALLOWED):
            raise ValueError(f"{type(node).__name__} is not allowed")  # noqa: TRY004 - of the text
        if isinstance(node, ast.Call) and not isinstance(node.func, ast.Name):
            raise ValueError("only functions can be called")  # noqa: TRY004 - as above
        if isinstance(node, ast.Name):
            known = tuple(FUNCTIONS) if id(node) in called else NAMES
            if node.id not in known:
                raise ValueError(f"there is no {node.id!r}, only {', '.join(known)}")
    return Parsed(tree.body, len(nodes))
