"""Redaction for whoever shows tasks; the rules are in the core, as webhook payloads need them."""

from taskyard.core.redaction import (
    HIDDEN,
    SECRET_WORDS,
    redact_env,
    redact_headers,
    redact_task,
)

__all__ = ["HIDDEN", "SECRET_WORDS", "redact_env", "redact_headers", "redact_task"]
