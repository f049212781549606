"""Makes the SDK's models from the OpenAPI description: ``python tools/sdk_models.py``.

``src/taskyard/sdk/models.py`` holds what the native API answers with. With ``--check`` nothing is
written: the exit status is 1 if the file is not current.
"""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from taskyard.dialects.native.app import SECTIONS
from taskyard.dialects.native.openapi import describe

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / "src/taskyard/sdk/models.py"
Schema = dict[str, Any]

_HEADER: Final = '''\
# Made by tools/sdk_models.py from the OpenAPI description: change the server's schemas instead.
"""What the server answers with, as typed, frozen records.

Members the records do not know are ignored, and members a server leaves out have defaults, so that
client and server can be of different versions. Instants are aware UTC ``datetime`` objects,
durations seconds, sizes bytes.
"""

from datetime import datetime
from typing import Any

from msgspec import Struct

TERMINAL = frozenset({"succeeded", "failed", "dead", "cancelled", "expired"})
"""The task states that never change again."""
'''
_REQUIRED: Final = frozenset(
    {
        *("id", "task_id", "name", "group", "number", "kind", "state", "at", "attempt", "actor"),
        *("role", "version", "event", "url", "host", "container", "secret", "pid", "reason"),
        *("since", "retry_at", "requested_at", "done_at", "function", "action", "summary"),
        *("outcome", "created", "key"),
    }
)
"""Members without which a record makes no sense; all others have defaults."""
_DEFAULTS: Final = {
    "AuditEntry.count": 1,
    "AuditEntry.outcome": "done",
    "Confinement.isolation": "none",
    "Function.group": "",
    "KillReport.method": "cgroup",
    "ServerVersion.api": "v1",
    "Task.group": "default",
    "Task.runtime": "command",
    "Task.timezone": "UTC",
    "Task.workspace": "default",
    "UnavailableRuntime.circuit": "closed",
    "UnavailableRuntime.reason": "",
    "Worker.version": "",
}
"""Defaults that are neither in the description nor what is empty."""
_BY_HAND: Final = frozenset({"GapAnswer", "OutputMessage"})
"""Messages that clients see in another form, see ``taskyard.sdk.client_models``."""
_MERGED: Final = {
    "TokenAnswer": "NewTokenAnswer",
    "WorkerTokenAnswer": "NewWorkerTokenAnswer",
}
"""Answers with members that another one leaves out are the same record."""
_METHODS: Final = {
    "Task": '''
    @property
    def ended(self) -> bool:
        """Whether the task has reached its one terminal state."""
        return self.state in TERMINAL
'''
}
_SCALARS: Final = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
_EMPTY: Final = {"str": '""', "int": "0", "float": "0.0", "bool": "False"}


def models(document: Schema) -> str:
    """The module's text."""
    schemas = document["components"]["schemas"]
    records = dict(_records(document, schemas))
    return _format(_HEADER + "".join(_record(name, schemas, records) for name in records))


def _records(document: Schema, schemas: dict[str, Schema]) -> Iterator[tuple[str, str]]:
    """Names of the objects that are answered, after those they refer to, with their class's."""
    seen = {"Problem", *_MERGED.values(), *_BY_HAND}
    for path in document["paths"].values():
        for operation in path.values():
            for answer in operation["responses"].values():
                yield from _objects(answer.get("content", {}), schemas, seen)


def _objects(value: Any, schemas: dict[str, Schema], seen: set[str]) -> Iterator[tuple[str, str]]:
    """Those that occur in a part of the description, except for ``seen``, which grows."""
    if isinstance(value, list):
        for one in value:
            yield from _objects(one, schemas, seen)
    elif isinstance(value, dict) and not _is_variant(value, schemas):
        for one in value.values():
            yield from _objects(one, schemas, seen)
        name = str(value.get("$ref", "")).rpartition("/")[2]
        if name and name not in seen:
            seen.add(name)
            members = schemas[name].get("properties", {})
            yield from _objects(members, schemas, seen)
            if members.keys() - {"items", "next_cursor"}:
                yield name, name.removesuffix("Answer")


def _is_variant(schema: Schema, schemas: dict[str, Schema]) -> bool:
    """Whether it is one of several objects, which stay dictionaries: more may be added."""
    names = [one["$ref"].rpartition("/")[2] for one in schema.get("anyOf", ()) if "$ref" in one]
    return sum("properties" in schemas[name] for name in names) > 1


