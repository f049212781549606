"""Kill request to proof, for a task that dies on SIGKILL."""

import time
from collections.abc import Sequence

from benchmarks import server
from benchmarks.api import Api, FigureFailed, unix_s
from benchmarks.figures import Bench, Lines
from benchmarks.rounds import percentile
from benchmarks.rows import Requirement, Row, plain

NAME = "kill"
ANSWER_P50 = "kill request to the answer with the proof, p50"
ANSWER_P99 = "kill request to the answer with the proof, p99"
REPORT_P50 = "kill report, requested to done, p50"
REPORT_P99 = "kill report, requested to done, p99"
LINES: Lines = {
    ANSWER_P50: None,
    ANSWER_P99: Requirement("figure", "under", 100, "ms"),
    REPORT_P50: None,
    REPORT_P99: Requirement("figure", "under", 100, "ms"),
}


def measure(bench: Bench) -> Sequence[Row]:
    """Kill running sleepers one by one; each must be proven dead without survivors."""
    answers: list[float] = []
    reports: list[float] = []
    with server.running(bench.data) as running:
        api = Api(running.port)
        _kill(api)
        for _ in range(bench.scale.kills):
            answer_ms, report_ms = _kill(api)
            answers.append(answer_ms)
            reports.append(report_ms)
        api.close()
    return [
        plain(NAME, ANSWER_P50, "ms", [percentile(answers, 0.50)]),
        plain(NAME, ANSWER_P99, "ms", [percentile(answers, 0.99)], LINES[ANSWER_P99]),
        plain(NAME, REPORT_P50, "ms", [percentile(reports, 0.50)]),
        plain(NAME, REPORT_P99, "ms", [percentile(reports, 0.99)], LINES[REPORT_P99]),
    ]


def _kill(api: Api) -> tuple[float, float]:
    task = api.submit({"command": ["sleep", "1000"], "group": "kill"})
    api.wait_until_running(task)
    begin = time.perf_counter()
    ended = api.call("POST", f"/tasks/{task}/cancel?wait=30", {"signal": "SIGKILL", "grace_s": 0})
    answer_ms = (time.perf_counter() - begin) * 1000
    attempt = api.first_attempt(task)
    report = attempt and attempt["kill_report"]
    if ended["state"] != "cancelled" or not report or report["survivors"] != []:
        raise FigureFailed(f"task {task} is {ended['state']}, its kill report {report}")
    return answer_ms, (unix_s(report["done_at"]) - unix_s(report["requested_at"])) * 1000
