"""Members of the API under the names that the command line gives them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from taskyard.cli import exits
from taskyard.cli.errors import Stop
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


@contextmanager
def problems_as_flags(**others: str) -> Iterator[None]:
    """Turn a refusal of members within the block into one of the flags they were given by.

    Args:
        others: Names of members that this command takes in another way.
    """
    try:
        yield
    except InvalidRequest as error:
        known = _FLAGS | others
        problems = [f"{_flag(each.field, known)}{each.problem}" for each in error.errors]
        said = "; ".join(problems) or str(error)
        said = _WORD.sub(lambda match: known.get(match[0], match[0]), said)
        raise Stop(said, exits.INVALID) from error


def _flag(field: str | None, known: dict[str, str]) -> str:
    """The flag of a member or of what it is part of, with a colon behind; empty without one."""
    steps = (field or "").split(".")
    for end in range(len(steps), 0, -1):
        flag = known.get(".".join(steps[:end]))
        if flag is not None:
            return f"{flag}: "
    return f"{field}: " if field else ""
