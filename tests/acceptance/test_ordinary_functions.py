"""Functions and builds of a hostile workspace, on a server that is run by an ordinary user."""

import base64
import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from ordinary import OF_FORK_SERVER, PRIVATE, Ordinary, there
from shells import SHELLS

from taskyard.runtimes.processes.bubblewrap import obstacle_to_sandbox

pytestmark = [pytest.mark.bubblewrap, pytest.mark.timeout(300)]


TOOLS = {"javascript": "node"}
SMALL = 1000
"""Process ids up to this one may mean another process inside a sandbox."""
"""The program that a language needs, where it is not named like the language."""


class Village:
    """A server with a victim that has a running command and a function, and an attacker."""

    def __init__(self, server: Ordinary) -> None:
        self.server = server
        tokens = server.token("victim"), server.token("attacker", "write")
        server.start()
        self.victim, self.attacker = (server.client(token) for token in tokens)
        begun = self.victim.post("/tasks", json={"command": "exec sleep 200"})
        self.task = str(begun.json()["id"])
        deploy(self.victim, "own", "python", "SECRET = 'TOP-SOURCE'\n" + SHELLS["python"])
        call(self.victim, "own", "sleep 0.01; echo VICTIM-OUTPUT")
        function = self.victim.get("/functions/own").json()
        place = f"functions/builds/{function['id']}/{function['live_version']}"
        self.source = server.data / place / "code" / "handler.py"

    def close(self) -> None:
        """End the victim's command."""
        self.victim.post(f"/tasks/{self.task}/cancel", params={"wait": "20"}, json={"grace_s": 0})
        self.victim.close()
        self.attacker.close()


@pytest.fixture(scope="module")
def village() -> Iterator[Village]:
    """Started once: what the attacker does must leave no trace anyhow."""
    if (obstacle := obstacle_to_sandbox()) is not None:
        pytest.skip(obstacle)
    with Ordinary() as server:
        leave_small_pids()
        village = Village(server)
        yield village
        village.close()


def deploy(who: httpx2.Client, name: str, language: str, source: str) -> None:
    """Deploy a function, and wait until it is built; skips without a tool chain."""
    answer = who.put(f"/functions/{name}?wait=55s", json={"source": source, "language": language})
    assert answer.status_code == 200, answer.text
    version = answer.json()["version"]
    if "no tool chain" in str(version.get("message")):
        # One that is there, but not for this user, is nothing that a machine lacks.
        if os.environ.get("CI") == "true" and not is_out_of_reach(TOOLS.get(language, language)):
            pytest.fail(version["message"])
        pytest.skip(version["message"])
    assert version["state"] == "ready", answer.text


def is_out_of_reach(program: str) -> bool:
    """Whether a program is on the machine where ordinary users cannot get to it."""
    found = shutil.which(program)
    return found is not None and not all(one.stat().st_mode & 0o001 for one in Path(found).parents)


def call(who: httpx2.Client, name: str, body: str) -> str:
    """What a function answers."""
    answer = who.post(f"/functions/{name}/calls?wait=40s", content=body)
    assert answer.status_code == 200, answer.text
    return answer.text


def probe(village: Village) -> str:
    """A shell script that tries what nobody may; ``GOT`` is printed for what succeeds."""
    data, source = village.server.data, village.source
    runs = " ".join(str(one) for one in (data / "functions" / "run").iterdir())
    assert runs
    processes = children_of(village.server.pid)
    assert processes
    files = there(data, *PRIVATE, "attempts", "functions/bundles", *OF_FORK_SERVER)
    return (
        f"for f in {files} functions/toolchains {source.parent};"
        f" do ls {data}/$f && echo GOT $f; cat {data}/$f && echo GOT $f;"
        f" done; cat {source} && echo GOT source; echo x >> {source} && echo GOT write;"
        f" for d in {runs}; do case $PWD in $d/*) ;; *) ls $d && echo GOT $d;; esac; done;"
        f" ls {village.server.root}/log && echo GOT log; touch {village.server.home}/x;"
        f" for p in {' '.join(map(str, processes))} {village.server.pid}; do"
        " grep -q . /proc/$p/environ && echo GOT $p; kill -STOP $p && echo GOT $p; done;"
        " (echo x > ../../x) 2>&1; touch ../../../escaped /etc/x /usr/x && echo GOT system;"
        " unshare -Ur true && echo GOT userns;"
        " ls /proc | grep -c '^[0-9]'; grep CapEff /proc/self/status; echo tried"
    )


