"""The server's metrics for Prometheus.

Gauges are read from the engine when somebody asks; what happens often is counted in plain
dictionaries or in child objects made once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import anyio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from taskyard.core.changes import Change
from taskyard.core.ids import AttemptId, TaskId, WorkspaceName
from taskyard.core.instants import Instant, seconds_between
from taskyard.core.resources import Capacity
from taskyard.core.states import TERMINAL, TaskState
from taskyard.ports.dispatching import WorkerRecord
from taskyard.ports.outgoing import Answer, HttpSender, Post, SendFailed
from taskyard.server.cluster_metrics import ClusterMetrics

LAG_EVERY_S: Final = 0.5
SAMPLED: Final = 10_000
"""Waiting tasks whose wait is measured at a time; a longer queue is sampled."""
_WAITS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600, 3600)
_RUNS: Final = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_COMMITS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)

_OF_WORKSPACES: Final = (b"taskyard_queue_depth{", b"taskyard_output_bytes{")
NO_WORKSPACE: Final = WorkspaceName("")
"""Stands for none, where a page for a single workspace is asked for."""

ByWorkspace = Callable[[], dict[WorkspaceName, dict[TaskState, int]]]
Output = Callable[[], dict[WorkspaceName, int]]
Workers = Callable[[], list[tuple[WorkerRecord, Capacity]]]


class MessageCounts(Protocol):
    """What is counted of messages between control planes."""

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent now."""
        ...

    @property
    def connects(self) -> int:
        """Connections made so far."""
        ...

    @property
    def dropped(self) -> int:
        """Messages that were lost here for being too many."""
        ...

    @property
    def requests(self) -> Mapping[tuple[str, str], int]:
        """Requests made, by what for and what became of them."""
        ...


class Metrics:
    """The measurements of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.cluster: ClusterMetrics | None = None
        """Who leads and how the database is; None where the store is this server's own."""
        made = self.registry
        self._wait = Histogram(
            "taskyard_task_wait_seconds",
            "From being ready to the assignment of an attempt",
            buckets=_WAITS,
            registry=made,
        )
        self._run = Histogram(
            "taskyard_attempt_run_seconds",
            "From start to end of an attempt",
            buckets=_RUNS,
            registry=made,
        )
        self._commit_size = Histogram(
            "taskyard_commit_batch_size",
            "Writes that shared one commit",
            buckets=_SIZES,
            registry=made,
        )
        self._commit_seconds = Histogram(
            "taskyard_commit_seconds", "Time of one commit", buckets=_COMMITS, registry=made
        )
        self._lag = Gauge(
            "taskyard_loop_lag_seconds", "How late the event loop last was", registry=made
        )
        self._ended = Counter(
            "taskyard_tasks_ended_total", "Tasks that ended", ["state"], registry=made
        )
        self._deliveries = Counter(
            "taskyard_webhook_tries_total", "Webhook requests made", ["outcome"], registry=made
        )
        self._loop_failures = Counter(
            "taskyard_loop_failures_total",
            "Times that a background loop failed and was begun again",
            ["loop"],
            registry=made,
        )
        self._ended_children = {state.value: self._ended.labels(state.value) for state in TERMINAL}
        self._delivery_children = {
            name: self._deliveries.labels(name) for name in ("answered", "refused", "failed")
        }
        self._requests: dict[tuple[str, str, int], int] = {}
        self._ready_at: dict[TaskId, Instant] = {}
        self._began_at: dict[AttemptId, Instant] = {}

    def watch(self, by_workspace: ByWorkspace, workers: Workers, output: Output = dict) -> None:
        """Also show the engine's own counts; ``output`` is what workspaces keep of it, in bytes."""
        self.registry.register(_EngineCollector(by_workspace, workers, output))
        self.registry.register(_RequestCollector(self._requests))

    def watch_messages(self, messages: MessageCounts) -> None:
        """Also show how the connection to other control planes is."""
        self.registry.register(_MessageCollector(messages))

    def watch_cluster(self, cluster: ClusterMetrics) -> None:
        """Also show who leads, and how the database is."""
        self.cluster = cluster
        self.registry.register(cluster)

    def on_commit(self, size: int, seconds: float) -> None:
        """A commit was shared by so many writes. May be called from any thread."""
        self._commit_size.observe(size)
        self._commit_seconds.observe(seconds)

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Listener of the bus: measures waits and run times."""
        for change in changes:
            if change.state is TaskState.QUEUED:
                if change.was is not TaskState.QUEUED and len(self._ready_at) < SAMPLED:
                    self._ready_at[change.task_id] = change.at
            elif change.was is TaskState.QUEUED:
                self._measure_wait(change)
            if change.attempt_id is not None:
                self._measure_run(change.attempt_id, change)
            if change.state in TERMINAL and change.was not in {None, change.state}:
                self._ended_children[change.state.value].inc()

    def _measure_wait(self, change: Change) -> None:
        ready = self._ready_at.pop(change.task_id, None)
        if ready is not None and change.kind == "assigned":
            self._wait.observe(max(0.0, seconds_between(ready, change.at)))

    def _measure_run(self, attempt_id: AttemptId, change: Change) -> None:
        if change.kind == "started":
            self._began_at[attempt_id] = change.at
        elif change.was is TaskState.RUNNING and change.state is not TaskState.RUNNING:
            began = self._began_at.pop(attempt_id, None)
            if began is not None:
                self._run.observe(max(0.0, seconds_between(began, change.at)))

    def count_request(self, method: str, route: str, status: int) -> None:
        """One answered request; ``route`` is a template, never a path."""
        key = (method, route, status)
        self._requests[key] = self._requests.get(key, 0) + 1

    def count_delivery(self, outcome: str) -> None:
        """One webhook request: ``answered``, ``refused`` (4xx, 5xx) or ``failed`` (no answer)."""
        self._delivery_children[outcome].inc()

    def count_loop_failure(self, name: str) -> None:
        """A background loop failed, and is begun again."""
        self._loop_failures.labels(name).inc()

    async def measure_lag(self) -> None:
        """Measure how late the loop is, until cancelled."""
        while True:
            due = anyio.current_time() + LAG_EVERY_S
            await anyio.sleep(LAG_EVERY_S)
            self._lag.set(max(0.0, anyio.current_time() - due))

    def page(self, workspace: WorkspaceName | None = None) -> bytes:
        """Everything, in Prometheus' text format; of workspaces only this one, all when None."""
        if workspace is None:
            return generate_latest(self.registry)
        kept = [
            line
            for line in generate_latest(self.registry).splitlines(keepends=True)
            if not line.startswith(_OF_WORKSPACES) or line.startswith(_labels(workspace))
        ]
        return b"".join(kept)


