"""Functions in each language: how long a build takes, a first call, and a warm one."""

import base64
import io
import time
import zipfile
from collections.abc import Sequence

from benchmarks import load, server
from benchmarks.api import BASE, Api, FigureFailed, accepted
from benchmarks.figures import Bench, Lines
from benchmarks.rounds import percentile
from benchmarks.rows import Row, missing, plain
from taskyard.cli.function_templates import TEMPLATES

NAME = "languages"
BUILD = "build of a function without dependencies, {}"
COLD = "first call, {}"
WARM = "synchronous warm call, {}, p50"
LINES: Lines = {row.format(language): None for language in TEMPLATES for row in (BUILD, COLD, WARM)}
ROUNDS = 5


def measure(bench: Bench) -> Sequence[Row]:
    """The functions that ``taskyard function init`` writes, built and called over HTTP."""
    rows: list[Row] = []
    with server.running(bench.data) as running:
        api = Api(running.port)
        for language in TEMPLATES:
            rows += rows_of(bench, api, running.port, language)
        api.close()
    return rows


def rows_of(bench: Bench, api: Api, port: int, language: str) -> list[Row]:
    """Build, first call and warm calls of one language."""
    names = [row.format(language) for row in (BUILD, COLD, WARM)]
    builds: list[float] = []
    first: list[float] = []
    message = b""
    for number in range(ROUNDS):
        name = f"{language}{number}"
        began = time.perf_counter()
        trouble = deploy(api, name, language)
        builds.append(time.perf_counter() - began)
        if trouble is not None:
            return [missing(NAME, what, trouble) for what in names]
        message = load.request("POST", f"{BASE}/functions/{name}/calls?wait=30s", server.TOKEN, b"")
        run = accepted(load.generate(port, message, connections=1, count=1))
        first.append(run.latencies_s[0] * 1000)
    alone = load.generate(port, message, connections=1, duration_s=bench.scale.submit_s / 4)
    warm = percentile([one * 1000 for one in accepted(alone).latencies_s], 0.50)
    return [
        plain(NAME, names[0], "s", builds),
        plain(NAME, names[1], "ms", first),
        plain(NAME, names[2], "ms", [warm]),
    ]


def deploy(api: Api, name: str, language: str) -> str | None:
    """Deploy what is in the template; what is missing for it, if something is."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in TEMPLATES[language].items():
            archive.writestr(path, text.format(name=name))
    source = {"archive": base64.b64encode(buffer.getvalue()).decode(), "language": language}
    version = api.call("PUT", f"/functions/{name}?wait=60s", source)["version"]
    if version["state"] == "ready":
        return None
    if "no tool chain" in str(version.get("message")):
        return str(version["message"])
    raise FigureFailed(f"the build of {name} is {version}")
