"""What the decoder says of a value, as a sentence for the person who sent it.

msgspec names types and patterns as Python knows them: ``Expected `str` matching regex '^/…$'``.
A person needs to know what would have been right. So every pattern has words here (a test looks
at all the schemas), and limits, types and choices are put into words in general.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from msgspec import inspect

PATTERNS: Final = {
    r"^[^\x00]*$": "cannot contain NUL characters",
    r"^[^\x00]*\S[^\x00]*$": "cannot be blank or contain NUL characters",
    r"^[^\x00-\x1f\x7f]+$": "cannot contain control characters",
    r"^/[^\x00]*$": "must be an absolute path, such as /srv/data",
    r"^/[^\x00]+$": "must be an absolute path, such as /dev/fuse",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "must be letters, digits and underscores, the first not a digit",
    r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$": (
        "must be 1 to 63 letters, digits and the characters . _ / -, the first a letter or digit"
    ),
    r"^[0-9]{1,15}(\.[0-9]{1,6})? ?([kKMGTP]|[KMGTP]i|[kKMGTP]?B|[KMGTP]iB)?$": (
        "must be a size, such as 512MiB, 2GB or a number of bytes"
    ),
    r"^SIG[A-Z0-9+-]+$": "must be the name of a signal, such as SIGTERM or SIGINT",
    r"^https?://[^\s\x00]+$": "must be a URL that begins with http:// or https://",
    r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$": "must be the name of an HTTP header, such as X-Token",
    r"^[\x20-\x7e]*$": "must be printable ASCII characters",
    r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,254}$": (
        "must be a network mode, such as none, bridge or host"
    ),
    r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$": "must be a host name, such as db",
    r"^[A-Z][A-Z_]{1,39}$": (
        "must be the name of a Linux capability without CAP_, such as NET_BIND_SERVICE"
    ),
    r"^([a-z_][a-z0-9_.-]{0,31}\$?|[0-9]{1,10})(:[A-Za-z0-9_.-]{1,64})?$": (
        "must be a user, or USER:GROUP, each by name or number"
    ),
    r"^(\*|[a-z0-9][a-z0-9_-]{0,62})$": (
        "must be the name of a workspace: lower-case letters, digits, - and _; or * for all"
    ),
    r"^[a-z0-9][a-z0-9_-]{0,62}$": (
        "must be the name of a workspace: lower-case letters, digits, - and _"
    ),
    r"^[a-z0-9][a-z0-9-]{0,62}$": (
        "must be the name of a worker: 1 to 63 lower-case letters, digits and -, not - first"
    ),
    r"^[^:]+:": "must be KEY:VALUE",
    r"^(newest|oldest)$": "must be newest or oldest",
    r"^(pending|delivered|failed)$": "must be pending, delivered or failed",
    r"^[A-Za-z0-9._-]{1,64}$": "must be 1 to 64 letters, digits, dots, dashes and underscores",
    r"^[0-9]{1,4}(\.[0-9]{1,3})?(s|ms)?$": "must be a duration, such as 30s or 500ms",
    r"^[0-9]{1,10}-[0-9]{1,10}$": "must be two numbers of users, such as 200000-265535",
    r"^[^\s@/,]{1,255}$": "must be HOST or HOST:PORT, such as 10.0.0.1:4222",
    r"^[^\s@/]+:[0-9]{1,5}$": "must be an address and a port, such as 127.0.0.1:4222",
    r"^[0-9]{1,10}:[0-9]{1,10}$": "must be the numbers of a user and a group, such as 1000:1000",
}
"""By the text of the pattern, so that a schema and its words cannot refer to different rules."""

_SHORT: Final = {"cron": 'a cron expression has five fields, such as "0 8 * * *"'}
"""For members whose least length stands for a rule of its own."""
_NOUNS: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "bytes": "text in base64",
    "null": "null",
}
_COUNTED: Final = {"str": "character", "bytes": "byte", "array": "entry", "object": "member"}
_LIMITS: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_TYPE: Final = re.compile(r"Expected `(?P<wanted>[a-z |]+)`, got `(?P<got>[a-z]+)`\Z")
_PATTERN: Final = re.compile(r"Expected `str` matching regex (?P<pattern>.+)\Z", re.DOTALL)
_LENGTH: Final = re.compile(r"Expected `(?P<what>[a-z]+)` of length (?P<how>[<>]=) (?P<n>\d+)\Z")
_NUMBER: Final = re.compile(r"Expected `(?:int|float)` (?P<how>[<>]=?) (?P<n>\S+)\Z")
_CHOICE: Final = re.compile(r"Invalid (?:enum )?value (?P<value>.+)\Z", re.DOTALL)
_SHOWN: Final = 60


def sentence(said: str, path: str, kind: Any = None) -> str:
    """What is wrong with the value at a path, such as ``$.retry.jitter``, to follow its name.

    ``kind`` is the type that was decoded; with it, choices are listed.
    """
    words: dict[re.Pattern[str], Callable[[re.Match[str]], str]] = {
        _TYPE: _of_type,
        _PATTERN: _of_pattern,
        _LENGTH: lambda match: _of_length(match, path.rpartition(".")[2]),
        _NUMBER: lambda match: f"must be {_LIMITS[match['how']]} {match['n']}",
        _CHOICE: lambda match: _of_choice(match, path, kind),
    }
    for pattern, put in words.items():
        if (match := pattern.match(said)) is not None:
            return put(match)
    return said[:1].lower() + said[1:]


def _of_type(match: re.Match[str]) -> str:
    wanted = [_NOUNS.get(name, name) for name in match["wanted"].split(" | ") if name != "null"]
    got = "a fraction" if match["got"] == "float" else _NOUNS.get(match["got"], match["got"])
    return f"must be {_either(wanted or ['null'])}, not {got}"


def _of_pattern(match: re.Match[str]) -> str:
    for pattern, words in PATTERNS.items():
        if repr(pattern) == match["pattern"]:
            return words
    return f"does not match {match['pattern']}"


def _of_length(match: re.Match[str], name: str) -> str:
    at_least, count = match["how"] == ">=", int(match["n"])
    if at_least and name in _SHORT:
        return _SHORT[name]
    if at_least and count == 1:
        return "cannot be empty"
    noun = _COUNTED.get(match["what"], "entry")
    if count != 1:
        noun = noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + "s"
    return f"must have {_LIMITS[match['how']]} {count} {noun}"


def _of_choice(match: re.Match[str], path: str, kind: Any) -> str:
    value = match["value"]
    shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
    choices = None if kind is None else _choices(inspect.type_info(kind), _steps(path))
    if not choices:
        return f"cannot be {shown}"
    return f"must be {_either([str(one) for one in choices])}, not {shown}"


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _steps(path: str) -> list[str]:
    """``$.a[0].b[...]`` as ``a``, ``[]``, ``b``, ``[]``."""
    dotted = re.sub(r"\[[^\]]*\]", ".[]", path)
    return [step for step in dotted.removeprefix("$").split(".") if step]


def _choices(info: inspect.Type, steps: list[str]) -> list[object]:
    """The values that an enumeration, a literal or a tag at a place of a type can have."""
    while isinstance(info, inspect.Metadata):
        info = info.type
    if isinstance(info, inspect.UnionType):
        found = [_choices(one, steps) for one in info.types]
        return [choice for choices in found for choice in choices]
    if isinstance(info, inspect.StructType):
        if steps and steps == [info.tag_field]:
            return [info.tag]
        fields = {field.encode_name: field.type for field in info.fields}
        return _choices(fields[steps[0]], steps[1:]) if steps and steps[0] in fields else []
    if isinstance(info, inspect.DictType):
        return _choices(info.value_type, steps[1:]) if steps else []
    if isinstance(info, inspect.ListType | inspect.VarTupleType | inspect.SetType):
        return _choices(info.item_type, steps[1:]) if steps else []
    if steps:
        return []
    if isinstance(info, inspect.EnumType):
        return [one.value for one in info.cls]
    return list(info.values) if isinstance(info, inspect.LiteralType) else []
