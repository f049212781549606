"""Functions of HOPE's library that rules of placement may call.

Left out are those that ask for the time or for chance, as a rule has to say the same whenever it
is asked; patterns, which can run for long; and functions of arrays, which executors do not have.
"""

from collections.abc import Sequence
from typing import Final

from taskyard.dialects.drove.ruledata import Kind, RuleData, RuleProblem, Term, need

_Form = tuple[str, tuple[Kind, ...], Kind]
_T: Final = Kind.TEXT
_N: Final = Kind.NUMBER
_FORMS: Final[dict[tuple[str, int], _Form]] = {
    ("str.lower", 1): ("lower({0})", (_T,), _T),
    ("str.upper", 1): ("upper({0})", (_T,), _T),
    ("str.len", 1): ("size({0})", (_T,), _N),
    ("str.substr", 2): ("part({0}, {1})", (_T, _N), _T),
    ("str.substr", 3): ("part({0}, {1}, {2})", (_T, _N, _N), _T),
    ("math.abs", 1): ("abs({0})", (_N,), _N),
    ("math.ceil", 1): ("ceil({0})", (_N,), _N),
    ("math.floor", 1): ("floor({0})", (_N,), _N),
    ("math.negate", 1): ("(-{0})", (_N,), _N),
    ("math.sub", 2): ("({0} - {1})", (_N, _N), _N),
    ("math.minus", 2): ("({0} - {1})", (_N, _N), _N),
    ("math.div", 2): ("({0} / {1})", (_N, _N), _N),
    ("math.mod", 2): ("({0} % {1})", (_N, _N), _N),
}
"""By name and number of arguments: the form, the kinds of the arguments, and its own."""
_SERIES: Final = {"math.add": " + ", "math.prod": " * "}
_MEMBERSHIPS: Final = {"arr.in": "in", "arr.not_in": "not in"}


def called(data: RuleData, name: str, given: Sequence[Term]) -> Term:
    """A call of a function. Raises :class:`RuleProblem` for one that is not known here."""
    texts = [one.text for one in given]
    if name in _MEMBERSHIPS and len(given) == 2:
        need(given[1], Kind.LIST, f"{name}()")
        if given[0].kind not in {_T, _N, Kind.TRUTH, Kind.EXECUTOR}:
            raise RuleProblem(f"{name}() looks for a single value, not {given[0].kind}")
        if given[0].kind is Kind.EXECUTOR:
            texts[1] = data.as_executor(given[1])
        return Term(f"({texts[0]} {_MEMBERSHIPS[name]} {texts[1]})", Kind.TRUTH)
    if name in _SERIES and given:
        numbers = [need(one, _N, f"{name}()") for one in given]
        return Term(f"({_SERIES[name].join(numbers)})", _N)
    form = _FORMS.get((name, len(given)))
    if form is None:
        raise RuleProblem(f"{name}() with {len(given)} arguments is not known here")
    for one, kind in zip(given, form[1], strict=True):
        need(one, kind, f"{name}()")
    return Term(form[0].format(*texts), form[2])
