"""Settings of the fastlane dialect: the table ``[fastlane]``."""

from typing import Annotated

from msgspec import Meta

from taskyard.core.access.redaction import RedactedStruct
from taskyard.core.errors import InvalidInput
from taskyard.core.tasks import PullPolicy

Milliseconds = Annotated[int, Meta(ge=0, le=86_400_000)]
Factor = Annotated[float, Meta(ge=0, le=1000)]


class FastlaneSettings(RedactedStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Documented in ``docs/reference/settings.md``."""

    anonymous: bool | None = None
    """Serve callers without credentials; only with ``dev`` when None."""
    basic_auth_username: str | None = None
    basic_auth_password: str | None = None
    basic_auth_realm: str = ""
    installation: bool | None = None
    """Whether callers of the dialect may take hosts out of rotation, which concerns all workspaces;
    only with ``dev`` when None. Users and tokens of the installation always may."""
    workspace: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")] = "default"
    """Where tasks of this dialect live."""
    debug: bool = False
    """Serve the list of routes."""
    server_name: str | None = None
    """Host (and port) in URLs, instead of what requests reached us by."""
    cors: bool = True
    cors_origins: tuple[str, ...] = ("*",)
    pull: PullPolicy = PullPolicy.ALWAYS
    """When images are fetched."""
    timeout_limit_s: Annotated[float, Meta(gt=0, le=31_536_000)] = 1800.0
    """Longest an execution may run."""
    retry_backoff_min_ms: Milliseconds = 1000
    retry_backoff_factor: Factor = 2.0
    webhook_backoff_min_ms: Milliseconds = 5000
    webhook_backoff_factor: Factor = 2.0
    webhook_verify_tls: bool = False
    hidden_words: tuple[str, ...] = ("password", "key", "secret", "client_id")
    """Names of environment variables that hold one of these have their values hidden."""
    page_size: Annotated[int, Meta(ge=1, le=1000)] = 10
    smtp_host: str | None = None
    smtp_port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    smtp_user: str | None = None
    smtp_password: str | None = None
    smtp_from: str | None = None
    smtp_starttls: bool = False

    def check(self, table: str) -> None:
        """Raise ``InvalidInput``, led by the table's name, for settings that do not go together."""
        if (self.basic_auth_username is None) != (self.basic_auth_password is None):
            raise InvalidInput(
                f"{table}.basic_auth_username", "has to be set along with basic_auth_password"
            )
        if self.smtp_host is not None and (self.smtp_port is None or not self.smtp_from):
            raise InvalidInput(f"{table}.smtp_host", "needs smtp_port and smtp_from")
        if self.smtp_from is not None and not _is_address(self.smtp_from):
            raise InvalidInput(f"{table}.smtp_from", "is not a mail address")

    @property
    def wants_credentials(self) -> bool:
        """Whether callers have to present the user name and password."""
        return self.basic_auth_username is not None and self.basic_auth_password is not None


def _is_address(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text and "@" in text
