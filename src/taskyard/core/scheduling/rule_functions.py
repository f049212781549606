"""Functions and arithmetic of the rules of placement.

Each takes and returns small values, and raises for what it is not meant for: then the rule is
false. Nothing can grow: text is joined only to text that stands in the rule or in metadata, and
never repeated or formatted.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?\Z", re.ASCII)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("is no text")
    return value


def _get(where: object, key: object, default: object = None) -> object:
    if not isinstance(where, Mapping):
        raise TypeError("has no members")
    return where.get(key, default)


def _number(value: object) -> object:
    if isinstance(value, str) and _NUMBER.match(value):
        return float(value) if "." in value else int(value)
    return value


def _size(value: object) -> int:
    if not isinstance(value, str | Mapping | tuple | list | frozenset):
        raise TypeError("has no size")
    return len(value)


def _part(text: object, begin: object, end: object = None) -> str:
    whole = _text(text)
    first, last = _index(begin), len(whole) if end is None else _index(end)
    if not 0 <= first <= last <= len(whole):
        raise IndexError("reaches beyond the text")
    return whole[first:last]


def _index(value: object) -> int:
    if isinstance(value, int | float) and value == int(value):
        return int(value)
    raise TypeError("is no whole number")


def _join(left: object, right: object) -> object:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    return _count(left) + _count(right)


def _count(value: object) -> int | float:
    if not isinstance(value, int | float):
        raise TypeError("is no number")
    return value


def _of_numbers(apply: Callable[[Any, Any], Any]) -> Callable[[object, object], object]:
    def checked(left: object, right: object) -> object:
        return apply(_count(left), _count(right))

    return checked


FUNCTIONS: Final[dict[str, Callable[..., object]]] = {
    "get": _get,
    "number": _number,
    "size": _size,
    "lower": lambda text: _text(text).lower(),
    "upper": lambda text: _text(text).upper(),
    "trim": lambda text: _text(text).strip(),
    "starts": lambda text, begin: _text(text).startswith(_text(begin)),
    "ends": lambda text, end: _text(text).endswith(_text(end)),
    "part": _part,
    "abs": lambda value: abs(_count(value)),
    "floor": lambda value: math.floor(_count(value)),
    "ceil": lambda value: math.ceil(_count(value)),
}
"""``get(map, key, default)`` is the default, or None without one, for a key that is not there;
``number(text)`` is a number for text that looks like one, and anything else as it is;
``part(text, begin, end)`` counts from 0, and ``end`` may be left out.
"""
OPERATORS: Final[dict[type[ast.operator], Callable[[object, object], object]]] = {
    ast.Add: _join,
    ast.Sub: _of_numbers(operator.sub),
    ast.Mult: _of_numbers(operator.mul),
    ast.Div: _of_numbers(operator.truediv),
    ast.Mod: _of_numbers(operator.mod),
}
"""Arithmetic is for numbers; text can be joined."""
