"""Rules of placement, from MVEL to the engine's own small language.

Taken is what both languages have: comparisons, ``&&``, ``||``, ``!``, subscripts and literals. The
task's own environment is known beforehand, so its values stand in the rule as literals.
"""

import ast
import io
import tokenize
from collections.abc import Mapping
from typing import Final

from taskyard.core.rules import problem_of_rule

_NAMES: Final = {"executorNodeId": "worker", "allocatedExecutorNodeMetadata": "metadata"}
_ENVIRONMENT: Final = "applicationEnvironment"
_WORDS: Final = {"true": "True", "false": "False", "null": "None"}
_LENGTH: Final = 4096


def rule_of(rule: str, env: Mapping[str, str], executors: Mapping[str, str]) -> str:
    """The same rule for the engine. Raises ``ValueError`` for one that cannot be evaluated.

    Args:
        rule: as its client wrote it.
        env: the environment of the task.
        executors: the engine's names of executors, by their ids.
    """
    if len(rule) > _LENGTH:
        raise ValueError("the rule is too long")
    try:
        tree = ast.parse(_as_python(rule).strip(), mode="eval")
        text = ast.unparse(_Renaming(env, executors).visit(tree))
    except (SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise ValueError(f"the rule cannot be read: {error}") from error
    problem = problem_of_rule(text)
    if problem is not None:
        raise ValueError(problem)
    return text


def _as_python(rule: str) -> str:
    """Replace operators and words that are written differently, outside of strings."""
    pieces = []
    quote = ""
    position = 0
    while position < len(rule):
        sign = rule[position]
        pair = rule[position : position + 2]
        if quote:
            pieces.append(pair if sign == "\\" else sign)
            position += len(pieces[-1])
            quote = "" if sign == quote else quote
            continue
        if sign in "'\"":
            quote = sign
        if pair in {"&&", "||"}:
            pieces.append(" and " if pair == "&&" else " or ")
            position += 2
        elif sign == "!" and pair != "!=":
            pieces.append(" not ")
            position += 1
        else:
            pieces.append(sign)
            position += 1
    text = "".join(pieces)
    tokens = [
        (token.type, _WORDS.get(token.string, token.string))
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
    ]
    return str(tokenize.untokenize(tokens))


class _Renaming(ast.NodeTransformer):
    def __init__(self, env: Mapping[str, str], executors: Mapping[str, str]) -> None:
        self._env = env
        self._executors = executors

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        name = self._executors.get(node.value) if isinstance(node.value, str) else None
        return node if name is None else ast.Constant(name)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == _ENVIRONMENT:
            if not isinstance(node.slice, ast.Constant):
                raise SyntaxError("the environment is asked for names that are written out")
            return ast.Constant(self._env.get(str(node.slice.value)))
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        text = _NAMES.get(node.id)
        return node if text is None else ast.parse(text, mode="eval").body
