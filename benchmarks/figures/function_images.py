"""Calls that warm containers answer, against those of warm processes, on the engines named."""

import os
from collections.abc import Sequence

from benchmarks import load, server
from benchmarks.api import BASE, Api, FigureFailed, accepted
from benchmarks.figures import Bench, Lines
from benchmarks.figures.containers import ENGINES, on_engine
from benchmarks.figures.functions import deploy, waits_ms
from benchmarks.rounds import percentile
from benchmarks.rows import Requirement, Row, compared, missing, plain

NAME = "function_images"
IMAGE = "BENCH_FUNCTION_IMAGE"
"""The variable that names an image whose program answers every call with next to nothing."""
WARM = "{}: warm call of a function that is an image, p50, against a process"
COLD = "{}: first call of a function that is an image"
LINES: Lines = {
    line.format(engine): requirement
    for engine in ENGINES
    for line, requirement in ((WARM, Requirement("figure", "under", 4, "ms")), (COLD, None))
}
COLD_STARTS = 5


def measure(bench: Bench) -> Sequence[Row]:
    """Each engine in turn, with a server of its own."""
    rows: list[Row] = []
    image = os.environ.get(IMAGE)
    for engine, variable in ENGINES.items():
        url = os.environ.get(variable)
        if url is None or image is None:
            reason = f"set {variable}=unix:///PATH, and {IMAGE} to an image that it has"
            for line in (WARM, COLD):
                what = line.format(engine)
                rows.append(missing(NAME, what, reason, LINES[what]))
            continue
        with on_engine(url), server.running(bench.data) as running:
            rows += _measured(bench, engine, image, running)
    return rows


def _measured(bench: Bench, engine: str, image: str, running: server.Server) -> list[Row]:
    api = Api(running.port)
    deploy(api, "noop")
    cold = [_first_ms(api, running.port, f"cold{n}", image) for n in range(COLD_STARTS)]
    _deploy(api, "contained", image)
    contained, plainly = _calls("contained"), _calls("noop")
    for message in (contained, plainly):
        accepted(load.generate(running.port, message, connections=1, count=50))
    ours: list[float] = []
    processes: list[float] = []
    for _ in range(bench.scale.rounds):
        processes.append(percentile(waits_ms(bench, running.port, plainly), 0.50))
        ours.append(percentile(waits_ms(bench, running.port, contained), 0.50))
    api.close()
    warm, first = WARM.format(engine), COLD.format(engine)
    return [
        compared(NAME, warm, "ms", ours, "a Python process", processes, LINES[warm]),
        plain(NAME, first, "ms", cold, LINES[first]),
    ]


def _first_ms(api: Api, port: int, name: str, image: str) -> float:
    _deploy(api, name, image)
    run = accepted(load.generate(port, _calls(name), connections=1, count=1))
    return run.latencies_s[0] * 1000


def _calls(name: str) -> bytes:
    return load.request("POST", f"{BASE}/functions/{name}/calls?wait=30s", server.TOKEN, b"x")


def _deploy(api: Api, name: str, image: str) -> None:
    answer = api.call("PUT", f"/functions/{name}?wait=60s", {"image": image})
    if answer["version"]["state"] != "ready":
        raise FigureFailed(f"the build of {name} is {answer['version']}")
