"""Named queries: ``queries/FILE.sql`` holds ``-- name: QUERY`` and its text, for ``FILE.QUERY``.

Those of this package are what all databases understand. A database that needs other words for some
has files of the same names in its own package, which replace them query by query.

In a query, ``{task}`` stands for a list of columns of ``columns.sql``, ``{t.task}`` for the same of
the table called ``t``, ``{{query}}`` for the text of another query of the same file, and
``{{file.query}}`` for one of another file, be it one that each database has words of its own for.
Values are ``:name`` or ``?``.
"""

import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Final

_COMMON: Final = "taskyard.store.sql"
_HEAD: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_COMMENT: Final = re.compile(r"^\s*--.*\n", re.MULTILINE)
_COLUMNS: Final = re.compile(r"^-- columns: (\w+)\n((?:[^\n-].*\n)+)", re.MULTILINE)
_COLUMNS_IN_BRACES: Final = re.compile(r"\{(\w+\.)?(\w+)\}")
_QUERY_IN_BRACES: Final = re.compile(r"\{\{([\w.]+)\}\}")


@cache
def queries(package: str) -> dict[str, str]:
    """All queries in the words of the database whose package this is, by their names."""
    texts = _texts(_COMMON) | _texts(package)
    columns = _columns()
    return {name: _filled(name, texts, columns) for name in texts}


def _texts(package: str) -> dict[str, str]:
    """What the files of a package say, by names; nothing is filled in yet."""
    found: dict[str, str] = {}
    for entry in (resources.files(package) / "queries").iterdir():
        if not entry.name.endswith(".sql") or entry.name == "columns.sql":
            continue
        head, *parts = _HEAD.split(entry.read_text("utf-8"))
        if _COMMENT.sub("", head).strip():
            raise ValueError(f"{entry.name} begins with a query that has no name")
        file = entry.name.removesuffix(".sql")
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            found[f"{file}.{name}"] = _COMMENT.sub("", text).strip().removesuffix(";")
    return found


@cache
def _columns() -> dict[str, list[str]]:
    """The lists of ``columns.sql`` by name."""
    text = (resources.files(_COMMON) / "queries" / "columns.sql").read_text("utf-8")
    return {
        name: columns.replace("\n", " ").strip().split(", ")
        for name, columns in _COLUMNS.findall(text)
    }


def _filled(name: str, texts: dict[str, str], columns: dict[str, list[str]]) -> str:
    return _COLUMNS_IN_BRACES.sub(_lister(columns), _expanded(name, texts))


def _expanded(name: str, texts: dict[str, str]) -> str:
    """A query with the others that it names."""
    file = name.partition(".")[0]

    def other(match: re.Match[str]) -> str:
        return _expanded(match[1] if "." in match[1] else f"{file}.{match[1]}", texts)

    return _QUERY_IN_BRACES.sub(other, texts[name])


def _lister(columns: dict[str, list[str]]) -> Callable[[re.Match[str]], str]:
    def listed(match: re.Match[str]) -> str:
        table, name = match.groups()
        return ", ".join(f"{table or ''}{column}" for column in columns[name])

    return listed