def _record(name: str, schemas: dict[str, Schema], records: dict[str, str]) -> str:
    schema, kind = schemas[name], records[name]
    properties: dict[str, Schema] = dict(schema["properties"])
    required = set(schema.get("required", ()))
    if name in _MERGED:
        properties |= {
            key: value
            for key, value in schemas[_MERGED[name]]["properties"].items()
            if key not in properties
        }
    given = schemas.get(f"Submitted{kind}", schemas.get(kind, {})).get("properties", {})
    first: list[str] = []
    later: list[str] = []
    for member, described in properties.items():
        if member == "type" and len(described.get("enum", ())) == 1:
            continue  # The tag of a message.
        type_, default = _type(described, schemas, records), None
        usual = {"default": _DEFAULTS.get(f"{kind}.{member}")}
        for source in (usual, described, given.get(member, {})):
            if source.get("default") is not None:
                default = _literal(source["default"])
                break
        if default is None and member not in required and not type_.endswith("None"):
            type_ = f"{type_} | None"
        if default is None and (type_.endswith("None") or member not in _REQUIRED):
            default = _default(type_, schemas, records)
            if default is None:
                type_, default = f"{type_} | None", "None"
        line = f"    {member}: {type_}" + ("" if default is None else f" = {default}") + "\n"
        text = described.get("description")
        (first if default is None else later).append(line + (_docstring(text) if text else ""))
    body = "".join([*first, *later]) + _METHODS.get(kind, "")
    doc = _docstring(schema.get("description", f"{kind}."))
    return f"\n\nclass {kind}(Struct, frozen=True):\n{doc}\n{body}"


def _type(schema: Schema, schemas: dict[str, Schema], records: dict[str, str]) -> str:
    if "anyOf" in schema:
        kinds = [_type(one, schemas, records) for one in schema["anyOf"]]
        if _is_variant(schema, schemas):
            kinds = ["dict[str, Any]", *(one for one in kinds if one == "None")]
        kinds = sorted(dict.fromkeys(kinds), key=lambda one: one == "None")
        return " | ".join(kinds)
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return records.get(name, "dict[str, Any]") if "properties" in schemas[name] else "str"
    kind = schema.get("type")
    if schema.get("format") == "date-time":
        return "datetime"
    if "enum" in schema:
        return "str"
    if kind == "array":
        return f"tuple[{_type(schema['items'], schemas, records)}, ...]"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"dict[str, {_type(values, schemas, records)}]" if values else "dict[str, Any]"
    return "None" if kind == "null" else _SCALARS.get(str(kind), "Any")


def _default(type_: str, schemas: dict[str, Schema], records: dict[str, str]) -> str | None:
    """What stands for a member that is left out; None if nothing can."""
    if type_.endswith("None"):
        return "None"
    if type_.startswith("tuple["):
        return "()"
    if type_.startswith("dict["):
        return "{}"
    if type_ in _EMPTY:
        return _EMPTY[type_]
    names = [name for name, kind in records.items() if kind == type_]
    members = schemas[names[0]]["properties"] if names else {}
    return f"{type_}()" if members and not (_REQUIRED & members.keys()) else None


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"({''.join(f'{_literal(one)}, ' for one in value)})"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _docstring(text: str) -> str:
    """The text as a docstring of a class or below a member."""
    joined = " ".join(text.split()).replace("`", "``").replace("````", "``")
    lines = textwrap.wrap(f'"""{joined}"""', 95, break_long_words=False)
    return "".join(f"    {line}\n" for line in lines)


def _format(text: str) -> str:
    place = ["--stdin-filename", str(TARGET), "-"]
    program = [sys.executable, "-m", "ruff", "format", *place]
    done = subprocess.run(program, input=text, capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout


def main() -> int:
    """Write the file, or with ``--check`` compare it; the exit status."""
    text = models(json.loads(describe(SECTIONS, "/api/v1")))
    if TARGET.read_text() == text:
        return 0
    check = "--check" in sys.argv[1:]
    if not check:
        TARGET.write_text(text)
    words = "is not current: run make generate" if check else "written"
    print(f"{TARGET.relative_to(ROOT)} {words}")  # noqa: T201 - a command
    return 1 if check else 0


if __name__ == "__main__":
    sys.exit(main())
