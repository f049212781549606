"""As whom, how isolated and how limited an attempt runs here, and whether that is enough for it."""

import os
from collections.abc import Collection

from taskyard.runtimes.processes.identity import SpawnFailed, identity_of
from taskyard.runtimes.processes.proc import Json
from taskyard.runtimes.processes.tree import Limits


def confinement(request: Json, enforced: Collection[str]) -> Json | None:
    """The members of ``Confinement`` for a request; None if its user does not exist.

    ``enforced`` are the limits that this machine can enforce.
    """
    try:
        identity = identity_of(request)
    except SpawnFailed:
        return None
    asked = Limits(*request["limits"]).names()
    isolation = "none" if identity is None else "user"
    return {
        "user": str(os.geteuid() if identity is None else identity.uid),
        "isolation": "sandbox" if request["isolate"] else isolation,
        "enforced": [name for name in asked if name in enforced],
        # Without cgroups processes are pinned in another way, which they can undo.
        "unenforced": [name for name in asked if name not in enforced],
    }


def check_strict(request: Json, found: Json | None) -> None:
    """Raise :class:`SpawnFailed` if it wants all its limits enforced, and one of them is not."""
    if request.get("strict") and found is not None and found["unenforced"]:
        names = ", ".join(found["unenforced"])
        raise SpawnFailed(
            f"this machine cannot enforce its limits on {names}, and the task is strict: the worker"
            " may not use cgroups for them. Submit it without strict, or have the operator run the"
            " server as root or with Delegate=yes"
        )
