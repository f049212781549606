"""Requests about jobs, groups, workers, webhooks and who may do what. No I/O.

As with :mod:`taskyard.sdk.requests`, both clients send these and read the answers alike.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from taskyard.sdk import client_models, models
from taskyard.sdk.requests import BASE, Query, Request, as_json, given, items, nothing, reader


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
    body = as_json({"concurrency_limit": limit})
    return Request("PATCH", _group(name), reader(models.Group), body=body)


def workspace() -> Request[models.Workspace]:
    """The credential's workspace."""
    return Request("GET", f"{BASE}/workspace", reader(models.Workspace))


def set_workspace_limit(limit: int | None) -> Request[models.Workspace]:
    """Limit how many tasks of the workspace run at once; None for no limit."""
    body = as_json({"concurrency_limit": limit})
    return Request("PATCH", f"{BASE}/workspace", reader(models.Workspace), body=body)


def workers() -> Request[tuple[models.Worker, ...]]:
    """All workers."""
    return Request("GET", f"{BASE}/workers", items(models.Worker))


def cluster() -> Request[models.Cluster]:
    """The control planes."""
    return Request("GET", f"{BASE}/cluster", reader(models.Cluster))


def scaling(group: str, slots: int, tag: str | None) -> Request[models.Scaling]:
    """How many workers a group wants."""
    query: Query = {"group": group, "slots": slots, "tag": tag}
    return Request("GET", f"{BASE}/scaling", reader(models.Scaling), query)


def parked() -> Request[tuple[models.Parked, ...]]:
    """What is put aside, longest first."""
    return Request("GET", f"{BASE}/parked", items(models.Parked))


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
    body = as_json(given(name=name, role=role, expires_in_s=expires_in_s, workspace=workspace))
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
    body = as_json(given(name=name, tags=list(tags), expires_in_s=expires_in_s))
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
    body = as_json(given(name=name, password=password, role=role, workspace=workspace))
    return Request("POST", f"{BASE}/users", reader(models.User), body=body, repeatable=False)


def remove_user(name: str, workspace: str | None = None) -> Request[None]:
    """Remove a user."""
    path, query = f"{BASE}/users/{quote(name, safe='')}", Query(workspace=workspace)
    return Request("DELETE", path, nothing, query)


def secrets() -> Request[tuple[str, ...]]:
    """The names of stored secrets, whether the server lists them bare or as objects."""
    read = items(str | models.Secret)
    return Request(
        "GET",
        f"{BASE}/secrets",
        lambda body: tuple(each if isinstance(each, str) else each.name for each in read(body)),
    )


def set_secret(name: str, value: str) -> Request[None]:
    """Store a secret, or replace it."""
    path = f"{BASE}/secrets/{quote(name, safe='')}"
    return Request("PUT", path, nothing, body=as_json({"value": value}))


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
