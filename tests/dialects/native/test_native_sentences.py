"""Refusals of values are sentences that say what would have been right."""

import inspect as python
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from taskyard.dialects.native import (
    queries,
    routes_worker_tokens,
    schemas_functions,
    schemas_rest,
    schemas_shared,
    schemas_submit,
    sentences,
)
from taskyard.dialects.native.errors import undecodable
from taskyard.dialects.native.schemas_submit import SubmittedTask
from taskyard.server.settings import Settings


def schemas() -> Iterator[Any]:
    """All structs that are decoded from what people write."""
    yield Settings
    for module in (
        queries,
        routes_worker_tokens,
        schemas_shared,
        schemas_submit,
        schemas_functions,
        schemas_rest,
    ):
        for _, one in python.getmembers(module, python.isclass):
            if issubclass(one, msgspec.Struct) and one.__module__ == module.__name__:
                yield one


def patterns(value: Any, seen: set[int]) -> Iterator[str]:
    """Every pattern in the description of a type."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, inspect.StrType) and value.pattern is not None:
        yield value.pattern
    if isinstance(value, inspect.Type | inspect.Field):
        for name in value.__struct_fields__:
            yield from patterns(getattr(value, name), seen)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from patterns(one, seen)


def test_every_pattern_has_words() -> None:
    """A new pattern in a schema needs a sentence; one that is gone needs none."""
    used = {one for kind in schemas() for one in patterns(inspect.type_info(kind), set())}
    assert len(used) > 15
    assert used == set(sentences.PATTERNS)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"cron": "x"}, 'cron: a cron expression has five fields, such as "0 8 * * *"'),
        ({"cron": 5}, "cron: must be text, not a whole number"),
        ({"cwd": "."}, "cwd: must be an absolute path, such as /srv/data"),
        ({"priority": 101}, "priority: must be at most 100"),
        ({"priority": 1.5}, "priority: must be a whole number, not a fraction"),
        ({"priority": None}, "priority: must be a whole number, not null"),
        ({"resources": {"cpu": 0}}, "resources.cpu: must be at least 0.01"),
        ({"resources": {"memory": "x"}}, "resources.memory: must be a size, such as 512MiB"),
        ({"resources": []}, "resources: must be an object, not a list"),
        ({"catch_up": "x"}, "catch_up: must be none, one or all, not 'x'"),
        ({"catch_up": "x" * 99}, "catch_up: must be none, one or all, not 'xxxxx"),
        (
            {"webhooks": [{"url": "http://x/", "events": ["x"]}]},
            "webhooks.0.events.0: must be started, succeeded, failed or finished, not 'x'",
        ),
        ({"webhooks": [{"url": "ftp://x"}]}, "webhooks.0.url: must be a URL that begins with"),
        ({"webhooks": [{}]}, "webhooks.0.url: is required"),
        ({"placement": {"type": "x"}}, "placement.type: must be "),
        ({"kill": {"signal": "FOO"}}, "kill.signal: must be the name of a signal, such as SIG"),
        ({"env": {"1": "x"}}, "env: has an invalid name: it must be letters, digits"),
        ({"env": {"A": 1}}, "env: must be text or an object, not a whole number"),
        ({"group": ""}, "group: cannot be empty"),
        ({"group": "x" * 256}, "group: must have at most 255 characters"),
        ({"command": []}, "command: cannot be empty"),
        ({"name": "\0"}, "name: cannot contain NUL characters"),
        ({"isolate": "yes"}, "isolate: must be true or false, not text"),
        ({"colour": 1}, "colour: is not a known member; check the spelling"),
    ],
)
def test_what_is_wrong_is_said_in_words(members: dict[str, Any], told: str) -> None:
    """And nothing of the decoder's own names."""
    body = msgspec.json.encode({"command": ["x"], **members})
    with pytest.raises(msgspec.ValidationError) as wrong:
        msgspec.json.decode(body, type=SubmittedTask)
    said = str(undecodable(wrong.value, body, SubmittedTask))
    assert said.startswith(told)
    assert not any(word in said for word in ("`", "regex", "xpected", "enum"))
    assert len(said) < 200
