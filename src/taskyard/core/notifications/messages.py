"""Messages that a dialect reports with: requests and mails in the form its users know.

They share the outbox with webhook messages, and unlike those bring their own body and their own
rule for when to try again.
"""

from enum import StrEnum

from msgspec import Struct

from taskyard.core.backoff import delay_s
from taskyard.core.instants import Instant, after
from taskyard.core.tasks import WebhookEvent

LONGEST_DELAY_S = 30 * 86400.0


class DeliveryKind(StrEnum):
    """How a delivery leaves."""

    SIGNED = "signed"
    """A webhook message of ours: JSON, signed."""
    PLAIN = "plain"
    """A request just as it was put together."""
    MAIL = "mail"


class DeliveryPolicy(Struct, frozen=True, omit_defaults=True):
    """How a message is tried."""

    retries: int = 0
    """Tries after the first one."""
    backoff_min_s: float = 5.0
    backoff_factor: float = 2.0
    timeout_s: float = 1.0
    verify_tls: bool = True
    redirects: int = 0
    """How many are followed; each target is judged again."""


class Message(Struct, frozen=True):
    """Something to be sent about an execution."""

    kind: DeliveryKind
    event: WebhookEvent
    position: int
    """Tells apart the messages about one event of one execution."""
    target: str
    """URL, or mail address."""
    body: bytes
    headers: dict[str, str] = {}
    policy: DeliveryPolicy = DeliveryPolicy()


class Dispatched(Struct, frozen=True):
    """One try at a plain message, with both sides of the exchange."""

    at: Instant
    url: str
    status: int | None
    error: str | None
    request_headers: dict[str, str]
    request_body: bytes
    """Empty where the try succeeded."""
    answer_headers: dict[str, str]
    answer_body: str


def next_try_by(policy: DeliveryPolicy, failed_tries: int, now: Instant) -> Instant | None:
    """When to try again after so many failed tries (from 1); None for never."""
    if failed_tries > policy.retries:
        return None
    first_s, factor = policy.backoff_min_s, policy.backoff_factor
    return after(now, delay_s(first_s, LONGEST_DELAY_S, failed_tries, factor))
