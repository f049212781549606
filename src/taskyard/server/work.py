"""As whom and how isolated work runs: what the settings say, and what this machine can do."""

import os
import pwd
from typing import Final, Literal

import structlog

from taskyard.core.access.work_identity import Identity, Sandbox, UserRule, WorkRule, WorkRules
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import WorkspaceName
from taskyard.runtimes.processes.bubblewrap import obstacle_to_sandbox
from taskyard.server.settings import Settings
from taskyard.server.work_settings import WorkSettings
from taskyard.server.workspace_users import obstacle_to_users

User = Literal["workspace", "server"] | Identity

MEANS: Final = "tasks have the rights and files of the server and of each other"

log = structlog.get_logger(__name__)


def work_rules(settings: Settings) -> WorkRules:
    """The rules for all workspaces. Blocks for a moment where a sandbox has to be tried.

    Raises ``InvalidInput`` if something was asked for that cannot be.
    """
    found = _Resolver(settings)
    default, obstacle = found.rule("", WorkSettings())
    named = {
        WorkspaceName(name): found.rule(f"workspace_work.{name}.", one)[0]
        for name, one in settings.workspace_work.items()
    }
    may_share, functions = settings.workspaces_share_user, settings.process_functions
    return WorkRules(default, named, may_share, functions, obstacle)


def tell(rules: WorkRules) -> None:
    """Say in the log how work runs, if nothing keeps it from the server."""
    if rules.isolation == "none":
        log.warning("work_runs_as_the_server", reason=rules.obstacle, means=MEANS)
    elif rules.isolation == "sandbox":
        log.info("work_is_sandboxed")


def warnings_of(rules: WorkRules) -> tuple[str, ...]:
    """What an operator should know: sentences for ``/health``."""
    found = []
    if rules.isolation == "none":
        found.append(f"{MEANS}: {rules.obstacle}")
    for name, rule in sorted(rules.by_workspace.items()):
        if not rule.is_wall and rules.isolation != "none":
            found.append(f"work of workspace {name} runs as the server itself")
    return tuple(found)


def user_rule(settings: Settings, rules: WorkRules) -> UserRule:
    """Whom tasks may ask to run as."""
    return UserRule(frozenset(settings.work_users_allowed)) if rules.changes_user else UserRule()


class _Resolver:
    """Finds out once what can be done here."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._without_users: str | None = None
        self._without_sandbox: str | None = None
        self._tried_users = self._tried_sandbox = False

    def rule(self, prefix: str, asked: WorkSettings) -> tuple[WorkRule, str]:
        """A rule, and why it is no wall; the latter is empty if it is one."""
        wanted = asked.user or self._settings.work_user
        user, without_user = self._user(f"{prefix}user" if prefix else "work_user", wanted)
        field = f"{prefix}sandbox" if prefix else "work_sandbox"
        sandbox = asked.sandbox or self._settings.work_sandbox
        if sandbox == "never" or (sandbox == "auto" and user != "server"):
            return WorkRule(user), without_user if user == "server" else ""
        if sandbox == "auto" and wanted == "server" and os.geteuid() == 0:
            return WorkRule(user), without_user
        obstacle = self._obstacle_to_sandbox()
        if obstacle is None:
            return WorkRule(user, Sandbox(self._directories(asked))), ""
        if sandbox == "always":
            raise InvalidInput(field, f"commands cannot be sandboxed here: {obstacle}")
        return WorkRule(user), f"{without_user}, and commands cannot be sandboxed: {obstacle}"

    def _user(self, field: str, wanted: str) -> tuple[User, str]:
        if wanted == "server":
            return "server", f"{field} is 'server'"
        if wanted not in {"auto", "workspace"}:
            return self._named(field, wanted), ""
        if not self._tried_users:
            self._without_users = obstacle_to_users(*self._settings.user_ids())
            self._tried_users = True
        if self._without_users is None:
            return "workspace", ""
        if wanted == "workspace":
            raise InvalidInput(
                field, f"workspaces cannot have users of their own: {self._without_users}"
            )
        return "server", self._without_users

    def _named(self, field: str, name: str) -> Identity:
        try:
            entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
        except (KeyError, OverflowError):
            raise InvalidInput(
                field, f"there is no user {name!r}; say auto, workspace, server or a user's name"
            ) from None
        if entry.pw_uid == 0:
            raise InvalidInput(field, "root is the server itself; say 'server' if you mean that")
        if os.geteuid() != 0:
            raise InvalidInput(field, "only a server that is run by root can run work as others")
        return Identity(entry.pw_uid, entry.pw_gid)

    def _obstacle_to_sandbox(self) -> str | None:
        if not self._tried_sandbox:
            self._without_sandbox = obstacle_to_sandbox()
            self._tried_sandbox = True
        return self._without_sandbox

    def _directories(self, asked: WorkSettings) -> tuple[str, ...] | None:
        given = asked.directories
        if given is None:
            given = self._settings.work_directories
        if given is None:
            return None if self._settings.dev else ()
        return given
