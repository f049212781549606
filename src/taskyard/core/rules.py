"""Rules of placement: small expressions over a worker, such as ``metadata["zone"] == "a"``.

The language is the expressions of Python without calls, attributes, comprehensions and anything
else that could reach out or run for long; evaluated by the library simpleeval. Names are
``worker``, ``hostname``, ``tags`` and ``metadata``.
"""

import ast
import warnings
from functools import lru_cache
from typing import Any, Final, Protocol

from simpleeval import DEFAULT_OPERATORS, EvalWithCompoundTypes

LENGTH_LIMIT: Final = 1000
NODES_LIMIT: Final = 200
NAMES: Final = ("worker", "hostname", "tags", "metadata")
_ALLOWED: Final = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.IfExp, ast.Name,
    ast.Load, ast.Constant, ast.Subscript, ast.Tuple, ast.List,
)  # fmt: skip
_OPERATORS: Final = {
    operator: apply for operator, apply in DEFAULT_OPERATORS.items() if operator in _ALLOWED
}


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


def problem_of_rule(rule: str) -> str | None:
    """What is wrong with a rule; None if it can be evaluated."""
    if not 1 <= len(rule) <= LENGTH_LIMIT:
        return f"a rule needs 1 to {LENGTH_LIMIT} characters"
    try:
        _parsed(rule)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"the rule cannot be read: {error}"
    return None


def holds(rule: str, worker: Described) -> bool:
    """Whether a rule is true for a worker; one that fails to evaluate is not."""
    names = {
        "worker": worker.worker_id,
        "hostname": worker.hostname,
        "tags": worker.tags,
        "metadata": worker.metadata,
    }
    try:
        parsed = _parsed(rule)
        return bool(EvalWithCompoundTypes(_OPERATORS, {}, names).eval(rule, parsed))
    except Exception:  # noqa: BLE001 - by definition, whatever goes wrong means no
        return False


@lru_cache(maxsize=256)
def _parsed(rule: str) -> Any:
    """The expression of a rule. Raises ``SyntaxError`` or ``ValueError``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of odd escapes in somebody's text.
        tree = ast.parse(rule.strip(), mode="eval")
    nodes = list(ast.walk(tree))
    if len(nodes) > NODES_LIMIT:
        raise ValueError(f"it has more than {NODES_LIMIT} parts")
    for node in nodes:
        if not isinstance(node, _ALLOWED):
            raise ValueError(f"{type(node).__name__} is not allowed")  # noqa: TRY004 - of the text
        if isinstance(node, ast.Name) and node.id not in NAMES:
            raise ValueError(f"there is no {node.id!r}, only {', '.join(NAMES)}")
    return tree.body
