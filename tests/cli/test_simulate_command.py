"""``taskyard simulate``, as it is typed."""

import json
import os
import pty
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from command_line import PROGRAM

from fakes.stores import postgres_url, prepare
from taskyard.cli import exit_status
from taskyard.cli.main import run
from taskyard.store.sqlite.database import FILE_NAME

Call = Callable[..., tuple[int, Any, str]]

pytestmark = pytest.mark.timeout(300)

SCENARIO: Final = """\
duration = "20m"

[workers.small]
count = 2
cpu = 2
slots = 2
fails = "10m"
back_after = "1m"

[workspaces.acme.groups.render]
limit = 3

[loads.render]
workspace = "acme"
group = "render"
arrivals = { every = "5m", burst = 20, over = "1m" }
duration = { lognormal = "20s", sigma = 0.8 }

[loads.calls]
workspace = "globex"
arrivals = { rate = 0.1 }
duration = { exponential = "5s" }
failures = 0.1
retry = { max_attempts = 3 }

[variants."no limit"]
"workspaces.acme.groups.render.limit" = 100
"""


@pytest.fixture
def call(capfdbinary: pytest.CaptureFixture[bytes]) -> Call:
    """Runs the program: exit status, JSON output, error."""

    def called(*arguments: object) -> tuple[int, Any, str]:
        code = run(["simulate", *(str(one) for one in arguments)])
        out, err = capfdbinary.readouterr()
        return code, json.loads(out) if out else None, err.decode()

    return called


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """A file with a small one."""
    path = tmp_path / "scenario.toml"
    path.write_text(SCENARIO)
    return path


def without_timing(document: Any) -> Any:
    """All but what it cost."""
    for one in document["runs"]:
        assert set(one.pop("timing")) == {"seconds", "decisions_per_s", "peak_memory_bytes"}
    return document


def test_the_same_seed_prints_the_same(scenario: Path) -> None:
    """Byte for byte, in processes whose hashes differ; another seed prints something else."""
    printed = []
    for hash_seed, seed in (("1", "5"), ("2", "5"), ("3", "6")):
        done = subprocess.run(
            [*PROGRAM, "simulate", str(scenario), "--seed", seed, "--json"],
            capture_output=True,
            timeout=120,
            check=False,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
        )
        assert (done.returncode, done.stderr) == (0, b"")
        printed.append(json.dumps(without_timing(json.loads(done.stdout))))
    assert printed[0] == printed[1]
    assert printed[0] != printed[2]


def test_variants_and_changes_are_compared(call: Call, scenario: Path) -> None:
    """With the scenario as it is, each a run of its own; the same tasks come in all of them."""
    code, out, _ = call(
        scenario, "--with", "workers.small.count=20", "--with", "workers.small.fails=null"
    )
    assert code == 0
    assert [one["name"] for one in out["runs"]] == ["as it is", "no limit", "changed"]
    base, _, more = out["runs"]
    assert more["changes"] == {"workers.small.count": 20, "workers.small.fails": None}
    assert (base["workers"], more["workers"]) == (2, 20)
    assert base["tasks"]["arrived"] == more["tasks"]["arrived"] > 100
    assert base["worker_deaths"] > 0
    assert more["worker_deaths"] == 0
    assert more["waits"]["p99_s"] < base["waits"]["p99_s"]
    assert {one["group"] for one in base["groups"]} == {"render", "default"}


def test_workers_that_a_change_adds_are_told(call: Call, scenario: Path) -> None:
    """Who meant others has misspelt their name."""
    changes = ("--with", "workers.smal.count=3", "--with", "workers.smal.slots=1")
    code, out, err = call(scenario, *changes)
    assert (code, len(out["runs"])) == (0, 3)
    assert err == 'taskyard: --with: adds workers "smal", as the file has none of that name\n'
    code, out, err = call(scenario, "--with", "workers.small.count=3")
    assert (code, err) == (0, "")


