"""Every request of the native API as a value, and how its answer is read. No I/O.

Both clients send these, so that paths, members and decoding exist once.
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


def _items(kind: Any) -> Callable[[bytes], tuple[Any, ...]]:
    read = reader(_Items[kind])
    return lambda body: tuple(read(body).items)


def nothing(_body: bytes) -> None:
    """Reads an answer that says nothing."""
    return


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


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
    return Request("POST", f"{BASE}/tasks", reader(models.Task), body=_json(keyed(spec)))


def submit_many(specs: Iterable[Mapping[str, Any]]) -> Request[tuple[models.Submitted, ...]]:
    """Submit up to 1000 tasks, all or none."""
    body = _json({"tasks": [keyed(spec) for spec in specs]})
    return Request("POST", f"{BASE}/tasks/batch", _items(models.Submitted), body=body)


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
    return Request("GET", _task(task_id, "/attempts"), _items(models.Attempt))


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
    body = _json(_given(signal=signal, grace_s=grace_s))
    return Request("POST", _task(task_id, "/cancel"), reader(models.Outcome), body=body)


def cancel_many(
    ids: Sequence[str] | None, group: str | None
) -> Request[tuple[models.Outcome, ...]]:
    """Cancel up to 1000 tasks by id, or all unended ones of a group."""
    body = _json({"group": group} if ids is None else {"ids": list(ids)})
    return Request("POST", f"{BASE}/tasks/cancel", _items(models.Outcome), body=body)


def retry(task_id: str) -> Request[models.Task]:
    """Submit an ended task again. Not repeatable: each makes another task."""
    return Request("POST", _task(task_id, "/retry"), reader(models.Task), repeatable=False)


def delete(task_id: str) -> Request[None]:
    """Remove an ended task and its logs."""
    return Request("DELETE", _task(task_id), nothing)


def update(task_id: str, members: Mapping[str, Any]) -> Request[models.Task]:
    """Change a waiting task."""
    return Request("PATCH", _task(task_id), reader(models.Task), body=_json(members))


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


def jobs() -> Request[client_models.Page[models.Job]]:
    """Jobs that wait for their time or recur."""
    return Request("GET", f"{BASE}/jobs", reader(client_models.Page[models.Job]))


def cancel_job(job_id: str, group: str) -> Request[models.Job]:
    """Let a job start no more."""
    path = f"{BASE}/jobs/{quote(job_id, safe='')}/cancel"
    return Request("POST", path, reader(models.Job), {"group": group})


def groups(cursor: str | None, limit: int) -> Request[client_models.Page[models.Group]]:
    """One page of groups."""
    read = reader(client_models.Page[models.Group])
    return Request("GET", f"{BASE}/groups", read, {"cursor": cursor, "limit": limit})


def _group(name: str, rest: str = "") -> str:
    return f"{BASE}/groups/{quote(name, safe='')}{rest}"


def group(name: str) -> Request[models.Group]:
    """One group."""
    return Request("GET", _group(name), reader(models.Group))


def pause(name: str) -> Request[models.Group]:
    """Start nothing more of a group."""
    return Request("POST", _group(name, "/pause"), reader(models.Group))


def resume(name: str) -> Request[models.Group]:
    """Start tasks of a group again."""
    return Request("POST", _group(name, "/resume"), reader(models.Group))


def set_group_limit(name: str, limit: int | None) -> Request[models.Group]:
    """Limit how many tasks of a group run at once; None for no limit."""
    body = _json({"concurrency_limit": limit})
    return Request("PATCH", _group(name), reader(models.Group), body=body)


def workspace() -> Request[models.Workspace]:
    """The credential's workspace."""
    return Request("GET", f"{BASE}/workspace", reader(models.Workspace))


def set_workspace_limit(limit: int | None) -> Request[models.Workspace]:
    """Limit how many tasks of the workspace run at once; None for no limit."""
    body = _json({"concurrency_limit": limit})
    return Request("PATCH", f"{BASE}/workspace", reader(models.Workspace), body=body)


def workers() -> Request[tuple[models.Worker, ...]]:
    """All workers."""
    return Request("GET", f"{BASE}/workers", _items(models.Worker))


def cluster() -> Request[models.Cluster]:
    """The control planes."""
    return Request("GET", f"{BASE}/cluster", reader(models.Cluster))


def parked() -> Request[tuple[models.Parked, ...]]:
    """What is put aside, longest first."""
    return Request("GET", f"{BASE}/parked", _items(models.Parked))


def drain(worker_id: str) -> Request[models.Worker]:
    """Place nothing new on a worker."""
    return Request("POST", _drain(worker_id), reader(models.Worker))


def undrain(worker_id: str) -> Request[models.Worker]:
    """Let a worker take tasks again."""
    return Request("DELETE", _drain(worker_id), reader(models.Worker))


def _drain(worker_id: str) -> str:
    return f"{BASE}/workers/{quote(worker_id, safe='')}/drain"


def deliveries(
    state: str | None, cursor: str | None, limit: int
) -> Request[client_models.Page[models.Delivery]]:
    """One page of webhook deliveries."""
    query: Query = {"state": state, "cursor": cursor, "limit": limit}
    read = reader(client_models.Page[models.Delivery])
    return Request("GET", f"{BASE}/webhooks/deliveries", read, query)


