"""Changes to a scenario, such as ``workers.small.count=120``: of variants, and of ``--with``."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, Final

from taskyard.simulation.errors import WrongScenario, dotted

Tables = dict[str, Any]
Change = tuple[tuple[str, ...], Any]
MOST: Final = 1000
"""Changes in one variant."""
DEPTH: Final = 16


def parse_change(text: str) -> Change:
    """``KEY=VALUE``: a dotted key as in TOML, and a value as in TOML, or else a text.

    Raises :class:`WrongScenario`.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise WrongScenario(f"{text!r} is not a change, such as workers.small.count=120")
    return path_of(key), _value(value.strip())


def path_of(key: str) -> tuple[str, ...]:
    """The names in a dotted key. Raises :class:`WrongScenario`."""
    problem = f"{key!r} is not a key, such as workers.small.count"
    if "\n" in key or len(key) > 1000 or key.count(".") > DEPTH:
        raise WrongScenario(problem)
    try:
        found: Any = tomllib.loads(f"{key}=0")
    except tomllib.TOMLDecodeError as error:
        raise WrongScenario(problem) from error
    path = []
    while isinstance(found, dict):
        if len(found) != 1:
            raise WrongScenario(problem)
        ((name, found),) = found.items()
        path.append(name)
    return tuple(path)


def changed(tables: Mapping[str, Any], changes: Iterable[Change]) -> Tables:
    """A copy with other values; a value of None (JSON's ``null``) takes a member away.

    Raises :class:`WrongScenario` where a key leads through something that is no table.
    """
    found = deepcopy(dict(tables))
    for number, (path, value) in enumerate(changes):
        if number >= MOST:
            raise WrongScenario(f"has more than {MOST} changes")
        inner = found
        for depth, name in enumerate(path[:-1], 1):
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise WrongScenario(
                    f"{dotted(path[:depth])} is no table that could be changed", path
                )
        if value is None:
            inner.pop(path[-1], None)
        else:
            inner[path[-1]] = value
    return found


def _value(text: str) -> Any:
    if text == "null":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
