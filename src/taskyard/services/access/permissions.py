"""Checks of a caller's permissions, made before anything is done."""

import re
from typing import Final

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import InvalidInput, NotAllowed

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


def require(caller: Caller, role: Role) -> None:
    """Raise ``NotAllowed``, saying which role is needed, unless the caller has it."""
    if caller.role < role:
        if caller.is_of_installation:
            raise NotAllowed(
                f"{caller.actor} belongs to the installation and to no workspace; "
                f"this needs a credential of a workspace with the role {role.word}"
            )
        raise NotAllowed(f"this needs the role {role.word}; {caller.actor} has {caller.role.word}")


def require_installation(caller: Caller, role: Role) -> None:
    """Raise ``NotAllowed`` unless the caller has this role in the installation as a whole."""
    if caller.installation is None:
        raise NotAllowed(
            f"this concerns all workspaces and needs the installation role {role.word}, which "
            f"{caller.actor} does not have; the operator makes one on the server's machine: "
            "taskyard token create NAME --installation"
        )
    if caller.installation < role:
        raise NotAllowed(
            f"this needs the installation role {role.word}; "
            f"{caller.actor} has {caller.installation.word}"
        )


def check_name(name: str, field: str = "name") -> None:
    """Raise ``InvalidInput`` unless this can be the name of a token, a user or a secret."""
    if not _NAME.match(name):
        raise InvalidInput(field, "must be 1 to 64 characters from A-Z a-z 0-9 . _ -")
