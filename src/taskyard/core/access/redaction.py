"""Hides what looks like a secret wherever tasks, attempts and settings are shown.

Every view calls this last: the native API, what the command line and the dashboard make of it,
webhooks, the log. What is stored and what runs has the values. A dialect whose contract demands
values as they were given shows them as they were given, in its own answers only; its page in the
documentation says so.

This is a courtesy to people who put credentials into plain settings; real secrets belong into the
workspace's secret store, and only their references are ever shown.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict, replace

from taskyard.core.access.secret_names import (
    SECRET_WORDS,
    contains_secret_word,
    is_secret_header,
    is_secret_name,
)
from taskyard.core.access.secret_text import (
    HIDDEN,
    Allowance,
    is_masked,
    is_masked_argv,
    is_masked_url,
    redact_argv,
    redact_text,
    redact_url,
)
from taskyard.core.attempts import Attempt
from taskyard.core.tasks import (
    Command,
    Container,
    SecretRef,
    Task,
    TaskSpec,
    Webhook,
    Work,
    environment_of,
)

__all__ = [
    "HIDDEN",
    "SECRET_WORDS",
    "RedactedStruct",
    "masked_member",
    "redact_argv",
    "redact_attempt",
    "redact_env",
    "redact_headers",
    "redact_labels",
    "redact_task",
    "redact_text",
    "redact_tree",
    "redact_url",
]
_ENV_MEMBERS: Final = frozenset({"env", "envs", "environment"})
"""Members of free data whose own members are variables."""
_NAMES: Final = ("name", "key")


def redact_env(
    env: Mapping[str, str | SecretRef],
    words: Sequence[str] = SECRET_WORDS,
    allowance: Allowance | None = None,
) -> dict[str, str | SecretRef]:
    """The environment with values of secret-looking names hidden; references stay visible."""
    allowance = allowance or Allowance()
    return {
        name: value
        if isinstance(value, SecretRef)
        else HIDDEN
        if contains_secret_word(name, words)
        else redact_text(value, allowance)
        for name, value in env.items()
    }


def redact_headers(
    headers: Mapping[str, str], allowance: Allowance | None = None
) -> dict[str, str]:
    """Request headers with those hidden that carry credentials, such as Authorization, Cookie."""
    allowance = allowance or Allowance()
    return {
        name: HIDDEN if is_secret_header(name) else redact_text(value, allowance)
        for name, value in headers.items()
    }


def redact_labels(labels: dict[str, str], allowance: Allowance | None = None) -> dict[str, str]:
    """Labels with the values of secret-looking names hidden."""
    allowance = allowance or Allowance()
    return {
        name: HIDDEN if value and is_secret_name(name) else redact_text(value, allowance)
        for name, value in labels.items()
    }


def redact_tree(value: Any, allowance: Allowance | None = None, *, is_env: bool = False) -> Any:
    """Free data, such as JSON, with values of secret-looking names hidden, at any depth.

    Lists of strings are taken for command lines; ``{"name": …, "value": …}`` for a variable.
    """
    allowance = allowance or Allowance()
    if isinstance(value, str):
        return redact_text(value, allowance)
    if isinstance(value, dict):
        return _redact_members(value, allowance, is_env=is_env)
    if isinstance(value, list | tuple):
        if value and all(isinstance(one, str) for one in value):
            return list(redact_argv(value, allowance))
        return [redact_tree(one, allowance, is_env=is_env) for one in value]
    return value


def _redact_members(
    members: dict[Any, Any], allowance: Allowance, *, is_env: bool
) -> dict[Any, Any]:
    shown = {
        name: HIDDEN
        if _hides(str(name), inner, is_env=is_env)
        else redact_tree(inner, allowance, is_env=str(name).lower() in _ENV_MEMBERS)
        for name, inner in members.items()
    }
    if shown.get("value") and any(
        isinstance(members.get(name), str) and _hides(members[name], shown["value"], is_env=is_env)
        for name in _NAMES
    ):
        shown["value"] = HIDDEN
    return shown


def _hides(name: str, value: Any, *, is_env: bool) -> bool:
    """Whether a member's value is hidden because of its name; nothing and truth values are not."""
    if not value or isinstance(value, bool):
        return False
    return contains_secret_word(name) if is_env or name.isupper() else is_secret_name(name)


