"""What a million waiting tasks cost: submits, dispatches and page reads, and memory.

Two servers run side by side, one with few tasks waiting and one with many, and are measured in
turns, so that a machine that slows down for a while slows both. See `backlog` for how the tasks
wait.
"""

import json
import time
from collections.abc import Callable, Sequence
from urllib.parse import quote

from benchmarks import load, server
from benchmarks.api import BASE, Api, FigureFailed, accepted, unix_s
from benchmarks.figures import Bench, Lines, backlog, latency
from benchmarks.rounds import percentile
from benchmarks.rows import Requirement, Row, compared, plain
from benchmarks.server import Server

NAME = "flat"
COST = Requirement("ratio", "at most", 1.3)
SUBMIT = "cost of a submit (32 connections)"
DISPATCH = "cost of a dispatched and finished command"
START = "submit to started, p50"
MEMORY = "growth of resident memory"
SEARCH = "all pages until the text of the oldest is found"
READS = {
    "page: newest": "/tasks?limit=50",
    "page: oldest": "/tasks?limit=50&order=oldest",
    "page: state=queued": "/tasks?limit=50&state=queued",
    "page: group": f"/tasks?limit=50&group={backlog.PAUSED[0]}",
    "page: group and state": f"/tasks?limit=50&group={backlog.PAUSED[0]}&state=queued",
    "page: label": f"/tasks?limit=50&label={backlog.LABEL[0]}:{backlog.LABEL[1]}",
    "page: text that all have": f"/tasks?limit=50&text={backlog.EVERYBODY}",
    "page: text that only the oldest has": f"/tasks?limit=50&text={backlog.NEEDLE}",
    "counts": "/tasks/counts",
    "counts of a group": f"/tasks/counts?group={backlog.PAUSED[0]}",
    "groups": "/groups",
}
LINES: Lines = {
    SUBMIT: COST,
    DISPATCH: COST,
    START: COST,
    **dict.fromkeys(READS, COST),
    SEARCH: None,
    MEMORY: Requirement("figure", "under", 150, "MB"),
}


def measure(bench: Bench) -> Sequence[Row]:
    """Costs with many tasks waiting, as a ratio to the costs with few."""
    with server.running(bench.data) as calm, server.running(bench.data) as busy:
        return compare(NAME, bench, calm, busy, busy.database_bytes)


def compare(
    name: str, bench: Bench, calm: Server, busy: Server, database_bytes: Callable[[], int]
) -> Sequence[Row]:
    """Fill two servers that are empty, measure them in turns, and compare.

    Args:
        name: the figure's.
        bench: how much to measure.
        calm: gets few tasks.
        busy: gets many.
        database_bytes: the size of the store of ``busy`` on disk.
    """
    scale = bench.scale
    for running in (calm, busy):
        backlog.begin(running.port)
        backlog.fill(running.port, scale.waiting_few)
        _costs_of_reads(running, 5)
        _dispatch_ms(running, "warm-up", scale.flat_dispatches)
    resident = busy.resident_bytes()
    backlog.fill(busy.port, scale.waiting_many - scale.waiting_few)
    costs: dict[str, tuple[list[float], list[float]]] = {what: ([], []) for what in LINES}
    for number in range(scale.rounds):
        for side, running in enumerate((calm, busy)):
            for what, cost in _costs_of_reads(running, scale.flat_reads).items():
                costs[what][side].append(cost)
            flow = f"flow-{number}"
            costs[DISPATCH][side].append(_dispatch_ms(running, flow, scale.flat_dispatches))
            costs[START][side].append(_start_ms(running, flow))
            costs[SEARCH][side].append(_with_api(running, _search_ms))
    # Submits come last: they lengthen the queue that the other costs are held against.
    for _ in range(scale.rounds):
        for side, running in enumerate((calm, busy)):
            costs[SUBMIT][side].append(_submit_ms(running, scale.flat_submits))
    growth = (busy.resident_bytes() - resident) / 1_000_000
    size = f"{database_bytes() / 1_000_000:,.0f} MB on disk"
    few, many = f"{scale.waiting_few:,} waiting", f"{scale.waiting_many:,} waiting"
    rows = [
        compared(name, what, "ms", costs[what][1], few, costs[what][0], line)
        for what, line in LINES.items()
        if what != MEMORY
    ]
    return [*rows, plain(name, MEMORY, "MB", [growth], LINES[MEMORY], f"{few} to {many}; {size}")]


def _costs_of_reads(running: Server, count: int) -> dict[str, float]:
    costs: dict[str, float] = {}
    for what, path in READS.items():
        message = load.request("GET", BASE + path, server.TOKEN)
        run = accepted(load.generate(running.port, message, connections=1, count=count))
        costs[what] = percentile(run.latencies_s, 0.5) * 1000
    return costs


def _submit_ms(running: Server, count: int) -> float:
    """Milliseconds of server time for each submit: the inverse of the rate under load."""
    body = json.dumps({"command": ["true"], "group": backlog.PAUSED[0]}).encode()
    message = load.request("POST", f"{BASE}/tasks", server.TOKEN, body)
    run = accepted(load.generate(running.port, message, count=count))
    return 1000 / run.rate


def _dispatch_ms(running: Server, group: str, count: int) -> float:
    """Milliseconds for each of so many commands, from their submit to the last one's end."""

    def work(api: Api) -> float:
        begin = time.time()
        api.submit_many({"command": ["true"], "group": group}, count)
        api.wait_until_succeeded(group, count)
        page = api.call("GET", f"/tasks?limit=500&group={group}")
        end = max(unix_s(task["finished_at"]) for task in page["items"])
        return (end - begin) * 1000 / count

    return _with_api(running, work)


def _start_ms(running: Server, group: str) -> float:
    return _with_api(running, lambda api: percentile(latency.starts_ms(api, group, 30), 0.5))


def _search_ms(api: Api) -> float:
    """Milliseconds until the one task is found, on whichever page it is.

    A page may be short, or empty, when the search has looked at its share; then it names the next.
    """
    begin = time.perf_counter()
    path = READS["page: text that only the oldest has"]
    page = api.call("GET", path)
    while not page["items"]:
        if page["next_cursor"] is None:
            raise FigureFailed(f"no task was found with the text {backlog.NEEDLE}")
        page = api.call("GET", f"{path}&cursor={quote(page['next_cursor'], safe='')}")
    return (time.perf_counter() - begin) * 1000


def _with_api(running: Server, work: Callable[[Api], float]) -> float:
    api = Api(running.port)
    try:
        return work(api)
    finally:
        api.close()