def test_json_is_read_by_its_ending(call: Call, tmp_path: Path) -> None:
    """The same model."""
    path = tmp_path / "scenario.json"
    tables = {
        "duration": 10,
        "workers": {"w": {}},
        "loads": {"l": {"arrivals": {"every": 1}, "duration": 1}},
    }
    path.write_text(json.dumps(tables))
    code, out, _ = call(path)
    assert (code, out["runs"][0]["tasks"]["succeeded"]) == (0, 10)


def test_what_is_wrong_with_a_file_names_file_line_and_member(call: Call, scenario: Path) -> None:
    """And says where to look."""
    scenario.write_text(SCENARIO.replace("slots = 2", "slots = 0"))
    code, out, err = call(scenario)
    assert (code, out) == (exit_status.INVALID, None)
    assert err == (
        f"taskyard: {scenario}, line 6: workers.small.slots: Expected `int` >= 1. "
        "docs/reference/simulation.md describes the file.\n"
    )
    code, _, err = call(scenario, "--json")
    assert code == exit_status.INVALID
    assert json.loads(err)["error"].startswith(f"{scenario}, line 6: workers.small.slots")


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("FILE", "--with", "workers"), 2, "--with: 'workers' is not a change, such as workers"),
        (("FILE", "--with", "workers.small.count=x"), 65, "workers.small.count: Expected `int`"),
        (("FILE", "--max-tasks", "10"), 65, "there are more than 10 tasks; lower a rate"),
        (("FILE", "--max-workers", "1"), 65, "2 workers are more than 1; lower a count"),
        (("FILE", "--max-tasks", "0"), 2, "--max-tasks must be from 1"),
        (("NOTHING",), 66, "cannot be read: No such file or directory"),
        ((), 2, "name a file with a scenario, or take a history with --replay"),
        (("FILE", "--data", "x"), 2, "--data, --database and --password-file go with --replay"),
        (("--replay", "--data", "EMPTY"), 66, "is not a data directory"),
    ],
)
def test_mistakes_are_told(
    call: Call,
    scenario: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    problem: str,
) -> None:
    """In one line that says what to do, with an exit status for each kind."""
    (tmp_path / "empty").mkdir()
    names = {
        "FILE": str(scenario),
        "EMPTY": str(tmp_path / "empty"),
        "NOTHING": str(tmp_path / "n"),
    }
    got, out, err = call(*(names.get(one, one) for one in arguments))
    assert (got, out) == (code, None)
    assert problem in err
    assert err.count("\n") == 1


def test_what_is_no_text_is_refused(call: Call, tmp_path: Path) -> None:
    """Nor is more read than is allowed."""
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xff\xfe")
    assert "is not UTF-8 text" in call(path)[2]
    path.write_bytes(b"#" * (5 << 20))
    assert "is larger than 4 MiB" in call(path)[2]
    assert call(tmp_path)[0] == exit_status.NOT_FOUND


def test_a_person_sees_progress_and_tables(scenario: Path) -> None:
    """On a terminal; the bar is gone at the end."""
    ours, theirs = pty.openpty()
    try:
        started = subprocess.Popen(
            [*PROGRAM, "simulate", str(scenario)],
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
        )
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:
                break
        assert started.wait(timeout=60) == 0
    finally:
        os.close(ours)
    text = shown.decode()
    for words in ("reading", "waits ", "Jain's index", "acme", "render", "no limit", "wait, p95"):
        assert words in text


