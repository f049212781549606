"""Requests of the native API as values, and how their answers are read. No I/O.

Both clients send these, so that paths, members and decoding exist once. Here are those about tasks;
others are in ``administration_requests.py`` and ``function_requests.py``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

import msgspec

from taskyard.sdk import client_models, models
from taskyard.sdk.errors import Unreadable

T = TypeVar("T")
Query = dict[str, str | int | float | Sequence[str] | None]

BASE = "/api/v1"
MAX_WAIT_S = 60.0
"""The longest the server holds a request that waits."""


class Request(msgspec.Struct, Generic[T], frozen=True):
    """One request, ready to be sent, and how to read its answer."""

    method: str
    path: str
    read: Callable[[bytes], T]
    query: Query = {}
    body: bytes | None = None
    repeatable: bool = True
    """Whether sending it twice is the same as sending it once."""
    extra_s: float = 0.0
    """Seconds the server may take on top of the usual timeout, because it was asked to wait."""

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The query as pairs; members that are None are left out, lists repeat their name."""
        pairs: list[tuple[str, str]] = []
        for name, value in self.query.items():
            if value is None:
                continue
            if isinstance(value, str | int | float):
                pairs.append((name, str(value)))
            else:
                pairs.extend((name, each) for each in value)
        return pairs


@lru_cache
def reader(kind: Any) -> Callable[[bytes], Any]:
    """Reads JSON of a kind; what it answers with raises ``Unreadable``."""
    decoder = msgspec.json.Decoder(kind)

    def read(body: bytes) -> Any:
        try:
            return decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unreadable(f"the answer is not what the API promises: {error}") from error

    return read


class _Items(msgspec.Struct, Generic[T], frozen=True):
    items: tuple[T, ...]


def items(kind: Any) -> Callable[[bytes], tuple[Any, ...]]:
    """Reads JSON whose ``items`` are of a kind; raises as :func:`reader`."""
    read = reader(_Items[kind])
    return lambda body: tuple(read(body).items)


def nothing(_body: bytes) -> None:
    """Reads an answer that says nothing."""
    return


def as_json(value: Any) -> bytes:
    """A body."""
    return msgspec.json.encode(value)


def given(**members: Any) -> dict[str, Any]:
    """Those members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def _task(task_id: str, rest: str = "") -> str:
    return f"{BASE}/tasks/{quote(task_id, safe='')}{rest}"


def keyed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The specification with an idempotency key, so that a repeated submit never doubles."""
    key = spec.get("idempotency_key") or f"sdk-{uuid4().hex}"
    return {**{name: value for name, value in spec.items() if value is not None}, **_key(key)}


def _key(key: Any) -> dict[str, Any]:
    return {"idempotency_key": key}


def submit(spec: Mapping[str, Any]) -> Request[models.Task]:
    """Submit one task."""
    return Request("POST", f"{BASE}/tasks", reader(models.Task), body=as_json(keyed(spec)))


def submit_many(specs: Iterable[Mapping[str, Any]]) -> Request[tuple[models.Submitted, ...]]:
    """Submit up to 1000 tasks, all or none."""
    body = as_json({"tasks": [keyed(spec) for spec in specs]})
    return Request("POST", f"{BASE}/tasks/batch", items(models.Submitted), body=body)


def get(task_id: str) -> Request[models.Task]:
    """One task."""
    return Request("GET", _task(task_id), reader(models.Task))


def page(query: Query) -> Request[client_models.Page[models.Task]]:
    """One page of tasks."""
    return Request("GET", f"{BASE}/tasks", reader(client_models.Page[models.Task]), query=query)


def counts(group: str | None) -> Request[dict[str, int]]:
    """Task counts by state."""
    read = reader(models.Counts)
    return Request(
        "GET", f"{BASE}/tasks/counts", lambda body: dict(read(body).counts), {"group": group}
    )


def attempts(task_id: str) -> Request[tuple[models.Attempt, ...]]:
    """All attempts of a task."""
    return Request("GET", _task(task_id, "/attempts"), items(models.Attempt))


def events(
    task_id: str, cursor: str | None, limit: int
) -> Request[client_models.Page[models.Event]]:
    """One page of a task's history."""
    read = reader(client_models.Page[models.Event])
    return Request("GET", _task(task_id, "/events"), read, {"cursor": cursor, "limit": limit})


def why(task_id: str) -> Request[models.Why]:
    """Why a task is where it is."""
    return Request("GET", _task(task_id, "/why"), reader(models.Why))


def cancel(task_id: str, signal: str | None, grace_s: float | None) -> Request[models.Outcome]:
    """Cancel a waiting task, or begin to kill a running one."""
    body = as_json(given(signal=signal, grace_s=grace_s))
    return Request("POST", _task(task_id, "/cancel"), reader(models.Outcome), body=body)


def cancel_many(
    ids: Sequence[str] | None, group: str | None
) -> Request[tuple[models.Outcome, ...]]:
    """Cancel up to 1000 tasks by id, or all unended ones of a group."""
    body = as_json({"group": group} if ids is None else {"ids": list(ids)})
    return Request("POST", f"{BASE}/tasks/cancel", items(models.Outcome), body=body)


def retry(task_id: str) -> Request[models.Task]:
    """Submit an ended task again. Not repeatable: each makes another task."""
    return Request("POST", _task(task_id, "/retry"), reader(models.Task), repeatable=False)


def delete(task_id: str) -> Request[None]:
    """Remove an ended task and its logs."""
    return Request("DELETE", _task(task_id), nothing)


def update(task_id: str, members: Mapping[str, Any]) -> Request[models.Task]:
    """Change a waiting task."""
    return Request("PATCH", _task(task_id), reader(models.Task), body=as_json(members))


def wait(task_id: str, timeout_s: float) -> Request[models.Task]:
    """The task once it has ended, or as it is after ``timeout_s`` (at most 60)."""
    timeout_s = max(0.0, min(timeout_s, MAX_WAIT_S))
    return Request(
        "GET",
        _task(task_id, "/wait"),
        reader(models.Task),
        {"timeout_s": timeout_s},
        extra_s=timeout_s,
    )


def logs(
    task_id: str, stream: str, attempt: int | None, offset: int, length: int | None
) -> Request[bytes]:
    """Bytes of one output stream; at most 8 MiB for each answer."""
    query: Query = {"attempt": attempt, "offset": offset, "length": length}
    return Request("GET", _task(task_id, f"/logs/{quote(stream, safe='')}"), bytes, query)
