"""Functions as clients see them, and every request about them as a value. No I/O.

As with :mod:`taskyard.sdk.requests`, both clients send these and read the answers alike.
"""

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import httpx2
import msgspec
from msgspec import Struct

from taskyard.sdk import client_models, models
from taskyard.sdk.connection import check
from taskyard.sdk.errors import Unreadable
from taskyard.sdk.requests import BASE, MAX_WAIT_S, Request, nothing, reader

TASK_HEADER = "taskyard-task-id"


class Invocation(Struct, frozen=True):
    """What a function answered."""

    task_id: str
    status: int
    headers: dict[str, str]
    body: bytes


class RawRequest(Struct, frozen=True):
    """A request whose answer is what a function answered, with its status and headers."""

    request: Request[bytes]
    headers: dict[str, str] = {}


def deploy(
    name: str, bundle: bytes | None, wait_s: float, members: Mapping[str, Any]
) -> Request[models.Deployed]:
    """Deploy source, or with None an image. Not repeatable: each makes another version."""
    given = {key: value for key, value in members.items() if value is not None}
    if bundle is not None:
        given["archive"] = base64.b64encode(bundle).decode()
    wait_s = min(wait_s, MAX_WAIT_S)
    return Request(
        "PUT",
        _path(name),
        reader(models.Deployed),
        {"wait": f"{wait_s:g}s"},
        msgspec.json.encode(given),
        repeatable=False,
        extra_s=wait_s,
    )


def page(cursor: str | None, *, deleted: bool) -> Request[client_models.Page[models.Function]]:
    """One page of functions."""
    query = {"cursor": cursor, "limit": 500, "deleted": "true" if deleted else None}
    return Request(
        "GET", f"{BASE}/functions", reader(client_models.Page[models.Function]), {**query}
    )


def get(name: str) -> Request[models.Function]:
    """One function."""
    return Request("GET", _path(name), reader(models.Function))


def versions(name: str, cursor: str | None) -> Request[client_models.Page[models.FunctionVersion]]:
    """One page of versions."""
    read = reader(client_models.Page[models.FunctionVersion])
    return Request("GET", _path(name, "/versions"), read, {"cursor": cursor, "limit": 500})


def version(name: str, number: int) -> Request[models.FunctionVersion]:
    """One version."""
    return Request("GET", _path(name, f"/versions/{number}"), reader(models.FunctionVersion))


def build_log(name: str, number: int) -> Request[str]:
    """The log of a build."""
    path = _path(name, f"/versions/{number}/log")
    return Request("GET", path, lambda body: body.decode("utf-8", "replace"))


def roll_back(name: str, number: int | None) -> Request[models.Function]:
    """Let new calls use another version."""
    body = msgspec.json.encode({"version": number})
    return Request("POST", _path(name, "/rollback"), reader(models.Function), body=body)


def move(name: str, how: str) -> Request[models.Function]:
    """``pause``, ``resume`` or ``restore``."""
    return Request("POST", _path(name, f"/{how}"), reader(models.Function))


def delete(name: str) -> Request[None]:
    """Delete a function."""
    return Request("DELETE", _path(name), nothing)


def invoke(
    name: str,
    body: bytes,
    query: Mapping[str, str] | None,
    content_type: str | None,
    wait_s: float,
) -> RawRequest:
    """Call a function; its answer is read by :func:`submitted` or :func:`invoked`."""
    wait_s = min(wait_s, MAX_WAIT_S)
    asked = {"wait": f"{wait_s:g}s", "query": urlencode(query) if query else None}
    headers = {"idempotency-key": f"sdk-{uuid4().hex}"}
    if content_type is not None:
        headers["content-type"] = content_type
    path = _path(name, "/calls")
    return RawRequest(Request("POST", path, bytes, {**asked}, body, extra_s=wait_s), headers)


def result(task_id: str) -> RawRequest:
    """What an ended call answered; read by :func:`answered`."""
    return RawRequest(Request("GET", f"{BASE}/tasks/{quote(task_id, safe='')}/result", bytes))


def submitted(answer: httpx2.Response) -> models.Task:
    """The task of a call that nobody waits for. Raises ``Refused``, ``Unreadable``."""
    check(answer)
    task: models.Task = reader(models.Task)(answer.content)
    return task


def invoked(answer: httpx2.Response) -> Invocation | models.Task:
    """What the function answered, or the task if that takes longer. Raises as above.

    Functions may answer with any status and location: the server tells of a task with its own.
    """
    task_id = answer.headers.get(TASK_HEADER, "")
    if task_id and answer.headers.get("location", "").endswith(f"{BASE}/tasks/{task_id}"):
        return submitted(answer)
    return answered(answer)


def answered(answer: httpx2.Response) -> Invocation:
    """What the function answered, whatever its status. Raises ``Refused``, ``Unreadable``."""
    if TASK_HEADER not in answer.headers:
        check(answer)
        raise Unreadable("the answer does not say which call it belongs to")
    fields = {name.lower(): value for name, value in answer.headers.items()}
    return Invocation(fields[TASK_HEADER], answer.status_code, fields, answer.content)


def _path(name: str, rest: str = "") -> str:
    return f"{BASE}/functions/{quote(name, safe='')}{rest}"
