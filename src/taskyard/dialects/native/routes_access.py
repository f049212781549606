"""Tokens, users, secrets and the audit trail."""

from typing import Any, Final, get_args

from taskyard.core.access.principals import AuditEntry, Role, Token, User
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import rfc3339
from taskyard.dialects.http.answers import Answer, json_answer, no_content
from taskyard.dialects.http.routes import Routes
from taskyard.dialects.native.decoding import NoQuery
from taskyard.dialects.native.dialect import Call, Description, answers
from taskyard.dialects.native.paging import page_of, read_number, read_text
from taskyard.dialects.native.queries import PageQuery, WorkspacePageQuery, WorkspaceQuery
from taskyard.dialects.native.schemas_rest import (
    AuditEntryAnswer,
    AuditPageAnswer,
    NewSecret,
    NewToken,
    NewTokenAnswer,
    NewUser,
    RoleWord,
    SecretAnswer,
    SecretPageAnswer,
    TokenAnswer,
    TokenPageAnswer,
    UserAnswer,
    UserPageAnswer,
)
from taskyard.ports.access import SecretRecord

TOKENS: Final = "tokens"
USERS: Final = "users"
SECRETS: Final = "secrets"
AUDIT: Final = "audit"
_WORDS: Final[dict[Role, RoleWord]] = dict(zip(sorted(Role), get_args(RoleWord), strict=True))


routes = Routes[Call[Any, Any], Description](answers({}), "")


@routes.get("/tokens", answers({200: TokenPageAnswer}, role=Role.ADMIN))
async def list_tokens(call: Call[WorkspacePageQuery, None]) -> Answer:
    """A page of tokens, revoked and expired ones too, without their secrets."""
    limit, after = call.query.limit, read_text(TOKENS, call.query.cursor)
    found = await call.engine.access.tokens(
        call.caller, after, limit + 1, _choice(call.query.workspace)
    )
    shown = page_of(TOKENS, found, limit, lambda one: one.id, token_answer)
    return json_answer(TokenPageAnswer(*shown))


@routes.post("/tokens", answers({201: NewTokenAnswer}, role=Role.ADMIN, fails=(507,)))
async def create_token(call: Call[NoQuery, NewToken]) -> Answer:
    """Create a token; its secret is shown only once."""
    wanted = call.body
    token, text = await call.engine.access.create_token(
        call.caller,
        wanted.name,
        Role[wanted.role.upper()],
        _choice(wanted.workspace),
        wanted.expires_in_s,
    )
    shown = token_answer(token)
    return json_answer(
        NewTokenAnswer(
            id=shown.id,
            name=shown.name,
            workspace=shown.workspace,
            role=shown.role,
            created_at=shown.created_at,
            expires_at=shown.expires_at,
            revoked_at=shown.revoked_at,
            last_used_at=shown.last_used_at,
            token=text,
        ),
        201,
        ((b"cache-control", b"no-store"),),
    )


@routes.delete("/tokens/{token_id}", answers({204: None}, role=Role.ADMIN, fails=(404, 507)))
async def revoke_token(call: Call[WorkspaceQuery, None]) -> Answer:
    """Revoke a token."""
    await call.engine.access.revoke_token(
        call.caller, call.path("token_id"), _choice(call.query.workspace)
    )
    return no_content()


@routes.get("/users", answers({200: UserPageAnswer}, role=Role.ADMIN))
async def list_users(call: Call[WorkspacePageQuery, None]) -> Answer:
    """A page of users."""
    limit, after = call.query.limit, read_text(USERS, call.query.cursor)
    found = await call.engine.access.users(
        call.caller, after, limit + 1, _choice(call.query.workspace)
    )
    shown = page_of(USERS, found, limit, lambda one: one.name, user_answer)
    return json_answer(UserPageAnswer(*shown))


