"""Endpoints, triggers, schedules and other resources of functions to put into a store."""

from typing import Any

from fakes.specs import NOW, WS
from taskyard.core.functions.functions import Function
from taskyard.core.functions.resources import (
    Build,
    Endpoint,
    FunctionResource,
    Node,
    Schedule,
    Tag,
    Trigger,
)


def endpoint(name: str, of: Function, **members: Any) -> Endpoint:
    """A public address of a function."""
    return Endpoint(name, of.workspace, NOW, of.id, **members)


def trigger(name: str, of: Function, follower: Function, **members: Any) -> Trigger:
    """One function follows another."""
    values: dict[str, Any] = {"include_result": True}
    return Trigger(name, of.workspace, NOW, of.id, follower.id, **(values | members))


def schedule(name: str, of: Function, **members: Any) -> Schedule:
    """A function is called every hour."""
    values: dict[str, Any] = {"cron": "0 * * * *", "timezone": "UTC", "body": b"\x00"}
    return Schedule(name, of.workspace, NOW, of.id, **(values | members))


def tag(name: str, **members: Any) -> Tag:
    """A coloured word."""
    values: dict[str, Any] = {"workspace": WS, "created_at": NOW, "name": name, "color": "red"}
    return Tag(id=name, **(values | members))


def one_of_each(of: Function, follower: Function) -> list[FunctionResource]:
    """All kinds under one id, which each kind counts for itself."""
    return [
        endpoint("same", of, tags=("x",), daily_limit=3),
        trigger("same", of, follower, status=200),
        schedule("same", of),
        tag("same"),
        Node("same", WS, NOW, "a machine", disabled=True),
        Build("same", WS, NOW, of.id, 1),
    ]
