"""Groups, workers, tokens, users and the rest of the tests' small server."""

import uuid
from typing import Any

from contract_engine import GROUPS, SECRETS, TOKENS, USERS, Json, now, problem
from litestar import Request, delete, get, patch, post, put


def group_of(name: str) -> Json:
    """The group with its counts."""
    found = {"name": name, "paused": False, "concurrency_limit": None, **GROUPS.get(name, {})}
    return found | {"counts": {}}


@get("/api/v1/groups")
async def groups() -> Json:
    """All groups."""
    return {"items": [group_of(name) for name in sorted(GROUPS)], "next_cursor": None}


@get("/api/v1/groups/{name:str}")
async def group(name: str) -> Json:
    """One group."""
    return group_of(name)


@patch("/api/v1/groups/{name:str}")
async def set_group(name: str, data: Json) -> Json:
    """Change a group."""
    GROUPS.setdefault(name, {}).update(data)
    return group_of(name)


@post("/api/v1/groups/{name:str}/pause", status_code=200)
async def pause(name: str) -> Json:
    """Pause."""
    GROUPS.setdefault(name, {})["paused"] = True
    return group_of(name)


@post("/api/v1/groups/{name:str}/resume", status_code=200)
async def resume(name: str) -> Json:
    """Resume."""
    GROUPS.setdefault(name, {})["paused"] = False
    return group_of(name)


def worker_of(name: str, state: str = "ready") -> Json:
    """A worker."""
    return {
        "id": name,
        "hostname": "here",
        "state": state,
        "capacity": {"slots": 4, "cpu": 2, "memory_bytes": 1 << 30},
        "used": {"slots": 1, "cpu": 0.5, "memory_bytes": 0},
        "runtimes": ["command"],
        "unavailable": {"container": {"reason": "gone", "circuit": "open", "retry_at": now()}},
        "beat_at": now(),
    }


@get("/api/v1/workers")
async def workers() -> Json:
    """The one worker."""
    return {"items": [worker_of("w1")]}


@get("/api/v1/cluster")
async def cluster() -> Json:
    """Two planes, of which one is silent."""
    about = {"version": "9.9.9", "address": "http://a", "joined_at": now(), "beat_at": now()}
    planes = [
        {"id": "p1", "name": "one", "state": "leading", "silent_s": 0.2, **about},
        {"id": "p2", "name": "two", "state": "silent", "silent_s": 60.0, **about},
    ]
    heard = {"hears_messages": True, "hears_changes": False}
    return {"plane": "p1", "leader": "p1", "term": 3, "planes": planes, **heard}


@get("/api/v1/scaling")
async def scaling(group: str, slots: int, tag: str | None = None) -> Json:
    """Twenty that wait for workers with so many slots."""
    one = {"tag": tag, "waiting": 20, "running": 0, "wanted": 20 // slots}
    return {"group": group, "waiting": 20, "running": 0, "wanted": 20 // slots, "tags": [one]}


@get("/api/v1/parked")
async def parked() -> Json:
    """One task."""
    why = "timezone: 'Gone/Away' is not a known time zone"
    one = {"kind": "task", "id": "t1", "reason": why, "since": now(), "retry_at": now()}
    return {"items": [one]}


@post("/api/v1/workers/{name:str}/drain", status_code=200)
async def drain(name: str) -> Json:
    """Drain."""
    return worker_of(name, "draining")


@delete("/api/v1/workers/{name:str}/drain", status_code=200)
async def undrain(name: str) -> Json:
    """Take tasks again."""
    return worker_of(name)


@get("/api/v1/tokens")
async def tokens() -> Json:
    """All tokens."""
    return {"items": [{**each, "token": None} for each in TOKENS.values()]}


@post("/api/v1/tokens")
async def create_token(data: Json, request: Request[Any, Any, Any]) -> Json:
    """A new token."""
    ident = str(uuid.uuid4())
    TOKENS[ident] = {
        **data,
        "id": ident,
        "token": f"ty_{ident}",
        "workspace": request.state.workspace,
    }
    return TOKENS[ident]


@delete("/api/v1/tokens/{ident:str}")
async def revoke(ident: str) -> None:
    """Revoke."""
    if TOKENS.pop(ident, None) is None:
        raise problem(404, "not-found", f"no token {ident!r} in this workspace")


@post("/api/v1/users")
async def add_user(data: Json, request: Request[Any, Any, Any]) -> Json:
    """A new user."""
    USERS[data["name"]] = {
        "name": data["name"],
        "role": data["role"],
        "workspace": request.state.workspace,
        "password_length": len(data["password"]),
    }
    return USERS[data["name"]]


@get("/api/v1/users")
async def users() -> Json:
    """All users."""
    return {"items": list(USERS.values())}


@get("/api/v1/secrets")
async def secrets() -> Json:
    """Names of secrets."""
    return {"items": [{"name": name} for name in SECRETS]}


@put("/api/v1/secrets/{name:str}", status_code=204)
async def put_secret(name: str, data: Json) -> None:
    """Store a secret."""
    SECRETS[name] = data["value"]


@get("/api/v1/webhooks/deliveries")
async def deliveries() -> Json:
    """No deliveries."""
    return {"items": [], "next_cursor": None}


@get("/api/v1/audit")
async def audit() -> Json:
    """One entry."""
    entry = {"number": 1, "at": now(), "actor": "token dev", "action": "task.submit"}
    return {"items": [entry], "next_cursor": None}


@get("/api/v1/me")
async def me(request: Request[Any, Any, Any]) -> Json:
    """Who asks."""
    return {"actor": "token dev", "workspace": request.state.workspace, "role": "admin"}


@get("/api/v1/version")
async def version() -> Json:
    """The version."""
    return {"version": "9.9.9", "api": "v1"}


HANDLERS = (
    groups,
    group,
    set_group,
    pause,
    resume,
    workers,
    cluster,
    parked,
    scaling,
    drain,
    undrain,
    tokens,
    create_token,
    revoke,
    add_user,
    users,
    secrets,
    put_secret,
    deliveries,
    audit,
    me,
    version,
)
