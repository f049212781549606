"""The engine as the dialects see it: its services, wired together."""

from dataclasses import dataclass

from taskyard.ports.clock import Clock
from taskyard.services.access import Access
from taskyard.services.audit import Audit
from taskyard.services.bus import Bus
from taskyard.services.calls import Calls
from taskyard.services.catalogue import Catalogue
from taskyard.services.dispatch import Dispatch
from taskyard.services.follow import Follow
from taskyard.services.functions import Functions
from taskyard.services.groups import Groups
from taskyard.services.issuing import Issuing
from taskyard.services.jobs import Jobs
from taskyard.services.lists import Lists
from taskyard.services.logs import Logs
from taskyard.services.maintenance import Maintenance
from taskyard.services.output_quota import OutputQuota
from taskyard.services.parking import ParkedEntries
from taskyard.services.secrets import Secrets
from taskyard.services.tasks import Tasks
from taskyard.services.webhooks import Webhooks
from taskyard.services.why import Why
from taskyard.services.workers import Workers


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine; every dialect is a view of it."""

    tasks: Tasks
    groups: Groups
    lists: Lists
    why: Why
    workers: Workers
    maintenance: Maintenance
    parking: ParkedEntries
    logs: Logs
    follow: Follow
    dispatch: Dispatch
    access: Access
    output: OutputQuota
    secrets: Secrets
    audit: Audit
    webhooks: Webhooks
    bus: Bus
    clock: Clock
    jobs: Jobs
    functions: Functions
    calls: Calls
    catalogue: Catalogue
    issuing: Issuing
