"""Whether this server can run the work of each workspace as a user of its own."""

import os
from pathlib import Path
from typing import Final

_NEEDED: Final = {
    0: "CAP_CHOWN",
    1: "CAP_DAC_OVERRIDE",
    3: "CAP_FOWNER",
    5: "CAP_KILL",
    6: "CAP_SETGID",
    7: "CAP_SETUID",
}
"""Capabilities by their bit in ``/proc/self/status``."""


def obstacle_to_users(first: int, last: int) -> str | None:
    """Why this process cannot become these users; None if it can."""
    if os.geteuid() != 0:
        return "the server is not run by root"
    if not _is_mapped(Path("/proc/self/uid_map"), first, last) or not _is_mapped(
        Path("/proc/self/gid_map"), first, last
    ):
        return f"the user ids {first} to {last} do not exist in this user namespace"
    missing = _missing_capabilities()
    return f"it lacks {', '.join(missing)}" if missing else None


def _is_mapped(table: Path, first: int, last: int) -> bool:
    try:
        lines = table.read_text("ascii").splitlines()
    except OSError:
        return True  # Without user namespaces all ids exist.
    for line in lines:
        inside, _, count = map(int, line.split())
        if inside <= first and last < inside + count:
            return True
    return False


def _missing_capabilities() -> list[str]:
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return []
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            return [name for bit, name in _NEEDED.items() if not effective >> bit & 1]
    return []