def delivery(delivery_id: str) -> Request[models.Delivery]:
    """One webhook delivery."""
    path = f"{BASE}/webhooks/deliveries/{quote(delivery_id, safe='')}"
    return Request("GET", path, reader(models.Delivery))


def redeliver(delivery_id: str) -> Request[models.Delivery | None]:
    """Deliver once more. Not repeatable: each is another delivery."""
    path = f"{BASE}/webhooks/deliveries/{quote(delivery_id, safe='')}/redeliver"
    read = reader(models.Delivery)
    return Request("POST", path, lambda body: read(body) if body else None, repeatable=False)


def tokens(
    cursor: str | None, limit: int, workspace: str | None = None
) -> Request[client_models.Page[models.Token]]:
    """One page of tokens, without their secrets."""
    query: Query = {"cursor": cursor, "limit": limit, "workspace": workspace}
    return Request("GET", f"{BASE}/tokens", reader(client_models.Page[models.Token]), query)


def create_token(
    name: str, role: str, expires_in_s: float | None, workspace: str | None = None
) -> Request[models.Token]:
    """Create a token; the answer's ``token`` is its secret, shown this once."""
    body = _json(_given(name=name, role=role, expires_in_s=expires_in_s, workspace=workspace))
    return Request("POST", f"{BASE}/tokens", reader(models.Token), body=body, repeatable=False)


def revoke_token(token_id: str, workspace: str | None = None) -> Request[None]:
    """Make a token worthless."""
    path, query = f"{BASE}/tokens/{quote(token_id, safe='')}", Query(workspace=workspace)
    return Request("DELETE", path, nothing, query)


def worker_tokens(
    cursor: str | None, limit: int
) -> Request[client_models.Page[models.WorkerToken]]:
    """One page of credentials of workers, without their secrets."""
    read = reader(client_models.Page[models.WorkerToken])
    return Request("GET", f"{BASE}/worker-tokens", read, {"cursor": cursor, "limit": limit})


def create_worker_token(
    name: str, tags: Sequence[str], expires_in_s: float | None
) -> Request[models.WorkerToken]:
    """Create a credential of a worker; the answer's ``join`` is shown this once."""
    body = _json(_given(name=name, tags=list(tags), expires_in_s=expires_in_s))
    read = reader(models.WorkerToken)
    return Request("POST", f"{BASE}/worker-tokens", read, body=body, repeatable=False)


def revoke_worker_token(name: str) -> Request[None]:
    """Cut a worker off."""
    return Request("DELETE", f"{BASE}/worker-tokens/{quote(name, safe='')}", nothing)


def users(
    cursor: str | None, limit: int, workspace: str | None = None
) -> Request[client_models.Page[models.User]]:
    """One page of users."""
    query: Query = {"cursor": cursor, "limit": limit, "workspace": workspace}
    return Request("GET", f"{BASE}/users", reader(client_models.Page[models.User]), query)


def add_user(
    name: str, password: str, role: str, workspace: str | None = None
) -> Request[models.User]:
    """Add a user."""
    body = _json(_given(name=name, password=password, role=role, workspace=workspace))
    return Request("POST", f"{BASE}/users", reader(models.User), body=body, repeatable=False)


def remove_user(name: str, workspace: str | None = None) -> Request[None]:
    """Remove a user."""
    path, query = f"{BASE}/users/{quote(name, safe='')}", Query(workspace=workspace)
    return Request("DELETE", path, nothing, query)


def secrets() -> Request[tuple[str, ...]]:
    """The names of stored secrets, whether the server lists them bare or as objects."""
    read = _items(str | models.Secret)
    return Request(
        "GET",
        f"{BASE}/secrets",
        lambda body: tuple(each if isinstance(each, str) else each.name for each in read(body)),
    )


def set_secret(name: str, value: str) -> Request[None]:
    """Store a secret, or replace it."""
    path = f"{BASE}/secrets/{quote(name, safe='')}"
    return Request("PUT", path, nothing, body=_json({"value": value}))


def remove_secret(name: str) -> Request[None]:
    """Remove a secret."""
    return Request("DELETE", f"{BASE}/secrets/{quote(name, safe='')}", nothing)


def audit(
    cursor: str | None, limit: int, workspace: str | None = None
) -> Request[client_models.Page[models.AuditEntry]]:
    """One page of the audit trail."""
    query: Query = {"cursor": cursor, "limit": limit, "workspace": workspace}
    return Request("GET", f"{BASE}/audit", reader(client_models.Page[models.AuditEntry]), query)


def me() -> Request[models.Me]:
    """Who the credential says we are."""
    return Request("GET", f"{BASE}/me", reader(models.Me))


def version() -> Request[models.ServerVersion]:
    """The server's version."""
    return Request("GET", f"{BASE}/version", reader(models.ServerVersion))


def health() -> Request[dict[str, Any]]:
    """What the server says of itself; needs no credential."""
    return Request("GET", "/health", reader(dict[str, Any]))


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
