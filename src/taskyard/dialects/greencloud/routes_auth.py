"""Accounts: tokens for keys and passwords, and what they say of themselves."""

import hashlib

from taskyard.dialects.greencloud.auth import SignedIn
from taskyard.dialects.greencloud.dialect import PUBLIC, Call
from taskyard.dialects.greencloud.errors import invalid
from taskyard.dialects.greencloud.schemas import Members, json_document
from taskyard.dialects.greencloud.settings import Account
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.routes import Routes

routes = Routes[Call, bool](access=False)


@routes.post("/v1/auth/apiKey", PUBLIC)
async def exchange(call: Call) -> Answer:
    """``POST /v1/auth/apiKey``."""
    (key,) = _texts(await call.members(), "key")
    given = await call.dialect.accounts.exchange(key, call.caller.address)
    return json_document({"expiresIn": given.expires_in, "accessToken": given.token})


@routes.post("/v1/auth/login", PUBLIC)
async def log_in(call: Call) -> Answer:
    """``POST /v1/auth/login``; there is no second factor, so that one is not looked at."""
    email, password = _texts(await call.members(), "email", "password")
    sign_in = call.dialect.sign_in
    return _signed_in(await sign_in.log_in(email, password, call.caller.address))


@routes.post("/v1/auth/refresh", PUBLIC)
async def refresh(call: Call) -> Answer:
    """``POST /v1/auth/refresh``."""
    (token,) = _texts(await call.members(), "refreshToken")
    return _signed_in(await call.dialect.sign_in.refresh(token, call.caller.address))


@routes.get("/v1/user")
async def show_user(call: Call) -> Answer:
    """``GET /v1/user``: what is known of whoever asks."""
    account = call.dialect.accounts.account_of(call.caller)
    shown = account or Account(name=call.caller.actor)
    quota = next((one.limit for one in call.quota()), None)
    identity = f"{call.caller.workspace} {call.caller.actor}".encode()
    return json_document(
        {
            "id": hashlib.sha256(identity).hexdigest()[:24],
            "email": shown.email,
            "name": shown.name,
            "surname": shown.surname,
            "twofa": False,
            "apiKey": shown.key or "",
            "bundle": {"name": "default", "quota": -1 if quota is None else quota, "price": 0},
        }
    )


def _signed_in(given: SignedIn) -> Answer:
    return json_document(
        {
            "expiresIn": given.expires_in,
            "accessToken": given.token,
            "refreshToken": given.refresh_token,
        }
    )


def _texts(members: Members, *names: str) -> list[str]:
    """The members of these names. Raises ``Refused`` unless all are text."""
    values = [members.raw(name) for name in names]
    found = [one for one in values if isinstance(one, str)]
    if len(found) < len(names):
        wrong = [name for name, one in zip(names, values, strict=True) if not isinstance(one, str)]
        raise invalid(dict.fromkeys(wrong, "is required, and has to be text"))
    return found
