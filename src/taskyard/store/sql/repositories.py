"""All repositories of a store: one for each store port."""

from taskyard.store.sql.access import SqlAccessStore
from taskyard.store.sql.dispatch import SqlDispatch
from taskyard.store.sql.function_resources import SqlFunctionResources
from taskyard.store.sql.functions import SqlFunctions
from taskyard.store.sql.groups import SqlGroups
from taskyard.store.sql.invocations import SqlInvocations
from taskyard.store.sql.jobs import SqlJobs
from taskyard.store.sql.leadership import SqlLeadership
from taskyard.store.sql.lists import SqlLists
from taskyard.store.sql.maintenance import SqlMaintenance
from taskyard.store.sql.output import SqlOutputTotals
from taskyard.store.sql.parking import SqlParking
from taskyard.store.sql.tasks import SqlTasks
from taskyard.store.sql.timing import SqlTiming
from taskyard.store.sql.transactions import Repository, Session
from taskyard.store.sql.webhooks import SqlWebhookStore
from taskyard.store.sql.worker_tokens import SqlWorkerTokens
from taskyard.store.sql.workspace_users import SqlWorkspaceUsers


class Repositories:
    """One object for each store port, all on one session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.tasks = SqlTasks(session)
        self.dispatch = SqlDispatch(session)
        self.groups = SqlGroups(session)
        self.lists = SqlLists(session, self.tasks)
        self.jobs = SqlJobs(session, self.tasks)
        self.functions = SqlFunctions(session)
        self.function_resources = SqlFunctionResources(session)
        self.invocations = SqlInvocations(session, self.tasks)
        self.timing = SqlTiming(session)
        self.output = SqlOutputTotals(session)
        self.parking = SqlParking(session)
        self.leadership = SqlLeadership(session)
        self.maintenance = SqlMaintenance(session)
        self.workspace_users = SqlWorkspaceUsers(session)
        self.access = SqlAccessStore(session)
        self.worker_tokens = SqlWorkerTokens(session)
        self.webhooks = SqlWebhookStore(session)

    def by_class(self) -> dict[str, Repository]:
        """All of them, by the names of their classes."""
        return {
            type(one).__name__: one for one in vars(self).values() if isinstance(one, Repository)
        }
