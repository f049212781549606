"""Webhooks: which moments of a task are reported, how they are signed, and when tried again.

Signatures follow Standard Webhooks, https://www.standardwebhooks.com (specification 1.0).
"""

import base64
import hashlib
import hmac
import re
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from taskyard.core.changes import Change
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import AttemptId, TaskId, WorkspaceName
from taskyard.core.instants import Instant, after
from taskyard.core.tasks import Webhook, WebhookEvent

RETRY_DELAYS_S: Final = (5, 30, 120, 600, 3600, 21600, 86400)
"""Seconds to wait after each failed try; after the last one the delivery has failed."""

URL_LIMIT: Final = 2048
WEBHOOKS_LIMIT: Final = 16
HEADERS_LIMIT: Final = 32
HEADER_BYTES: Final = 8192
KEY_PREFIX: Final = "whsec_"

_URL_TEXT: Final = re.compile(r"[!#-;=?-\[\]_a-z~]+\Z")
"""ASCII without blanks, controls, and ``"<>\\^`{|}``."""
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*\Z")
_OWN_HEADERS: Final = frozenset(
    {
        "host",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_ENDS: Final = {
    "succeeded": (WebhookEvent.SUCCEEDED, WebhookEvent.FINISHED),
    "failed": (WebhookEvent.FAILED, WebhookEvent.FINISHED),
    "dead": (WebhookEvent.FAILED, WebhookEvent.FINISHED),
    "cancelled": (WebhookEvent.FINISHED,),
    "expired": (WebhookEvent.FINISHED,),
    "started": (WebhookEvent.STARTED,),
}


class DeliveryState(StrEnum):
    """Where a delivery is in its life."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Every try failed. It can be redelivered on request."""


class Try(Struct, frozen=True):
    """One request made for a delivery."""

    at: Instant
    duration_ms: int
    status: int | None = None
    """Of the answer; None if none came."""
    error: str | None = None
    """Why it counts as failed; None if it was delivered."""
    answer: str | None = None
    """The beginning of the answer's body."""
    headers: dict[str, str] = {}
    """Of the answer to a message in the form of another dialect; empty for our own."""


class Delivery(Struct, frozen=True):
    """One message to one webhook, as stored."""

    id: str
    number: int
    """Position in the order of creation; the cursor of pages."""
    workspace: WorkspaceName
    task_id: TaskId
    attempt_id: AttemptId | None
    event: WebhookEvent
    url: str
    state: DeliveryState
    created_at: Instant
    attempt_count: int = 0
    """Tries made in all."""
    next_at: Instant | None = None
    """When it will be tried next; None unless pending."""
    delivered_at: Instant | None = None
    last_status: int | None = None
    last_error: str | None = None
    tries: tuple[Try, ...] = ()
    """The latest of them, oldest first; empty in pages."""


def events_of(change: Change) -> tuple[WebhookEvent, ...]:
    """What a committed change gives rise to; nothing for most."""
    return events_of_kind(change.kind)


def events_of_kind(kind: str) -> tuple[WebhookEvent, ...]:
    """The same, from the change's ``kind``."""
    return _ENDS.get(kind, ())


def delivery_id(
    task_id: TaskId, event: WebhookEvent, attempt_id: AttemptId | None, position: int
) -> str:
    """The id of a message, the same whenever the same moment is reported to the same webhook.

    ``position`` is that of the webhook in its task.
    """
    text = f"{task_id}\n{event}\n{attempt_id or ''}\n{position}"
    return f"msg_{hashlib.sha256(text.encode()).hexdigest()[:26]}"


def next_try(failed_tries: int, now: Instant) -> Instant | None:
    """When to try again after so many failed tries (from 1); None for never."""
    if failed_tries > len(RETRY_DELAYS_S):
        return None
    return after(now, RETRY_DELAYS_S[failed_tries - 1])


def signed_headers(key: bytes, message_id: str, now: Instant, body: bytes) -> dict[str, str]:
    """``webhook-id``, ``webhook-timestamp`` (of this try, in seconds) and ``webhook-signature``."""
    timestamp = str(now // 1_000_000)
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }


def key_text(key: bytes) -> str:
    """A signing key as it is handed out: ``whsec_`` and base64."""
    return KEY_PREFIX + base64.b64encode(key).decode()


def host_of(url: str) -> str:
    """The host that deliveries to this URL burden, in lower case."""
    return urlsplit(url).hostname or ""


def check_webhook(webhook: Webhook, field: str) -> None:
    """Raise ``InvalidInput`` for a webhook that could never be delivered.

    ``field`` leads to it, such as ``webhooks.0``.
    """
    check_url(webhook.url, f"{field}.url")
    if not webhook.events:
        raise InvalidInput(f"{field}.events", "needs at least one event")
    if len(webhook.headers) > HEADERS_LIMIT:
        raise InvalidInput(f"{field}.headers", f"has more than {HEADERS_LIMIT} entries")
    size = 0
    seen = set()
    for name, value in webhook.headers.items():
        lowered = name.lower()
        if not _HEADER_NAME.match(name):
            raise InvalidInput(f"{field}.headers", f"{name!r} is not a header name")
        if lowered in _OWN_HEADERS or lowered.startswith(("webhook-", "proxy-")):
            raise InvalidInput(f"{field}.headers", f"{name!r} is set by the sender")
        if lowered in seen:
            raise InvalidInput(f"{field}.headers", f"{name!r} occurs twice")
        if not _HEADER_VALUE.match(value):
            raise InvalidInput(f"{field}.headers", f"the value of {name!r} is not plain ASCII")
        seen.add(lowered)
        size += len(name) + len(value) + 4
    if size > HEADER_BYTES:
        raise InvalidInput(f"{field}.headers", f"is longer than {HEADER_BYTES} bytes in all")


def check_url(url: str, field: str = "url") -> None:
    """Raise ``InvalidInput`` unless this is an absolute http or https URL without credentials."""
    if len(url) > URL_LIMIT:
        raise InvalidInput(field, f"is longer than {URL_LIMIT} characters")
    if not _URL_TEXT.match(url):
        raise InvalidInput(field, "needs printable ASCII; use percent-encoding and punycode")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInput(field, f"cannot be read: {error}") from error
    if parts.scheme not in {"http", "https"}:
        raise InvalidInput(field, "must begin with http:// or https://")
    if not host:
        raise InvalidInput(field, "has no host")
    if "@" in parts.netloc:
        raise InvalidInput(field, "must not contain a user name or password; use headers")
    if port == 0:
        raise InvalidInput(field, "cannot use port 0")
