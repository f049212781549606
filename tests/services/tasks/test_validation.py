# ruff: noqa: S604 - ``shell`` is a member of a specification here
"""The rules of a specification, one by one."""

from typing import Any

import pytest

from taskyard.core.backoff import RetryPolicy
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import GroupName
from taskyard.core.instants import Instant
from taskyard.core.tasks import Command, SecretRef, TaskSpec
from taskyard.services.tasks.validation import COMMAND_BYTES, LATEST, check_spec


def made(**members: Any) -> TaskSpec:
    """A specification that is fine but for these members."""
    members.setdefault("work", Command(argv=("true",)))
    return TaskSpec(**members)


FINE = {
    "as plain as can be": made(),
    "a shell line": made(work=Command(shell="a | b; c")),
    "an empty argument": made(work=Command(argv=("echo", ""))),
    "the longest command": made(work=Command(argv=("x" * COMMAND_BYTES,))),
    "an environment": made(
        work=Command(argv=("a",), env={"_A1": "", "B": "ü\n", "C": SecretRef("db")})
    ),
    "a working directory": made(work=Command(argv=("a",), cwd="/srv/x y")),
    "the longest group": made(group=GroupName("g" * 255)),
    "a group in any script": made(group=GroupName("Grüße 🎉/x")),
    "every signal": made(kill_signal="SIGUSR1"),
    "labels": made(labels={"a": "", "Team.x/y-z_1": "ü" * 255}),
    "the first and last instant": made(start_at=Instant(0), expires_at=Instant(LATEST)),
    "equal back-offs": made(retry=RetryPolicy(2, 5, 5)),
    "a rule": made(cron="*/5 8-17 * * 1-5", timezone="America/New_York"),
}
WRONG = {
    "no command": (made(work=Command()), "command"),
    "two commands": (made(work=Command(argv=("a",), shell="a")), "command"),
    "an empty program": (made(work=Command(argv=("", "a"))), "command"),
    "an empty shell line": (made(work=Command(shell=" \n\t")), "command"),
    "NUL in an argument": (made(work=Command(argv=("a", "b\0c"))), "command"),
    "NUL in a shell line": (made(work=Command(shell="a\0b")), "command"),
    "a command too long": (made(work=Command(argv=("x" * (COMMAND_BYTES + 1),))), "command"),
    "too long in bytes": (made(work=Command(shell="ü" * (COMMAND_BYTES // 2 + 1))), "command"),
    "too many arguments": (made(work=Command(argv=("x",) * (COMMAND_BYTES // 2 + 2))), "command"),
    "a relative directory": (made(work=Command(argv=("a",), cwd="srv")), "cwd"),
    "NUL in a directory": (made(work=Command(argv=("a",), cwd="/srv\0")), "cwd"),
    "an empty directory": (made(work=Command(argv=("a",), cwd="")), "cwd"),
    "a variable with a dash": (made(work=Command(argv=("a",), env={"A-B": ""})), "env.A-B"),
    "an empty variable": (made(work=Command(argv=("a",), env={"": ""})), "env."),
    "a variable with a line end": (made(work=Command(argv=("a",), env={"A\n": ""})), "env.A\n"),
    "NUL in a value": (made(work=Command(argv=("a",), env={"A": "\0"})), "env.A"),
    "an empty group": (made(group=GroupName("")), "group"),
    "a group too long": (made(group=GroupName("g" * 256)), "group"),
    "a group with a tab": (made(group=GroupName("a\tb")), "group"),
    "a group with DEL": (made(group=GroupName("a\x7f")), "group"),
    "a name too long": (made(name="n" * 1025), "name"),
    "no such signal": (made(kill_signal="SIGNOPE"), "kill.signal"),
    "a number for a signal": (made(kill_signal="9"), "kill.signal"),
    "an empty signal": (made(kill_signal=""), "kill.signal"),
    "back-offs the wrong way round": (made(retry=RetryPolicy(2, 5, 4)), "retry.backoff_min_s"),
    "two starts": (made(cron="* * * * *", start_at=Instant(1)), "cron"),
    "a bad rule": (made(cron="* * * * 9"), "cron"),
    "a bad zone": (made(cron="* * * * *", timezone="Nowhere"), "timezone"),
    "a start before time began": (made(start_at=Instant(-1)), "start_at"),
    "a start after time ends": (made(start_at=Instant(LATEST + 1)), "start_at"),
    "an expiry after time ends": (made(expires_at=Instant(1 << 63)), "expires_at"),
    "a label with a space": (made(labels={"a b": "c"}), "labels"),
    "an empty label": (made(labels={"": "c"}), "labels"),
    "a label too long": (made(labels={"a" * 64: "c"}), "labels"),
    "a label with a line end": (made(labels={"a\n": "c"}), "labels"),
    "a label's value too long": (made(labels={"a": "c" * 256}), "labels"),
    "NUL in a label's value": (made(labels={"a": "\0"}), "labels"),
}


@pytest.mark.parametrize("spec", FINE.values(), ids=FINE)
def test_what_keeps_the_rules_passes(spec: TaskSpec) -> None:
    """Nothing reasonable is refused."""
    check_spec(spec)


@pytest.mark.parametrize(("spec", "field"), WRONG.values(), ids=WRONG)
def test_what_breaks_a_rule_is_named(spec: TaskSpec, field: str) -> None:
    """The error leads to the member at fault, in the words of the API."""
    with pytest.raises(InvalidInput) as caught:
        check_spec(spec)
    assert caught.value.field == field
