"""Functions and builds of a hostile workspace beside another one, on a server of root's."""

import base64
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import zipfile
from pathlib import Path

import pytest
from shells import SHELLS
from town import Tenant, Town

from eventually import eventually
from served import Served

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


def deploy(tenant: Tenant, name: str, language: str, source: str) -> None:
    """Deploy a function, and wait until it is built."""
    made = tenant.http.put(
        f"/functions/{name}?wait=55s", json={"source": source, "language": language}
    )
    assert made.status_code == 200, made.text
    assert made.json()["version"]["state"] == "ready", made.text


def victims_source(town: Town) -> Path:
    """Where the source of the victim's function is, once it is built."""
    deploy(town.victim, "own", "python", "SECRET = 'TOP-SOURCE'\n" + SHELLS["python"])
    function = town.victim.http.get("/functions/own").json()
    version = f"{function['id']}/{function['live_version']}"
    return town.data / "functions" / "builds" / version / "code" / "handler.py"


def call(tenant: Tenant, name: str, body: str) -> str:
    """What a function answers."""
    answer = tenant.http.post(f"/functions/{name}/calls?wait=40s", content=body)
    assert answer.status_code == 200, answer.text
    return answer.text


def processes_of(uid: str) -> list[int]:
    """All that run as a user."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"\nUid:\t{uid}\t" in (entry / "status").read_text():
                found.append(int(entry.name))
    return found


def owner(path: Path) -> str:
    """Whose it is; empty if it is not there any more."""
    with contextlib.suppress(FileNotFoundError):
        return str(path.stat().st_uid)
    return ""


@pytest.mark.parametrize(
    "language",
    [
        "python",
        pytest.param("javascript", marks=pytest.mark.node),
        pytest.param("ruby", marks=pytest.mark.ruby),
        pytest.param("go", marks=pytest.mark.golang),
    ],
)
def test_a_function_reaches_nothing_of_others(town: Town, language: str) -> None:
    """Source, builds and calls of the victim, its processes, files of the server and root's."""
    if language == "javascript" and shutil.which("node") is None:
        pytest.skip("there is no node here")
    source = victims_source(town)
    call(town.victim, "own", "sleep 0.01; echo VICTIM-OUTPUT")
    deploy(town.attacker, "shell", language, SHELLS[language])
    functions = town.data / "functions"
    victim = town.victim.run("id -u").strip()
    victims = processes_of(victim)
    runs = " ".join(
        str(one) for one in (functions / "run").iterdir() if owner(one / "work") == victim
    )
    assert len(victims) >= 2
    assert runs
    before = source.read_text()
    said = call(
        town.attacker,
        "shell",
        f"id -u; cd {town.data} && ls && echo GOT; cat {source} && echo GOT;"
        f" ls {source.parent} {functions} {functions}/builds {functions}/run && echo GOT;"
        f" echo x >> {source} && echo GOT; mv {source.parent} {source.parent}.x && echo GOT;"
        f" for f in secret.key taskyard.sqlite3 server.json functions/fork_server.log"
        f" functions/nursery.lock"  # kept: see fork_server.py
        f" functions/bundles/*/*; do cat {town.data}/$f && echo GOT; done;"
        f" for d in {runs}; do ls $d && echo GOT;"
        f" ls $d/work && echo GOT; cat $d/stdout && echo GOT; done;"
        f" for p in {' '.join(map(str, victims))} {town.pid} 1; do kill -9 $p && echo GOT;"
        f" kill -STOP $p && echo GOT; cat /proc/$p/environ && echo GOT; ls /proc/$p/fd && echo GOT;"
        " done; cat /etc/shadow && echo GOT; touch /etc/x && echo GOT; echo tried",
    )
    assert said.splitlines()[0] == town.attacker.run("id -u").strip()
    for word in ("GOT", "TOP-SOURCE", "VICTIM-OUTPUT", "TOP-SECRET"):
        assert word not in said
    assert "tried" in said
    assert source.read_text() == before
    for pid in (town.victim_pid(), town.pid):
        os.kill(pid, 0)
    assert "fine" in call(town.victim, "own", "echo fine")