def redact_task(task: Task, words: Sequence[str] = SECRET_WORDS) -> Task:
    """The task as it may be shown; ``words`` mark variables whose values are hidden."""
    spec, allowance = task.spec, Allowance()
    return replace(
        task,
        message=_redact_optional(task.message, allowance),
        spec=replace(
            spec,
            work=_redact_work(spec.work, words, allowance),
            name=_redact_optional(spec.name, allowance),
            labels=redact_labels(spec.labels, allowance) if spec.labels else spec.labels,
            metadata=redact_tree(spec.metadata, allowance) if spec.metadata else spec.metadata,
            webhooks=tuple(
                replace(
                    one,
                    url=redact_url(one.url, allowance),
                    headers=redact_headers(one.headers, allowance),
                )
                for one in spec.webhooks
            ),
        ),
    )


def _redact_optional(text: str | None, allowance: Allowance) -> str | None:
    return None if text is None else redact_text(text, allowance)


def _redact_work(work: Work, words: Sequence[str], allowance: Allowance) -> Work:
    if isinstance(work, Command):
        return replace(
            work,
            argv=redact_argv(work.argv, allowance),
            shell=_redact_optional(work.shell, allowance),
            env=redact_env(work.env, words, allowance) if work.env else work.env,
            stdin=HIDDEN if work.stdin else work.stdin,
        )
    if isinstance(work, Container):
        entrypoint = work.entrypoint
        return replace(
            work,
            args=redact_argv(work.args, allowance),
            entrypoint=None if entrypoint is None else redact_argv(entrypoint, allowance),
            env=redact_env(work.env, words, allowance) if work.env else work.env,
            stdin=HIDDEN if work.stdin else work.stdin,
        )
    return work


def redact_attempt(attempt: Attempt) -> Attempt:
    """The attempt as it may be shown: messages and command lines without secrets."""
    report = attempt.kill_report
    if attempt.message is None and report is None and attempt.progress_text is None:
        return attempt
    allowance = Allowance()
    if report is not None and report.survivors:
        survivors = tuple(
            replace(one, command=redact_text(one.command, allowance)) for one in report.survivors
        )
        report = replace(report, survivors=survivors)
    return replace(
        attempt,
        message=_redact_optional(attempt.message, allowance),
        progress_text=_redact_optional(attempt.progress_text, allowance),
        kill_report=report,
    )


def masked_member(spec: TaskSpec) -> str | None:
    """The member in which a mask stands in place of a value, such as ``env.TOKEN``; None if none.

    It was shown, and is submitted again as it was shown: what would run is not what ran.
    """
    work = spec.work
    for name, value in environment_of(work).items():
        if value == HIDDEN or (isinstance(value, str) and is_masked(value)):
            return f"env.{name}"
    if isinstance(work, Command | Container):
        if work.stdin == HIDDEN:
            return "stdin"
        lines = (work.argv,) if isinstance(work, Command) else (work.args, work.entrypoint or ())
        if any(map(is_masked_argv, lines)):
            return "command"
        if isinstance(work, Command) and work.shell is not None and is_masked(work.shell):
            return "command"
    for name, value in spec.labels.items():
        if is_masked(value) or (value == HIDDEN and is_secret_name(name)):
            return f"labels.{name}"
    if spec.metadata and (path := _masked_path(spec.metadata, is_env=False)) is not None:
        return f"metadata{path}"
    return _masked_webhook(spec.webhooks)


def _masked_webhook(webhooks: Iterable[Webhook]) -> str | None:
    for position, webhook in enumerate(webhooks):
        if is_masked_url(webhook.url):
            return f"webhooks.{position}.url"
        for name, value in webhook.headers.items():
            if is_masked(value) or (value == HIDDEN and is_secret_header(name)):
                return f"webhooks.{position}.headers.{name}"
    return None


def _masked_path(value: Any, *, is_env: bool) -> str | None:
    if isinstance(value, str):
        return "" if is_masked(value) else None
    if isinstance(value, list | tuple):
        if value and all(isinstance(one, str) for one in value):
            return "" if is_masked_argv(value) else None
        members: Iterable[tuple[Any, Any]] = enumerate(value)
    elif isinstance(value, dict):
        members = value.items()
    else:
        return None
    for name, inner in members:
        if inner == HIDDEN and isinstance(value, dict):
            variable = next((value[one] for one in _NAMES if isinstance(value.get(one), str)), "")
            shown_as = variable if name == "value" and variable else str(name)
            if _hides(shown_as, inner, is_env=is_env):
                return f".{name}"
        within = str(name).lower() in _ENV_MEMBERS if isinstance(value, dict) else is_env
        if (path := _masked_path(inner, is_env=within)) is not None:
            return f".{name}{path}"
    return None


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
    if value and isinstance(value, str | tuple | list | dict) and contains_secret_word(name):
        return HIDDEN
    if isinstance(value, dict):
        return {each: _shown(str(each), inner) for each, inner in value.items()}
    return redact_text(value) if isinstance(value, str) else value
