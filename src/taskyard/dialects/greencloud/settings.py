"""Settings of the GreenCloud dialect: the table ``[greencloud]``."""

import ipaddress
import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from taskyard.core.access.redaction import RedactedStruct
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import WorkspaceName
from taskyard.services.access.passwords import check_hash

MARGIN_S: Final = 10
"""Seconds that a token is said to live less than it does."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")


class Account(RedactedStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may use the dialect; its objects live in one workspace."""

    key: Annotated[str, Meta(min_length=1)] | None = None
    """API key, to be exchanged for an access token."""
    tokens: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    """Access tokens that do not expire."""
    workspace: str = ""
    """Where its functions and tasks live; named like the account when empty."""
    email: str = ""
    """Address to sign in with, and to be shown; no two accounts have the same."""
    password_hash: str | None = None
    """Of the password to sign in with, as ``taskyard user hash`` prints it."""
    name: str = ""
    """First name of whoever it belongs to; shown, and nothing else."""
    surname: str = ""
    """The rest of it."""
    quota: Annotated[int, Meta(ge=0)] | None = None
    """Tasks that may be issued in a calendar month (UTC), by whatever; any number when None."""

    def workspace_of(self, name: str) -> WorkspaceName:
        """Where things of an account of this name live."""
        return WorkspaceName(self.workspace or name)


class GreenCloudSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Documented in ``docs/reference/settings.md``."""

    accounts: dict[str, Account] = {}
    """By name. The engine's own tokens are accepted, too, each for its workspace."""
    token_s: Annotated[int, Meta(ge=60, le=31_536_000)] = 3600
    """Seconds that a token lives which was given for an API key."""
    public_result_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 300.0
    """Seconds after its end that the result of a public call can be read by anybody."""
    max_body_bytes: Annotated[int, Meta(ge=1024, le=256 << 20)] = 10 << 20
    """Largest body for a function."""
    max_upload_bytes: Annotated[int, Meta(ge=1024, le=64 << 20)] = 64 << 20
    """Largest build upload."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose ``X-Forwarded-For`` counts."""
    rerun_if_lost: bool = True
    """Whether a task runs again whose worker was lost in the middle."""

    def check(self, table: str) -> None:
        """Raise ``InvalidInput``, led by the table's name, for settings that cannot be used."""
        self._check_accounts(f"{table}.accounts")
        self._check_sign_in(f"{table}.accounts")
        for proxy in self.trusted_proxies:
            try:
                ipaddress.ip_network(proxy, strict=False)
            except ValueError as error:
                raise InvalidInput(
                    f"{table}.trusted_proxies", f"{proxy} is not an address"
                ) from error

    def _check_accounts(self, field: str) -> None:
        seen: set[str] = set()
        for name, account in self.accounts.items():
            for shown in (name, account.workspace_of(name)):
                if not _NAME.match(shown):
                    raise InvalidInput(field, f"{shown!r} needs a-z 0-9 _ - and at most 63 of them")
            for secret in (*account.tokens, *([account.key] if account.key else [])):
                if secret in seen:
                    raise InvalidInput(field, f"{name} has a key or token that is there twice")
                seen.add(secret)

    def _check_sign_in(self, field: str) -> None:
        emails: set[str] = set()
        for name, account in self.accounts.items():
            email = account.email.lower()
            if email in emails:
                raise InvalidInput(field, f"{name} has an email that another one has")
            emails |= {email} if email else set()
            if account.password_hash is not None:
                if not email:
                    raise InvalidInput(field, f"{name} has a password, and no email")
                check_hash(account.password_hash, f"{field}.{name}.password_hash")

    def quotas(self) -> dict[WorkspaceName, int]:
        """Calls that may be issued in a month, by workspace; of several accounts, the least."""
        found: dict[WorkspaceName, int] = {}
        for name, account in self.accounts.items():
            if account.quota is not None:
                workspace = account.workspace_of(name)
                found[workspace] = min(account.quota, found.get(workspace, account.quota))
        return found

    def with_dev(self) -> "GreenCloudSettings":
        """The same, and the well-known account of ``--dev``."""
        known = Account(key="dev", workspace="default")
        return msgspec.structs.replace(self, accounts={"dev": known, **self.accounts})
