"""An installation's history, read from its store for a simulation; nothing is written there."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.cpu_allocation import Topology
from taskyard.core.scheduling.requirements import Requirements, requirements_of
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import TaskSpec
from taskyard.simulation.errors import TooLarge
from taskyard.simulation.history import History, PastTask, history_of
from taskyard.simulation.workload import Course
from taskyard.store.transfer.opening import opened

if TYPE_CHECKING:
    from taskyard.store.transfer.address import Address
    from taskyard.store.transfer.sides import Source

_spec: Final = msgspec.json.Decoder(TaskSpec).decode
_demand: Final = msgspec.json.Decoder(Requirements).decode
_capacity: Final = msgspec.json.Decoder(Capacity).decode
_names: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_WATCHED_EVERY: Final = 2000


class _Details(msgspec.Struct):
    """What a worker's row says of it besides."""

    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    topology: Topology = Topology()


_details: Final = msgspec.json.Decoder(_Details).decode


def read_history(
    address: "Address", most: int, watch: Callable[[int], None] = lambda _rows: None
) -> tuple[History, int]:
    """All tasks, workers and limits of a store; and how many tasks could not be read.

    Args:
        address: of the store.
        most: tasks that are allowed.
        watch: told the rows read so far.

    Raises:
        TooLarge: there are more tasks.
        WrongScenario: there are none.
        TaskyardError: the store cannot be read, as ``store.transfer.opening`` says.
    """
    with opened(address) as store:
        rows = _Rows(store, watch)
        count = store.count(store.tables()["tasks"])
        if count > most:
            raise TooLarge(
                f"the store holds {count:,} tasks, more than {most:,}; allow more with --max-tasks"
            )
        tables = {"workers": _workers(rows), "workspaces": _workspaces(rows)}
        courses, newest = _courses(rows)
        tasks: list[PastTask] = []
        unreadable = 0
        for row in rows.of("tasks"):
            if row["recurring"]:
                continue
            try:
                tasks.append(_task(row, courses.get(row["seq"], []), newest))
            except (msgspec.MsgspecError, UnicodeError):
                unreadable += 1
    return history_of(tables, tasks), unreadable


class _Rows:
    """Rows by the names of their columns."""

    def __init__(self, store: "Source", watch: Callable[[int], None]) -> None:
        self._store = store
        self._watch = watch
        self._read = 0

    def of(self, name: str) -> Iterator[Mapping[str, Any]]:
        """All of one table."""
        table = self._store.tables()[name]
        names = table.names
        for row in self._store.rows(table):
            self._read += 1
            if not self._read % _WATCHED_EVERY:
                self._watch(self._read)
            yield dict(zip(names, row, strict=True))


def _workers(rows: _Rows) -> dict[str, Any]:
    """The workers that are here; all there ever were if none is."""
    found: dict[str, Any] = {}
    gone: dict[str, Any] = {}
    for row in rows.of("workers"):
        try:
            capacity, details = _capacity(row["capacity"]), _details(row["details"])
            runtimes = _names(row["runtimes"])
        except (msgspec.MsgspecError, UnicodeError):
            continue
        worker = {
            "cpu": max(0.01, capacity.cpu_millis / 1000),
            "memory": capacity.memory_bytes,
            "slots": max(1, capacity.slots),
            "nodes": max(1, len(details.topology.nodes)),
            "runtimes": list(runtimes),
            "tags": list(details.tags),
            "metadata": details.metadata,
        }
        (gone if row["state"] == "lost" else found)[row["id"]] = worker
    return found or gone


def _workspaces(rows: _Rows) -> dict[str, Any]:
    found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for row in rows.of("workspaces"):
        if row["concurrency_limit"] is not None:
            found[row["name"]]["limit"] = row["concurrency_limit"]
    for row in rows.of("groups"):
        group: dict[str, Any] = {"paused": bool(row["paused"])}
        if row["concurrency_limit"] is not None:
            group["limit"] = row["concurrency_limit"]
        found[row["workspace"]].setdefault("groups", {})[row["name"]] = group
    return dict(found)


_Attempt = tuple[int, int, int | None, AttemptState, Reason | None]
"""Its number, when it began, when it ended, how, and why so."""


def _courses(rows: _Rows) -> tuple[dict[int, list[_Attempt]], int]:
    """Attempts by their tasks, but for those that lost their worker; and the last known moment."""
    found: defaultdict[int, list[_Attempt]] = defaultdict(list)
    newest = 0
    for row in rows.of("attempts"):
        state = AttemptState(row["state"])
        began = row["started_at"] or row["assigned_at"]
        newest = max(newest, began, row["finished_at"] or 0)
        if state is not AttemptState.LOST:
            reason = None if row["reason"] is None else Reason(row["reason"])
            entry = (row["number"], began, row["finished_at"], state, reason)
            found[row["task_seq"]].append(entry)
    return dict(found), newest


def _task(row: Mapping[str, Any], attempts: list[_Attempt], newest: int) -> PastTask:
    spec = _spec(row["spec"])
    demand = row["demand"]
    courses = []
    for _, began, finished, state, reason in sorted(attempts, key=lambda entry: entry[0]):
        if finished is None:
            # It goes on: it takes at least as long as it has by now.
            courses.append(Course(max(0, newest - began)))
        else:
            courses.append(Course(max(0, finished - began), state, reason))
    ready_at = max(row["created_at"], spec.start_at or 0)
    expires_at = row["expires_at"]
    return PastTask(
        WorkspaceName(row["workspace"]),
        Instant(ready_at),
        None if expires_at is None else Instant(expires_at),
        row["priority"],
        requirements_of(spec) if demand is None else _demand(demand),
        spec,
        tuple(courses),
    )
