"""All repositories of a store: one for each store port."""

import sqlite3
from typing import Final

from taskyard.store.sqlite.access import SqliteAccessStore
from taskyard.store.sqlite.database import queries
from taskyard.store.sqlite.dispatch import SqliteDispatch
from taskyard.store.sqlite.function_resources import SqliteFunctionResources
from taskyard.store.sqlite.functions import SqliteFunctions
from taskyard.store.sqlite.groups import SqliteGroups
from taskyard.store.sqlite.invocations import SqliteInvocations
from taskyard.store.sqlite.jobs import SqliteJobs
from taskyard.store.sqlite.lists import SqliteLists
from taskyard.store.sqlite.maintenance import SqliteMaintenance
from taskyard.store.sqlite.output import SqliteOutputTotals
from taskyard.store.sqlite.parking import SqliteParking
from taskyard.store.sqlite.tasks import SqliteTasks
from taskyard.store.sqlite.timing import SqliteTiming
from taskyard.store.sqlite.transactions import Repository, Session
from taskyard.store.sqlite.webhooks import SqliteWebhookStore
from taskyard.store.sqlite.workspace_users import SqliteWorkspaceUsers

_SQL: Final = queries("tasks")


class Repositories:
    """One object for each store port, all on one session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.tasks = SqliteTasks(session)
        self.dispatch = SqliteDispatch(session)
        self.groups = SqliteGroups(session)
        self.lists = SqliteLists(session, self.tasks)
        self.jobs = SqliteJobs(session, self.tasks)
        self.functions = SqliteFunctions(session)
        self.function_resources = SqliteFunctionResources(session)
        self.invocations = SqliteInvocations(session, self.tasks)
        self.timing = SqliteTiming(session)
        self.output = SqliteOutputTotals(session)
        self.parking = SqliteParking(session)
        self.maintenance = SqliteMaintenance(session)
        self.workspace_users = SqliteWorkspaceUsers(session)
        self.access = SqliteAccessStore(session)
        self.webhooks = SqliteWebhookStore(session)

    def by_class(self) -> dict[str, Repository]:
        """All of them, by the names of their classes."""
        return {
            type(one).__name__: one for one in vars(self).values() if isinstance(one, Repository)
        }


def last_seq(connection: sqlite3.Connection) -> int:
    """Position of the newest task; 0 if there never was one."""
    (last,) = connection.execute(_SQL.last_seq.sql).fetchone()
    return int(last)