def store(directory: Path) -> None:
    """A history: ten tasks of a minute each that one worker with a slot did one by one."""
    prepare(directory)
    second, begin = 1_000_000, 1_767_600_000_000_000
    capacity = '{"slots":1,"cpu_millis":4000,"memory_bytes":4294967296}'
    details = '{"tags":["gpu"],"metadata":{"zone":"a"}}'
    with closing(sqlite3.connect(directory / FILE_NAME)) as connection, connection:
        connection.execute(
            "INSERT INTO workers (id, incarnation, hostname, version, capacity, runtimes,"
            " joined_at, beat_at, state, details)"
            " VALUES ('w1', 'i', 'h', '1', ?, '[\"command\"]', 0, 0, 'ready', ?)",
            (capacity, details),
        )
        connection.execute("INSERT INTO groups VALUES ('acme', 'g', 0, 5)")
        connection.execute("INSERT INTO workspaces (name, concurrency_limit) VALUES ('acme', 7)")
        for number in range(10):
            at = begin + number * second
            spec = {
                "work": {"runtime": "command", "argv": ["true"]},
                "group": "g",
                "placement": {"type": "match_tag", "tag": "gpu"},
            }
            demand = {"policy": {"type": "match_tag", "tag": "gpu"}}
            connection.execute(
                "INSERT INTO tasks (seq, id, workspace, group_name, state, priority, created_at,"
                " attempt_count, finished_at, spec, demand)"
                " VALUES (?, ?, 'acme', 'g', 'succeeded', 0, ?, 1, ?, ?, ?)",
                (number + 1, f"t{number}", at, at + 1, json.dumps(spec), json.dumps(demand)),
            )
            ended = begin + (number + 1) * 60 * second
            connection.execute(
                "INSERT INTO attempts (id, task_seq, task_id, workspace, number, worker_id,"
                " incarnation, lease_token, lease_expires_at, state, assigned_at, started_at,"
                " finished_at, resources) VALUES (?, ?, ?, 'acme', 1, 'w1', 'i', 'x', 0,"
                " 'succeeded', ?, ?, ?, '{}')",
                (f"a{number}", number + 1, f"t{number}", at, ended - 60 * second, ended),
            )
        connection.execute("UPDATE tasks SET spec = 'broken' WHERE seq = 10")


def test_a_history_is_replayed(call: Call, tmp_path: Path) -> None:
    """Nine tasks of a minute on the one slot; with nine slots nobody waits. Nothing is written."""
    data = tmp_path / "data"
    store(data)
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    code, out, err = call(
        "--replay", "--data", data, "--with", "workers.w1.slots=9", "--with", "workspaces=null"
    )
    assert code == 0, err
    assert "1 tasks of the store could not be read" in err
    assert (out["replayed_tasks"], out["unreadable"]) == (9, 1)
    base, more = out["runs"]
    assert base["tasks"]["succeeded"] == more["tasks"]["succeeded"] == 9
    assert base["waits"]["max_s"] == pytest.approx(8 * 59, abs=1)
    assert more["waits"]["max_s"] < 1
    after = {path.name: path.read_bytes() for path in data.iterdir()}
    assert {name: after[name] for name in before} == before


def test_a_history_in_postgresql_is_the_same(
    call: Call, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Copied there, it is replayed with the same result."""
    data = tmp_path / "data"
    store(data)
    _, here, _ = call("--replay", "--data", data)
    url = postgres_url(tmp_path)
    assert run(["store", "copy", "--from", f"sqlite:{data}", "--to", url]) == 0
    capfdbinary.readouterr()
    code, there, err = call("--replay", "--database", url)
    assert code == 0, err
    assert without_timing(there) == without_timing(here)


def test_a_file_is_laid_over_a_history(call: Call, tmp_path: Path) -> None:
    """Its workers and loads come in addition; the limits of the store hold."""
    data, path = tmp_path / "data", tmp_path / "more.toml"
    store(data)
    path.write_text(
        '[workers.more]\ncount = 9\ntags = ["gpu"]\n'
        '[loads.new]\nworkspace = "new"\narrivals = { every = "1s" }\nduration = "1s"\n'
    )
    _, out, _ = call(path, "--replay", "--data", data)
    (base,) = out["runs"]
    assert base["workers"] == 10
    assert {one["workspace"] for one in base["groups"]} == {"acme", "new"}
    acme = next(one for one in base["groups"] if one["workspace"] == "acme")
    assert acme["waits"]["max_s"] > 50  # Five at once, as the group's limit says.


def test_help_is_there() -> None:
    """And says what it is for."""
    done = subprocess.run(
        [*PROGRAM, "simulate", "--help"], capture_output=True, timeout=60, check=True
    )
    assert b"Try a change before you make it" in done.stdout
