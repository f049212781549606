"""What stands below the members of wire structs is part of the OpenAPI description."""

import json
from typing import Any

import pytest

from taskyard.dialects.native.app import SECTIONS
from taskyard.dialects.native.member_docs import member_docs, structs_in
from taskyard.dialects.native.openapi import describe
from taskyard.dialects.native.schemas_rest import AuditPageAnswer, MeAnswer


@pytest.fixture(scope="module")
def document() -> Any:
    """The description, without a server."""
    return json.loads(describe(SECTIONS, "/api/v1"))


def test_members_are_described(document: Any) -> None:
    """Texts below members, of structs that are answered and of those that are sent."""
    schemas = document["components"]["schemas"]
    assert member_docs(MeAnswer)["workspace"].startswith("`*` for a credential")
    described = schemas["TaskAnswer"]["properties"]["ran_s"]["description"]
    assert described.startswith("Total running time of its ended attempts")
    assert "description" in schemas["SubmittedTask"]["properties"]["network"]
    assert "description" not in schemas["TaskAnswer"]["properties"]["name"]


def test_finds_structs_inside_others() -> None:
    """Every struct that a type leads to."""
    assert set(structs_in([AuditPageAnswer])) == {"AuditPageAnswer", "AuditEntryAnswer"}


def test_events_of_streams_are_described(document: Any) -> None:
    """Which messages a stream of events has."""
    follow = document["paths"]["/api/v1/tasks/{task_id}/logs/follow"]["get"]
    events = follow["responses"]["200"]["content"]["text/event-stream"]["x-events"]
    assert [one["$ref"].rpartition("/")[2] for one in events] == [
        "OutputMessage",
        "CaughtUp",
        "Exit",
    ]


def test_names_are_short(document: Any) -> None:
    """No two structs share a name, which would make msgspec write them out in full."""
    assert [name for name in document["components"]["schemas"] if "." in name] == []
