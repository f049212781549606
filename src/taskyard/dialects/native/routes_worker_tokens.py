"""Credentials that workers on other machines join with."""

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from taskyard.core.access.join_string import WORKER_NAME
from taskyard.core.access.principals import Role
from taskyard.core.access.worker_tokens import WorkerToken
from taskyard.core.instants import rfc3339
from taskyard.dialects.http.answers import Answer, json_answer, no_content
from taskyard.dialects.http.routes import Routes
from taskyard.dialects.native.decoding import NoQuery
from taskyard.dialects.native.dialect import Call, Description, answers
from taskyard.dialects.native.paging import page_of, read_text
from taskyard.dialects.native.queries import PageQuery
from taskyard.dialects.native.schemas_tasks import When
from taskyard.services.scheduling.worker_tokens import MOST_TAGS, TAG_CHARACTERS

WORKER_TOKENS: Final = "worker_tokens"

Tag = Annotated[str, Meta(min_length=1, max_length=TAG_CHARACTERS, examples=["gpu"])]


class WorkerTokenAnswer(Struct):
    """The credential of a worker on another machine, without its secret."""

    name: str
    tags: tuple[str, ...]
    created_at: When
    created_by: str
    expires_at: When | None
    revoked_at: When | None
    last_seen_at: When | None


class NewWorkerTokenAnswer(WorkerTokenAnswer):
    """A new one; ``join`` is what the worker joins with, shown only once."""

    join: str


class WorkerTokenPageAnswer(Struct):
    """A page of credentials of workers, by name."""

    items: list[WorkerTokenAnswer]
    next_cursor: str | None


class NewWorkerToken(Struct, forbid_unknown_fields=True):
    """A credential to create; the worker that joins with it has its name for an id."""

    name: Annotated[str, Meta(pattern=WORKER_NAME, examples=["big-7"])]
    tags: Annotated[tuple[Tag, ...], Meta(max_length=MOST_TAGS)] = ()
    expires_in_s: Annotated[float, Meta(ge=1, le=315_360_000)] | None = None


routes = Routes[Call[Any, Any], Description](answers({}), "")


@routes.get(
    "/worker-tokens", answers({200: WorkerTokenPageAnswer}, role=Role.ADMIN, installation=True)
)
async def list_worker_tokens(call: Call[PageQuery, None]) -> Answer:
    """A page of credentials of workers, revoked and expired ones too, without their secrets."""
    limit, after = call.query.limit, read_text(WORKER_TOKENS, call.query.cursor)
    found = await call.engine.worker_tokens.page(call.caller, after, limit + 1)
    shown = page_of(WORKER_TOKENS, found, limit, lambda one: one.name, _answer)
    return json_answer(WorkerTokenPageAnswer(*shown))


@routes.post(
    "/worker-tokens",
    answers({201: NewWorkerTokenAnswer}, role=Role.ADMIN, installation=True, fails=(409, 507)),
)
async def create_worker_token(call: Call[NoQuery, NewWorkerToken]) -> Answer:
    """Create a credential for a worker; its join string is shown only once."""
    wanted = call.body
    token, join = await call.engine.worker_tokens.create(
        call.caller, wanted.name, wanted.tags, wanted.expires_in_s
    )
    shown = _answer(token)
    return json_answer(
        NewWorkerTokenAnswer(
            name=shown.name,
            tags=shown.tags,
            created_at=shown.created_at,
            created_by=shown.created_by,
            expires_at=shown.expires_at,
            revoked_at=shown.revoked_at,
            last_seen_at=shown.last_seen_at,
            join=join.text,
        ),
        201,
        ((b"cache-control", b"no-store"),),
    )


@routes.delete(
    "/worker-tokens/{name}",
    answers({204: None}, role=Role.ADMIN, installation=True, fails=(404, 507)),
)
async def revoke_worker_token(call: Call[NoQuery, None]) -> Answer:
    """Revoke a credential: its worker is cut off, and what it runs goes elsewhere."""
    await call.engine.worker_tokens.revoke(call.caller, call.path("name"))
    return no_content()


def _answer(token: WorkerToken) -> WorkerTokenAnswer:
    return WorkerTokenAnswer(
        name=token.name,
        tags=token.tags,
        created_at=rfc3339(token.created_at),
        created_by=token.created_by,
        expires_at=rfc3339(token.expires_at),
        revoked_at=rfc3339(token.revoked_at),
        last_seen_at=rfc3339(token.last_seen_at),
    )
