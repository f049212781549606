"""Hides what looks like a credential wherever settings of a task are shown.

This is a courtesy to people who put credentials into plain settings; real secrets belong into the
workspace's secret store, and only their references are ever shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict, replace

from taskyard.core.tasks import SecretRef, Task, environment_of, with_environment

HIDDEN: Final = "***"
"""Stands in place of a hidden value."""

SECRET_WORDS: Final = (
    "password",
    "passwd",
    "secret",
    "token",
    "key",
    "credential",
    "client_id",
    "auth",
)
"""A name that contains one of these, in any case, hides its value."""

_HEADER_WORDS: Final = ("cookie", "signature")


def redact_env(
    env: Mapping[str, str | SecretRef], words: Sequence[str] = SECRET_WORDS
) -> dict[str, str | SecretRef]:
    """The environment with values of secret-looking names hidden; references stay visible."""
    return {
        name: value if isinstance(value, SecretRef) or not _looks_secret(name, words) else HIDDEN
        for name, value in env.items()
    }


def redact_headers(
    headers: Mapping[str, str], words: Sequence[str] = SECRET_WORDS
) -> dict[str, str]:
    """Request headers with those hidden that carry credentials, such as Authorization, Cookie."""
    every = (*words, *_HEADER_WORDS)
    return {
        name: HIDDEN if _looks_secret(name.replace("-", "_"), every) else value
        for name, value in headers.items()
    }


def redact_task(task: Task, words: Sequence[str] = SECRET_WORDS) -> Task:
    """The task as it may be shown: environment and webhook headers redacted."""
    spec = task.spec
    env = environment_of(spec.work)
    if not env and not any(hook.headers for hook in spec.webhooks):
        return task
    return replace(
        task,
        spec=replace(
            spec,
            work=with_environment(spec.work, redact_env(env, words)),
            webhooks=tuple(
                replace(hook, headers=redact_headers(hook.headers, words)) for hook in spec.webhooks
            ),
        ),
    )


class RedactedStruct(Struct, frozen=True):
    """A record, such as one of settings, whose ``repr`` shows nothing that looks secret.

    Hidden are texts, lists and tables under names that look secret; numbers, such as ``token_s``,
    are not. ``repr`` is what tracebacks, debuggers and logs show.
    """

    def __repr__(self) -> str:
        """The record with its secrets hidden."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for terminals."""
        return [(name, _shown(name, value)) for name, value in asdict(self).items()]


def _shown(name: str, value: Any) -> Any:
    if value and isinstance(value, str | tuple | list | dict) and _looks_secret(name, SECRET_WORDS):
        return HIDDEN
    if isinstance(value, dict):
        return {each: _shown(str(each), inner) for each, inner in value.items()}
    return value


def _looks_secret(name: str, words: Sequence[str]) -> bool:
    lowered = name.lower()
    return any(word.lower() in lowered for word in words)