def _labels(workspace: WorkspaceName) -> tuple[bytes, ...]:
    label = f'workspace="{workspace}"'.encode() + b"}"
    return tuple(one + label for one in _OF_WORKSPACES)


class CountedSender:
    """Sends webhooks through another sender, and counts what becomes of them."""

    def __init__(self, sender: HttpSender, metrics: Metrics) -> None:
        self._sender = sender
        self._metrics = metrics

    def check_url(self, url: str, field: str = "url") -> None:
        """See the port."""
        self._sender.check_url(url, field)

    async def close(self) -> None:
        """See the port."""
        await self._sender.close()

    async def send(self, post: Post) -> Answer:
        """See the port."""
        try:
            answer = await self._sender.send(post)
        except SendFailed:
            self._metrics.count_delivery("failed")
            raise
        self._metrics.count_delivery("answered" if answer.status < 400 else "refused")
        return answer


class _MessageCollector(Collector):
    """Messages between control planes."""

    def __init__(self, messages: MessageCounts) -> None:
        self._messages = messages

    def collect(self) -> Iterable[Metric]:
        messages = self._messages
        yield GaugeMetricFamily(
            "taskyard_nats_connected", "Whether NATS can be reached now", messages.is_connected
        )
        yield CounterMetricFamily(
            "taskyard_nats_connects", "Connections made to NATS", messages.connects
        )
        yield CounterMetricFamily(
            "taskyard_nats_dropped",
            "Messages dropped because more came than could be handled or sent",
            messages.dropped,
        )
        requests = CounterMetricFamily(
            "taskyard_plane_requests",
            "Requests to other control planes",
            labels=["what", "outcome"],
        )
        for labels, count in list(messages.requests.items()):
            requests.add_metric(labels, count)
        yield requests


class _EngineCollector(Collector):
    """Gauges read from the engine when they are asked for."""

    def __init__(self, by_workspace: ByWorkspace, workers: Workers, output: Output) -> None:
        self._output = output
        self._by_workspace = by_workspace
        self._workers = workers

    def collect(self) -> Iterable[Metric]:
        tasks = GaugeMetricFamily("taskyard_tasks", "Tasks by state", labels=["state"])
        depth = GaugeMetricFamily("taskyard_queue_depth", "Ready tasks", labels=["workspace"])
        totals: dict[TaskState, int] = {}
        for workspace, counts in self._by_workspace().items():
            for state, count in counts.items():
                totals[state] = totals.get(state, 0) + count
            depth.add_metric([workspace], counts.get(TaskState.QUEUED, 0))
        for state in TaskState:
            tasks.add_metric([state.value], totals.get(state, 0))
        yield tasks
        yield depth
        output = GaugeMetricFamily(
            "taskyard_output_bytes", "Output that is kept", labels=["workspace"]
        )
        for workspace, size in self._output().items():
            output.add_metric([workspace], size)
        yield output
        capacity = GaugeMetricFamily(
            "taskyard_worker_capacity", "Room of workers", labels=["worker", "resource"]
        )
        used = GaugeMetricFamily(
            "taskyard_worker_used", "Room taken on workers", labels=["worker", "resource"]
        )
        runtimes = GaugeMetricFamily(
            "taskyard_runtime_available",
            "Whether a worker's runtime can be used now",
            labels=["worker", "runtime", "circuit"],
        )
        for record, free in self._workers():
            for tag, status in record.statuses.items():
                labels = [record.id, tag, status.circuit.value]
                runtimes.add_metric(labels, float(status.available))
            total = record.capacity
            for name, whole, left in (
                ("slots", total.slots, free.slots),
                ("cpu_cores", total.cpu_millis / 1000, free.cpu_millis / 1000),
                ("memory_bytes", total.memory_bytes, free.memory_bytes),
            ):
                capacity.add_metric([record.id, name], whole)
                used.add_metric([record.id, name], whole - left)
        yield capacity
        yield used
        yield runtimes


class _RequestCollector(Collector):
    """Requests by route and status."""

    def __init__(self, requests: dict[tuple[str, str, int], int]) -> None:
        self._requests = requests

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "taskyard_http_requests", "Requests answered", labels=["method", "route", "status"]
        )
        for (method, route, status), count in list(self._requests.items()):
            family.add_metric([method, route, str(status)], count)
        yield family
