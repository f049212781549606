"""What JSON pointers and JSON paths of HOPE lead to."""

import re
from typing import Final

from taskyard.dialects.drove.ruledata import Kind, RuleData, RuleProblem, Term, literal, root

_STEP: Final = re.compile(r"""\.([A-Za-z0-9_@:/-]+)|\['([^'\]]+)'\]|\["([^"\]]+)"\]""")


def is_path(text: str) -> bool:
    """Whether a text stands for what it leads to, and not for itself."""
    return text.startswith(("/", "$"))


def value_at(path: str, data: RuleData) -> Term:
    """What is there. Raises :class:`RuleProblem` for what cannot be there."""
    steps = _steps(path)
    found = root(steps[0])
    for step in steps[1:]:
        if found.kind is Kind.ENVIRONMENT:
            variable = data.variable(step)
            if variable is None:
                raise RuleProblem(f"the environment of the task has no {step!r}")
            found = variable
        elif found.kind is Kind.METADATA:
            found = Term(f"{found.text}[{step!r}]", Kind.TEXT)
        elif found.kind is Kind.EXECUTORS:
            found = Term(f"{found.text}[{data.as_executor(literal(step))}]", Kind.METADATA)
        else:
            raise RuleProblem(f"{path!r} leads beyond {found.kind}")
    return found


def exists(path: str, data: RuleData) -> Term:
    """Whether something is there. Raises :class:`RuleProblem` for a path that is not understood."""
    *before, last = _steps(path)
    if not before:
        root(last)
        return Term("True", Kind.TRUTH)
    if before == ["applicationEnvironment"]:
        return Term(str(data.variable(last) is not None), Kind.TRUTH)
    if before == ["allocatedExecutorNodeMetadata"]:
        return Term(f"({last!r} in metadata)", Kind.TRUTH)
    if before == ["allExecutorMetadata"]:
        return Term(f"({data.as_executor(literal(last))} in workers)", Kind.TRUTH)
    if len(before) == 2 and before[0] == "allExecutorMetadata":
        name = data.as_executor(literal(before[1]))
        return Term(f"({name} in workers and {last!r} in workers[{name}])", Kind.TRUTH)
    root(before[0])
    return Term("False", Kind.TRUTH)


def _steps(path: str) -> list[str]:
    if path.startswith("/"):
        return [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]
    steps: list[str] = []
    position = 1
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            break
        steps.append(next(filter(None, step.groups())))
        position = step.end()
    if position < len(path) or not steps:
        raise RuleProblem(f"of JSON path only members are known, not {path[position:] or path!r}")
    return steps
