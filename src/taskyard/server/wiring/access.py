"""Who may do what: credentials, secrets, and what work has to satisfy before it is taken."""

from dataclasses import dataclass
from typing import Final

from taskyard.core.access.container_rule import ContainerRule
from taskyard.core.access.work_identity import UserRule
from taskyard.core.ids import WorkspaceName
from taskyard.ports.clock import Clock
from taskyard.server.containers import container_rule
from taskyard.server.settings import Settings
from taskyard.server.work import tell, user_rule, work_rules
from taskyard.services.access.accounts import Accounts
from taskyard.services.access.audit import Audit
from taskyard.services.access.encryption import Encryption, GivenKey, KeyFile, KeySource
from taskyard.services.access.identities import Identities
from taskyard.services.access.secrets import Secrets
from taskyard.services.scheduling.counters import TaskCounters
from taskyard.services.scheduling.output_quota import OutputQuota
from taskyard.store.sql.repositories import Repositories

KEY_NAME: Final = "secret.key"


@dataclass(frozen=True, slots=True)
class Access:
    """Credentials and secrets."""

    encryption: Encryption
    accounts: Accounts
    secrets: Secrets
    audit: Audit


@dataclass(frozen=True, slots=True)
class Rules:
    """What work has to satisfy."""

    identities: Identities
    users: UserRule
    containers: ContainerRule
    quota: OutputQuota

    def admit(self, workspace: WorkspaceName) -> None:
        """Refuse a workspace that may not submit anything now.

        Raises ``Conflict`` or ``Overloaded``.
        """
        self.identities.admit(workspace)
        self.quota.admit(workspace)


def wire_encryption(settings: Settings, store: Repositories) -> Encryption:
    """What the installation's key is used for. Raises ``SecretKeyWrong``."""
    return Encryption(key_source(settings), store.access.sample)


def key_source(settings: Settings) -> KeySource:
    """Where the installation's key is. Raises ``SecretKeyWrong`` for a setting that is none."""
    if settings.secret_key is not None:
        return GivenKey(settings.secret_key)
    return KeyFile(settings.data / KEY_NAME)


def wire_access(settings: Settings, store: Repositories, clock: Clock) -> Access:
    """Credentials and secrets, which the command line uses without a server too."""
    kept = store.access
    audit = Audit(kept, clock)
    encryption = wire_encryption(settings, store)
    accounts = Accounts(kept, clock, audit)
    if settings.dev:
        accounts.install_dev()
    return Access(encryption, accounts, Secrets(kept, clock, audit, encryption), audit)


def wire_rules(
    settings: Settings, store: Repositories, clock: Clock, counters: TaskCounters
) -> Rules:
    """The rules for work of all workspaces. Raises ``InvalidInput`` if they cannot be met."""
    rules = work_rules(settings)
    tell(rules)
    return Rules(
        Identities(store.workspace_users, *settings.user_ids(), rules),
        user_rule(settings, rules),
        container_rule(settings),
        OutputQuota(
            store.output,
            clock,
            counters.running,
            settings.output_quota(),
            settings.task_output_bytes,
        ),
    )
