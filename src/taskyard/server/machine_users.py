"""As whom work runs on a machine that has joined: decided by its own operator, not by others.

A control plane says who a task belongs to. Whether that has a user of its own here, and whether its
commands are sandboxed, is for the settings of this machine: its worker may be run by root where
control planes are not, or the other way round.
"""

import json
import os
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from taskyard.core.access.work_identity import SERVER, Identity, WorkRules
from taskyard.core.errors import Conflict, InvalidInput
from taskyard.core.ids import WorkspaceName
from taskyard.core.tasks import Command, FunctionCall
from taskyard.ports.runtime import Assignment

USERS_FILE: Final = "users.json"


class MachineUsers:
    """Users of workspaces on this machine, remembered in a file: no id ever gets another owner.

    Args:
        path: that file.
        first: lowest user id that may be given to a workspace.
        last: highest of them.
        rules: what the operator of this machine decided.

    Raises:
        InvalidInput: there is something else in the file.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, first: int, last: int, rules: WorkRules) -> None:
        self._path = path
        self._first = first
        self._last = last
        self._rules = rules
        try:
            self._ids = msgspec.json.decode(path.read_bytes(), type=dict[WorkspaceName, int])
        except FileNotFoundError:
            self._ids = {}
        except msgspec.DecodeError as error:
            raise InvalidInput("data", f"{path} does not hold users of workspaces") from error

    def adapt(self, assignment: Assignment) -> Assignment:
        """The assignment as it runs here. Raises ``Conflict`` if no user is left for it."""
        workspace, work = assignment.workspace, assignment.work
        is_process = isinstance(work, Command) or (
            isinstance(work, FunctionCall) and not work.image
        )
        identity = self._identity(workspace) if is_process else SERVER
        return replace(assignment, identity=identity, sandbox=self._rules.of(workspace).sandbox)

    def _identity(self, workspace: WorkspaceName) -> Identity:
        user = self._rules.of(workspace).user
        if isinstance(user, Identity):
            return user
        if user == "server":
            return SERVER
        uid = self._ids.get(workspace) or self._next(workspace)
        return Identity(uid, uid)

    def _next(self, workspace: WorkspaceName) -> int:
        uid = max(self._first, max(self._ids.values(), default=0) + 1)
        if uid > self._last:
            raise Conflict(
                f"no user is left on this machine for workspace {workspace}; give the worker a"
                " larger work_user_range"
            )
        ids = {**self._ids, workspace: uid}
        beside = self._path.with_name(f".{self._path.name}.new")
        try:
            beside.write_text(json.dumps(ids), "utf-8")
            beside.chmod(0o600)
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            raise Conflict(f"its user cannot be noted: {error.strerror}") from error
        self._ids = ids
        return uid
