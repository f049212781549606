"""Errors of the client as messages that name flags, the next step, and an exit status."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from taskyard.cli import exit_status
from taskyard.cli.errors import CommandError
from taskyard.sdk import errors
from taskyard.sdk.errors import InvalidRequest

_FLAGS: Final = {
    "backoff_max_s": "--backoff",
    "backoff_min_s": "--backoff",
    "catch_up": "--catch-up",
    "container.credentials": "--registry-secret",
    "container.entrypoint": "--entrypoint",
    "container.network": "--network",
    "container.pull": "--pull",
    "container.volumes": "--volume",
    "cron": "--cron",
    "cwd": "--cwd",
    "env": "--env",
    "expires_at": "--expires",
    "group": "--group",
    "idempotency_key": "--key",
    "image": "--image",
    "kill.grace_s": "--grace",
    "kill.signal": "--signal",
    "labels": "--label",
    "log_limit": "--log-limit",
    "metadata": "--metadata",
    "name": "--name",
    "placement": "--on",
    "priority": "--priority",
    "resources.cores": "--cores",
    "resources.cpu": "--cpu",
    "resources.memory": "--memory",
    "resources.pids": "--pids",
    "retry.backoff_max_s": "--backoff",
    "retry.backoff_min_s": "--backoff",
    "retry.max_attempts": "--retries",
    "start_at": "--at",
    "start_in_s": "--in",
    "stdin": "--stdin-file",
    "timeout_s": "--timeout",
    "timezone": "--tz",
    "user": "--user",
    "webhooks": "--webhook",
}
_WORD: Final = re.compile(r"\b[a-z]+_[a-z_]+\b")


def command_error(error: Exception) -> CommandError:
    """The command line's error for an error of the client."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, errors.Unreachable):
        return CommandError(
            str(error),
            exit_status.UNREACHABLE,
            what_to_do="Is the server running? Start one with 'taskyard up', or give its address "
            "with --url or TASKYARD_URL.",
        )
    if isinstance(error, errors.Unreadable):
        return CommandError(
            str(error),
            exit_status.UNREACHABLE,
            what_to_do="Check that the address is that of a Taskyard server.",
        )
    if isinstance(error, errors.Refused):
        return _refused(error)
    if isinstance(error, UnicodeEncodeError):
        # Arguments and variables reach us with the bytes that are not UTF-8 as surrogates.
        return CommandError(
            f"{error.object!a} contains bytes that are not valid UTF-8",
            exit_status.USAGE,
            what_to_do="A task holds text; pass such bytes in a file, or encode them, "
            "for example as base64.",
        )
    if isinstance(error, OSError):
        return CommandError(str(error), exit_status.TROUBLE)
    return CommandError(
        f"{type(error).__name__}: {error}",
        exit_status.TROUBLE,
        what_to_do="This is a bug; set TASKYARD_DEBUG=1 to see a traceback.",
    )


def _refused(error: errors.Refused) -> CommandError:
    message = str(error)
    if isinstance(error, errors.NotAuthenticated):
        hint = "Give a credential with --token or TASKYARD_TOKEN."
        return CommandError(message, exit_status.NOT_ALLOWED, what_to_do=hint)
    if isinstance(error, errors.NotAllowed):
        hint = "Use a credential that has this role."
        return CommandError(message, exit_status.NOT_ALLOWED, what_to_do=hint)
    if isinstance(error, errors.NotFound):
        return CommandError(message, exit_status.NOT_FOUND)
    if isinstance(error, errors.Conflict | errors.FunctionFailed):
        return CommandError(message, exit_status.FAILED)
    if isinstance(error, errors.InvalidRequest):
        problems = "; ".join(
            f"{each.field}: {each.problem}" if each.field else each.problem for each in error.errors
        )
        return CommandError(problems or message, exit_status.INVALID)
    if isinstance(error, errors.Overloaded):
        hint = f"Try again in {error.retry_after_s:g} s."
        return CommandError(message, exit_status.TRY_AGAIN, what_to_do=hint)
    if isinstance(error, errors.Unavailable | errors.StorageFull):
        return CommandError(message, exit_status.TRY_AGAIN, what_to_do="Try again later.")
    if isinstance(error, errors.DataDamaged):
        hint = "Restore it from a backup if it is needed; the server's log says which file."
        return CommandError(message, exit_status.FAILED, what_to_do=hint)
    request = f" (request {error.request_id})" if error.request_id else ""
    hint = "See the server's log for details."
    return CommandError(
        f"the server failed: {message}{request}", exit_status.TROUBLE, what_to_do=hint
    )


@contextmanager
def problems_as_flags(**others: str) -> Iterator[None]:
    """Report problems of members, raised within the block, by the flags that set them.

    Args:
        others: Further members, and the names this command gives them.
    """
    try:
        yield
    except InvalidRequest as error:
        known = _FLAGS | others
        problems = [f"{_flag(each.field, known)}{each.problem}" for each in error.errors]
        said = "; ".join(problems) or str(error)
        said = _WORD.sub(lambda match: known.get(match[0], match[0]), said)
        raise CommandError(said, exit_status.INVALID) from error


def _flag(field: str | None, known: dict[str, str]) -> str:
    """The flag of a member or its parent, followed by a colon; empty without a member."""
    steps = (field or "").split(".")
    for end in range(len(steps), 0, -1):
        flag = known.get(".".join(steps[:end]))
        if flag is not None:
            return f"{flag}: "
    return f"{field}: " if field else ""