def leave_small_pids() -> None:
    """Use up process ids until what is started next has ones that no sandbox has."""
    largest = int(Path("/proc/sys/kernel/pid_max").read_text())
    while not SMALL < (pid := os.posix_spawn("/bin/true", ["true"], {})) < largest - 4 * SMALL:
        os.waitpid(pid, 0)
    os.waitpid(pid, 0)


def children_of(pid: int) -> list[int]:
    """All descendants whose numbers are beyond those in a sandbox."""
    found, left = [], [pid]
    while left:
        for task in Path(f"/proc/{left.pop()}/task").iterdir():
            children = [int(one) for one in (task / "children").read_text().split()]
            found += children
            left += children
    return [one for one in found if one > SMALL]


def untouched(village: Village, said: str) -> None:
    """Nothing was got, and everything is as it was."""
    assert "tried" in said
    for word in ("GOT", "TOP-SOURCE", "VICTIM-OUTPUT"):
        assert word not in said, said
    assert "CapEff:\t0000000000000000" in said
    assert not (village.server.home / "x").exists()
    assert village.victim.get(f"/tasks/{village.task}").json()["state"] == "running"
    assert "fine" in call(village.victim, "own", "echo fine")
    assert village.source.read_text().startswith("SECRET = 'TOP-SOURCE'\n")


@pytest.mark.parametrize(
    "language",
    [
        "python",
        pytest.param("javascript", marks=pytest.mark.node),
        pytest.param("ruby", marks=pytest.mark.ruby),
        pytest.param("go", marks=pytest.mark.golang),
    ],
)
def test_a_sandboxed_function_reaches_nothing_of_the_server_or_of_others(
    village: Village, language: str
) -> None:
    """No key, database, socket, source, build, output; no processes, no signals."""
    deploy(village.attacker, f"shell-{language}", language, SHELLS[language])
    untouched(village, call(village.attacker, f"shell-{language}", probe(village)))


def test_functions_of_one_workspace_do_not_reach_each_other(village: Village) -> None:
    """Each version has a sandbox of its own."""
    deploy(village.victim, "other", "python", SHELLS["python"])
    said = call(village.victim, "other", f"cat {village.source}; ls {village.source.parents[3]}")
    assert "TOP-SOURCE" not in said
    assert len([line for line in said.splitlines() if "No such file" not in line]) == 1, said


def test_a_sandboxed_build_reaches_nothing_of_the_server_or_of_others(village: Village) -> None:
    """What a package does when it is installed; what it wrote is what it could read."""
    if shutil.which("npm", path=os.defpath) is None:
        assert os.environ.get("CI") != "true", "continuous integration needs npm"
        pytest.skip("there is no npm here")
    script = base64.b64encode(probe(village).encode()).decode()
    run = f"(echo {script} | base64 -d | /bin/sh) > got 2>&1; true"
    files = {
        "handler.js": "module.exports = () =>\n"
        "  require('node:fs').readFileSync(__dirname + '/got');\n",
        "package.json": f'{{"name": "x", "version": "1.0.0", "scripts": {{"install": "{run}"}}}}',
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    sent = {"archive": base64.b64encode(buffer.getvalue()).decode(), "language": "javascript"}
    made = village.attacker.put("/functions/built?wait=55s", json=sent)
    assert made.json()["version"]["state"] == "ready", made.text
    untouched(village, call(village.attacker, "built", ""))


def test_how_a_function_runs_is_shown(village: Village) -> None:
    """In the attempt, for whoever asks."""
    deploy(village.attacker, "shown", "python", SHELLS["python"])
    task = village.attacker.post("/functions/shown/calls", content="true").json()
    done = village.attacker.get(f"/tasks/{task['id']}/wait", params={"timeout_s": 40}).json()
    assert done["state"] == "succeeded", done
    (attempt,) = village.attacker.get(f"/tasks/{task['id']}/attempts").json()["items"]
    assert attempt["confinement"]["isolation"] == "sandbox"
