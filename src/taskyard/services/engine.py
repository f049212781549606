"""The engine as the dialects see it: its services, wired together."""

from dataclasses import dataclass

from taskyard.ports.clock import Clock
from taskyard.services.access.accounts import Accounts
from taskyard.services.access.audit import Audit
from taskyard.services.access.secrets import Secrets
from taskyard.services.control_planes import ControlPlanes
from taskyard.services.functions.calls import Calls
from taskyard.services.functions.functions import Functions
from taskyard.services.functions.invocations import Invocations
from taskyard.services.functions.resources import FunctionResources
from taskyard.services.jobs.jobs import Jobs
from taskyard.services.lists import Lists
from taskyard.services.notifications.bus import Bus
from taskyard.services.notifications.webhooks import Webhooks
from taskyard.services.scheduling.administration import Maintenance, ParkedEntries, Workers
from taskyard.services.scheduling.dispatch import Dispatch
from taskyard.services.scheduling.output_quota import OutputQuota
from taskyard.services.scheduling.scaling import Scaling
from taskyard.services.scheduling.why import Why
from taskyard.services.scheduling.worker_tokens import WorkerTokens
from taskyard.services.tasks.follow import Follow
from taskyard.services.tasks.groups import Groups
from taskyard.services.tasks.logs import Logs
from taskyard.services.tasks.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine; every dialect is a view of it."""

    tasks: Tasks
    groups: Groups
    lists: Lists
    why: Why
    workers: Workers
    scaling: Scaling
    worker_tokens: WorkerTokens
    control_planes: ControlPlanes
    maintenance: Maintenance
    parking: ParkedEntries
    logs: Logs
    follow: Follow
    dispatch: Dispatch
    access: Accounts
    output: OutputQuota
    secrets: Secrets
    audit: Audit
    webhooks: Webhooks
    bus: Bus
    clock: Clock
    jobs: Jobs
    functions: Functions
    calls: Calls
    function_resources: FunctionResources
    invocations: Invocations
