"""Files with which other schedulers start workers."""

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from taskyard.cli.commands.worker import app
from taskyard.cli.errors import UsageError
from taskyard.cli.worker_manifests import DEFAULTS, Scheduler, Wanted, manifest

SCHEDULERS: tuple[Scheduler, ...] = get_args(Scheduler)
OTHERS = Wanted("gpu-pool", "images.example/taskyard:1.2", "/usr/bin/taskyard", 7, 3, 5 << 30)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_workers_are_started_with_options_that_they_know(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line in each file is one that the parser takes, with a file to join by."""
    monkeypatch.delenv("TASKYARD_JOIN", raising=False)
    words = _command(scheduler, manifest(scheduler, DEFAULTS))
    assert words[0].endswith("taskyard")
    assert words[1] == "worker"
    _, bound, _ = app.parse_args(words[2:], exit_on_error=False, print_error=False)
    assert {"join_file", "data", "drain"} <= set(bound.arguments)
    assert "join" not in bound.arguments


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_everything_asked_for_is_in_the_file(scheduler: Scheduler) -> None:
    """And nothing is left to fill in."""
    text = manifest(scheduler, OTHERS)
    assert "~" not in text
    assert "tyj1." not in text
    assert "taskyard-worker" not in text
    assert "gpu-pool" in text
    in_images = scheduler in {"kubernetes", "nomad"}
    assert (OTHERS.image in text) == in_images
    assert (OTHERS.program in text) != in_images


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="apt install systemd")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """Without a warning."""
    unit = tmp_path / "taskyard-worker.service"
    unit.write_text(manifest("systemd", replace(DEFAULTS, program="/bin/true")))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_restart_of_the_unit_leaves_running_work_alone() -> None:
    """The next process takes it over; until then its drain has the time it is told."""
    lines = manifest("systemd", DEFAULTS).splitlines()
    assert {"Type=notify", "KillMode=process", "Delegate=yes", "TimeoutStopSec=330"} <= set(lines)


def test_slurm_stops_a_worker_in_time_for_its_drain() -> None:
    """Its script is one for the shell."""
    text = manifest("slurm", replace(OTHERS, walltime_s=5400, drain_s=60))
    assert {"#SBATCH --array=0-6", "#SBATCH --time=90", "#SBATCH --signal=B:TERM@90"} <= set(
        text.splitlines()
    )
    assert "--lifetime 5310s --drain 60s" in text
    subprocess.run(["bash", "-n"], input=text.encode(), check=True, timeout=60)


def test_kubernetes_gives_each_worker_its_own_join_string() -> None:
    """By the name of its pod, which stays; and it is not stopped before its drain is over."""
    found = _kubernetes(manifest("kubernetes", OTHERS))
    assert (found["kind"], found["spec"]["replicas"]) == ("StatefulSet", 7)
    pod = found["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == OTHERS.image
    assert "--join-file=/join/$(POD_NAME)" in container["args"]
    assert container["env"][0]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounts == {"join": "/join", "data": "/data"}
    assert {one["name"] for one in pod["volumes"]} == set(mounts)
    assert pod["terminationGracePeriodSeconds"] == 330
    assert (
        found["spec"]["selector"]["matchLabels"] == found["spec"]["template"]["metadata"]["labels"]
    )


def test_kubernetes_runs_as_many_as_are_wanted() -> None:
    """KEDA asks the API about a group, and alone says how many there are."""
    asked = replace(OTHERS, server="http://taskyard:8000/", group="a&b c")
    yaml = pytest.importorskip("yaml")
    workers, credential, scaled = yaml.safe_load_all(manifest("kubernetes", asked))
    assert "replicas" not in workers["spec"]
    assert "--slots=3" in workers["spec"]["template"]["spec"]["containers"][0]["args"]
    target = scaled["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (workers["kind"], workers["metadata"]["name"])
    assert (scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]) == (0, 7)
    (trigger,) = scaled["spec"]["triggers"]
    wanted = "http://taskyard:8000/api/v1/scaling?group=a%26b%20c&slots=3"
    assert (trigger["type"], trigger["metadata"]["url"]) == ("metrics-api", wanted)
    assert trigger["metadata"]["valueLocation"] == "wanted"
    assert trigger["authenticationRef"]["name"] == credential["metadata"]["name"]
    assert credential["spec"]["secretTargetRef"][0]["name"] == "gpu-pool-api"


@pytest.mark.parametrize(
    ("scheduler", "wanted", "named"),
    [
        ("nomad", replace(DEFAULTS, image='a"'), "--image"),
        ("kubernetes", replace(DEFAULTS, name="a\nb"), "--name"),
        ("slurm", replace(DEFAULTS, program="$(reboot)"), "--program"),
        ("slurm", replace(DEFAULTS, workers=0), "--workers"),
        ("kubernetes", replace(DEFAULTS, server='http://a"'), "--server"),
        ("kubernetes", replace(DEFAULTS, group=""), "--group"),
        ("slurm", replace(DEFAULTS, walltime_s=300), "--walltime"),
        ("slurm", replace(DEFAULTS, drain_s=float("inf")), "--drain"),
    ],
)
def test_what_cannot_be_in_a_file_is_refused(
    scheduler: Scheduler, wanted: Wanted, named: str
) -> None:
    """By the name of the option."""
    with pytest.raises(UsageError, match=named):
        manifest(scheduler, wanted)


def _command(scheduler: Scheduler, text: str) -> list[str]:
    """The words that start a worker."""
    if scheduler == "kubernetes":
        (container,) = _kubernetes(text)["spec"]["template"]["spec"]["containers"]
        return _words([*container["command"], *container["args"]])
    if scheduler == "nomad":
        listed = text.split("args = [")[1].split("]", maxsplit=1)[0]
        return ["taskyard", *_words(one.strip(' ,\n"') for one in listed.split('"')[1::2])]
    joined = text.replace("\\\n", " ")
    start = "ExecStart=" if scheduler == "systemd" else "exec "
    (line,) = (one for one in joined.splitlines() if one.startswith(start))
    return _words(line.removeprefix(start).split())


def _words(found: Iterable[str]) -> list[str]:
    return [one.strip('"') for one in found]


def _kubernetes(text: str) -> Any:
    return pytest.importorskip("yaml").safe_load(text)