@routes.post("/users", answers({201: UserAnswer}, role=Role.ADMIN, fails=(409, 507)))
async def add_user(call: Call[NoQuery, NewUser]) -> Answer:
    """Add a user."""
    wanted = call.body
    user = await call.engine.access.add_user(
        call.caller,
        wanted.name,
        wanted.password,
        Role[wanted.role.upper()],
        _choice(wanted.workspace),
    )
    return json_answer(user_answer(user), 201)


@routes.delete("/users/{name}", answers({204: None}, role=Role.ADMIN, fails=(404, 507)))
async def remove_user(call: Call[WorkspaceQuery, None]) -> Answer:
    """Remove a user."""
    await call.engine.access.remove_user(
        call.caller, call.path("name"), _choice(call.query.workspace)
    )
    return no_content()


@routes.get("/secrets", answers({200: SecretPageAnswer}, role=Role.ADMIN))
async def list_secrets(call: Call[PageQuery, None]) -> Answer:
    """A page of secrets, by name; never their values."""
    limit, after = call.query.limit, read_text(SECRETS, call.query.cursor)
    found = await call.engine.secrets.page(call.caller, after, limit + 1)
    shown = page_of(SECRETS, found, limit, lambda one: one.name, secret_answer)
    return json_answer(SecretPageAnswer(*shown))


@routes.put("/secrets/{name}", answers({204: None}, role=Role.ADMIN, fails=(404, 507)))
async def put_secret(call: Call[NoQuery, NewSecret]) -> Answer:
    """Store a secret, or replace its value."""
    await call.engine.secrets.put(call.caller, call.path("name"), call.body.value)
    return no_content()


@routes.delete("/secrets/{name}", answers({204: None}, role=Role.ADMIN, fails=(404, 507)))
async def delete_secret(call: Call[NoQuery, None]) -> Answer:
    """Remove a secret; tasks that refer to it fail from then on."""
    await call.engine.secrets.delete(call.caller, call.path("name"))
    return no_content()


@routes.get("/audit", answers({200: AuditPageAnswer}, role=Role.ADMIN))
async def list_audit(call: Call[WorkspacePageQuery, None]) -> Answer:
    """A page of the audit trail, newest first."""
    limit, before = call.query.limit, read_number(AUDIT, call.query.cursor)
    where = _choice(call.query.workspace)
    found = await call.engine.audit.page(call.caller, before, limit + 1, where)
    shown = page_of(AUDIT, found, limit, lambda one: one.number, audit_answer)
    return json_answer(AuditPageAnswer(*shown))


def secret_answer(secret: SecretRecord) -> SecretAnswer:
    """A secret as answered, without its value."""
    return SecretAnswer(secret.name, rfc3339(secret.created_at), rfc3339(secret.updated_at))


def token_answer(token: Token) -> TokenAnswer:
    """A token as answered."""
    return TokenAnswer(
        id=token.id,
        name=token.name,
        workspace=token.workspace,
        role=_WORDS[token.role],
        created_at=rfc3339(token.created_at),
        expires_at=rfc3339(token.expires_at),
        revoked_at=rfc3339(token.revoked_at),
        last_used_at=rfc3339(token.last_used_at),
    )


def user_answer(user: User) -> UserAnswer:
    """A user as answered."""
    return UserAnswer(user.name, user.workspace, _WORDS[user.role], rfc3339(user.created_at))


def audit_answer(entry: AuditEntry) -> AuditEntryAnswer:
    """A line of the audit trail as answered."""
    return AuditEntryAnswer(
        number=entry.number,
        at=rfc3339(entry.at),
        actor=entry.actor,
        action=entry.action,
        target=entry.target,
        outcome=entry.outcome,
        address=entry.address,
        detail=entry.detail,
        count=entry.count,
    )


def _choice(workspace: str | None) -> WorkspaceName | None:
    """The workspace that a request names; None for the caller's own."""
    return WorkspaceName(workspace) if workspace else None


def role_word(role: Role) -> RoleWord:
    """A role as it is written on the wire."""
    return _WORDS[role]
