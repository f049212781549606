"""Redaction for whoever shows tasks; the rules are in the core, as webhook payloads need them."""

from taskyard.core.access.redaction import (
    HIDDEN,
    SECRET_WORDS,
    redact_attempt,
    redact_env,
    redact_headers,
    redact_task,
    redact_text,
    redact_tree,
    redact_url,
)

__all__ = [
    "HIDDEN",
    "SECRET_WORDS",
    "redact_attempt",
    "redact_env",
    "redact_headers",
    "redact_task",
    "redact_text",
    "redact_tree",
    "redact_url",
]
