"""What a check found."""

from enum import StrEnum

from msgspec import Struct


class Status(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """Taskyard works, with less than it could do."""
    FAIL = "fail"
    """Taskyard does not work, or not safely."""


class Finding(Struct, frozen=True):
    """One thing that was looked at."""

    check: str
    status: Status
    detail: str
    """What is the case."""
    what_to_do: str = ""
    """How to make it better; empty when all is well."""


def ok(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, Status.OK, detail)


def warn(check: str, detail: str, what_to_do: str) -> Finding:
    """It works, with less than it could do."""
    return Finding(check, Status.WARN, detail, what_to_do)


def fail(check: str, detail: str, what_to_do: str) -> Finding:
    """It does not work, or not safely."""
    return Finding(check, Status.FAIL, detail, what_to_do)
