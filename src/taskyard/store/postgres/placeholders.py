"""Placeholders of named queries as PostgreSQL's: ``:name`` and ``?`` become ``$1``, ``$2`` …"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

_TOKEN: Final = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|::|:([A-Za-z_]\w*)|\?")
"""Texts, quoted names, comments and casts are passed over."""


class Numbered(NamedTuple):
    """A query with numbered placeholders."""

    sql: str
    names: tuple[str, ...] | None
    """The name behind each number; None if values come in order."""

    def values(self, parameters: Sequence[Any] | Mapping[str, Any]) -> Sequence[Any]:
        """The values in the order of the numbers. Raises ``KeyError`` for one that is missing."""
        if isinstance(parameters, Mapping):
            return [parameters[name] for name in self.names or ()]
        return parameters


def numbered(sql: str) -> Numbered:
    """A query with numbers; a name that occurs twice is one value.

    ``?`` is always a placeholder: JSON is searched with functions, not with operators.
    """
    names: dict[str, int] = {}
    count = 0

    def number(match: re.Match[str]) -> str:
        nonlocal count
        if match[1] is not None:
            return f"${names.setdefault(match[1], len(names) + 1)}"
        if match[0] == "?":
            count += 1
            return f"${count}"
        return match[0]

    text = _TOKEN.sub(number, sql)
    if names and count:
        raise ValueError(f"a query has values with names and without: {sql}")
    return Numbered(text, tuple(names) or None)