def test_a_function_cannot_leave_its_cgroup(town: Town) -> None:
    """Not to outlive its call, nor to be killed with another one."""
    deploy(town.attacker, "shell", "python", SHELLS["python"])
    said = call(
        town.attacker,
        "shell",
        "for f in $(find /sys/fs/cgroup -maxdepth 4 -name cgroup.procs 2>/dev/null);"
        " do (echo $$ > $f) 2>/dev/null && echo left $f; done; echo tried",
    )
    assert said == "tried\n"


def test_a_build_reaches_nothing_of_others(town: Town) -> None:
    """It runs as its workspace's user, and what it wrote is what it could read."""
    if shutil.which("npm") is None:
        assert os.environ.get("CI") != "true", "continuous integration needs npm"
        pytest.skip("there is no npm here")
    source = victims_source(town)
    script = (
        f"id -u > who; (cat {town.data}/secret.key; ls {source.parents[3]} {source.parent};"
        f" cat {source}; for p in $(ls /proc); do cat /proc/$p/environ; done) > got 2> /dev/null;"
        " true"
    )
    archive = zipped(
        {
            "handler.js": "const fs = require('node:fs');\nmodule.exports = () =>\n"
            "  fs.readFileSync(__dirname + '/who') + fs.readFileSync(__dirname + '/got');\n",
            "package.json": package(script),
        }
    )
    made = town.attacker.http.put(
        "/functions/built?wait=55s", json={"archive": archive, "language": "javascript"}
    )
    assert made.json()["version"]["state"] == "ready", made.text
    said = call(town.attacker, "built", "")
    assert said.splitlines()[0] == town.attacker.run("id -u").strip()
    for word in ("SECRET = ", "TOP-SECRET"):
        assert word not in said


def test_nothing_of_a_build_outlives_its_server(tmp_path: Path, common_path: Path) -> None:
    """Killed outright in the middle of one: no process and no cgroup, nor once it is back."""
    if os.geteuid() != 0 or shutil.which("npm") is None:
        assert os.environ.get("CI") != "true", "continuous integration needs root rights and npm"
        pytest.skip("needs root rights and npm")
    again, pid = common_path / "again", common_path / "pid"
    script = (
        f"[ -e {again} ] && exit; trap '' TERM HUP; setsid sh -c 'echo $$ > {pid}.new;"
        f" mv {pid}.new {pid}; exec sleep 3600' & wait"
    )
    served = Served(tmp_path / "data")
    served.start()
    try:
        served.await_ready()
        with served.client() as api:
            files = {
                "handler.js": "module.exports = () => 'built';\n",
                "package.json": package(script),
            }
            api.put("/functions/f", json={"archive": zipped(files), "language": "javascript"})
            eventually(pid.exists)
        stray = int(pid.read_text())
        digest = hashlib.sha256(str(served.data / "functions").encode()).hexdigest()[:12]
        assert cgroups(digest)
        served.kill()
        eventually(lambda: is_gone(stray) and not cgroups(digest))
        again.touch()
        served.start()
        served.await_ready()
        with served.client() as api:
            eventually(lambda: api.get("/functions/f").json()["live_version"] == 1)
            assert api.post("/functions/f/calls?wait=30s").text == "built"
        eventually(lambda: not cgroups(digest))
    finally:
        served.end()


def cgroups(digest: str) -> list[str]:
    """Those of builds, in every hierarchy; others come and go meanwhile."""
    name = f"taskyard-builds-{digest}"
    return [f"{top}/{name}" for top, below, _ in os.walk("/sys/fs/cgroup") if name in below]


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        os.kill(pid, signal.SIGCONT)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def package(script: str) -> str:
    """What makes npm run a script when a function is built."""
    return json.dumps({"name": "f", "version": "1.0.0", "scripts": {"install": script}})


def zipped(files: dict[str, str]) -> str:
    """An archive of text files, as it is sent."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return base64.b64encode(buffer.getvalue()).decode()
