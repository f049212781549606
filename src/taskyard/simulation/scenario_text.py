"""A scenario's text: TOML or JSON as tables, and in which line each member is."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any, Final

from taskyard.simulation.errors import WrongScenario

Path = tuple[str, ...]
LARGEST_BYTES: Final = 4 << 20
"""Of a file."""
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_AT_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)| \(at end of document\)")


class ScenarioText:
    """What was written, and how."""

    def __init__(self, text: str, *, is_json: bool) -> None:
        """Raises :class:`WrongScenario` for what is neither."""
        self._text = text
        self._is_json = is_json
        self.tables = _read_json(text) if is_json else _read_toml(text)

    def line_of(self, path: Path) -> int | None:
        """The line of a member, or of the closest one around it; None if there is none."""
        best: tuple[int, int] | None = None
        for line, found in _json_members(self._text) if self._is_json else _members(self._text):
            length = min(len(found), len(path))
            if found[:length] == path[:length] and (best is None or length > best[0]):
                best = length, line
        return None if best is None else best[1]


def _read_toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        match = _AT_LINE.search(said)
        line = int(match[1]) if match and match[1] else None
        problem = _AT_LINE.sub("", said)
        raise WrongScenario(f"is not TOML: {problem}", line=line) from error
    except RecursionError as error:
        raise WrongScenario("is nested too deeply") from error


def _read_json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise WrongScenario(f"is not JSON: {error.msg}", line=error.lineno) from error
    except (RecursionError, ValueError) as error:
        raise WrongScenario("is nested too deeply, or has a number that is too long") from error
    if not isinstance(found, dict):
        raise WrongScenario("has to be an object, in braces", line=1)
    return found


def _members(text: str) -> Iterator[tuple[int, Path]]:
    """Tables and keys of TOML with their lines, as far as they begin one."""
    table: Path = ()
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare.startswith("["):
            found = _path_of(bare)
            if found is not None:
                table = found
                yield number, table
        elif "=" in bare and (found := _path_of(bare.partition("=")[0] + "=0")) is not None:
            yield number, table + found


def _path_of(line: str) -> Path | None:
    try:
        found: Any = tomllib.loads(line)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    path = []
    while isinstance(found, dict) and len(found) == 1:
        ((name, found),) = found.items()
        path.append(name)
    return tuple(path) or None


def _json_members(text: str) -> Iterator[tuple[int, Path]]:
    """Members of JSON with their lines."""
    path: list[str | None] = []
    tokens = list(_TOKEN.finditer(text))
    line, at = 1, 0
    for index, token in enumerate(tokens):
        word = token[0]
        if word in "{[":
            path.append(None)
        elif word in "}]":
            if path:
                path.pop()
        elif word.startswith('"') and index + 1 < len(tokens) and tokens[index + 1][0] == ":":
            line += text.count("\n", at, token.start())
            at = token.start()
            path[-1] = json.loads(word)
            yield line, tuple(name for name in path if name is not None)
