"""Python, SQLite and the limits of this process."""

import resource
import sqlite3
import sys

from taskyard.cli.doctor.finding import Finding, fail, ok, warn

_MIN_PYTHON = (3, 11)
_MIN_SQLITE = (3, 35, 0)
_FEW_FILES = 4096


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Whether Python is new enough."""
    shown = ".".join(map(str, version))
    if version < _MIN_PYTHON:
        return fail("python", shown, "Install Python 3.11 or newer.")
    return ok("python", shown)


def check_sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> Finding:
    """Whether SQLite is new enough for the queries, and may be used by threads."""
    shown = ".".join(map(str, version))
    if version < _MIN_SQLITE:
        return fail("sqlite", shown, "Use a Python that is built with SQLite 3.35 or newer.")
    if sqlite3.threadsafety == 0:
        return fail("sqlite", f"{shown}, not thread-safe", "Use another build of Python.")
    return ok("sqlite", shown)


def check_files(limits: tuple[int, int] | None = None) -> Finding:
    """How many files, and with them connections, the server may have open."""
    soft, hard = limits or resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = "no limit" if soft == resource.RLIM_INFINITY else f"{soft}"
    if soft != resource.RLIM_INFINITY and soft < _FEW_FILES:
        more = "no limit" if hard == resource.RLIM_INFINITY else str(hard)
        return warn(
            "open files",
            f"{allowed} at most (can be raised to {more})",
            f"Raise it: ulimit -n {_FEW_FILES}, or LimitNOFILE= in the service file.",
        )
    return ok("open files", allowed)
