"""Metrics of an installation on a database server: who leads, and how the database is.

What every control plane knows of itself is shown by each. What has to be asked of the database is
asked by the leader alone, four times a minute, and shown by nobody else: several would show the
same, and sum up to nonsense.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

import anyio
import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from taskyard.core.errors import Overloaded, Unavailable
from taskyard.core.ids import Term
from taskyard.ports.database import DatabaseCondition, DatabaseWatch
from taskyard.services.control_planes import InstallationStatus

LOOK_EVERY_S: Final = 15.0
LOOK_S: Final = 5.0
"""A look that takes longer is given up."""

log = structlog.get_logger(__name__)


class Leads(Protocol):
    """Whether this control plane leads; a part of ``services.leadership.Leadership``."""

    @property
    def is_leader(self) -> bool:
        """Whether it does now."""
        ...

    @property
    def term(self) -> Term | None:
        """In which term."""
        ...


class Planes(Protocol):
    """Knows the control planes."""

    async def status(self) -> InstallationStatus:
        """See ``services.control_planes.ControlPlanes``."""
        ...


class ClusterMetrics(Collector):
    """Shows them; has to be registered, and :meth:`run` while this control plane leads.

    Args:
        leads: whether it does.
        planes: all of them.
        database: looks at it.
        behind_s: seconds for which this control plane has not read all of the log of changes.
    """

    def __init__(
        self, leads: Leads, planes: Planes, database: DatabaseWatch, behind_s: Callable[[], float]
    ) -> None:
        self._leads = leads
        self._planes = planes
        self._database = database
        self._behind_s = behind_s
        self._condition: DatabaseCondition | None = None
        self._states: Mapping[str, int] = {}

    async def run(self) -> None:
        """Look at the database until cancelled, then show nothing of it any more."""
        try:
            while True:
                await self._look()
                await anyio.sleep(LOOK_EVERY_S)
        finally:
            self._forget()

    async def _look(self) -> None:
        try:
            with anyio.fail_after(LOOK_S):
                status = await self._planes.status()
                self._condition = await self._database.condition()
        except (Unavailable, Overloaded, TimeoutError) as error:
            # Old numbers would look like good ones.
            self._forget()
            log.info("database_not_looked_at", reason=str(error))
            return
        self._states = Counter(one.state for one in status.planes)

    def _forget(self) -> None:
        self._condition, self._states = None, {}

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        is_leader = self._leads.is_leader
        yield GaugeMetricFamily(
            "taskyard_leader", "Whether this control plane leads", float(is_leader)
        )
        yield GaugeMetricFamily(
            "taskyard_changes_behind_seconds",
            "Since this control plane had read all that was committed; below 1 if all is well",
            self._behind_s(),
        )
        if not is_leader or self._condition is None:
            return
        yield GaugeMetricFamily(
            "taskyard_leader_term", "Term of the leader, shown by it", self._leads.term or 0
        )
        planes = GaugeMetricFamily(
            "taskyard_planes", "Control planes by state, shown by the leader", labels=["state"]
        )
        for state in ("leading", "following", "silent"):
            planes.add_metric([state], self._states.get(state, 0))
        yield planes
        yield GaugeMetricFamily(
            "taskyard_database_oldest_snapshot_seconds",
            "Age of the oldest transaction that holds back vacuum, shown by the leader",
            self._condition.oldest_snapshot_s,
        )
        dead = GaugeMetricFamily(
            "taskyard_database_dead_tuples",
            "Rows that vacuum has yet to remove, estimated, shown by the leader",
            labels=["table"],
        )
        for table, count in self._condition.dead_tuples.items():
            dead.add_metric([table], count)
        yield dead
