"""Small parts of the supervisor, each on its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from taskyard.core.states import AttemptState, Reason
from taskyard.runtimes.command import supervised_process
from taskyard.runtimes.command.lines import line, line_around
from taskyard.runtimes.command.timers import Timers
from taskyard.runtimes.output import meta
from taskyard.runtimes.processes import proc
from taskyard.runtimes.processes.attempt_cgroup import AttemptCgroup, CurrentCgroup
from taskyard.runtimes.processes.cgroups import own_hierarchies
from taskyard.runtimes.processes.session import Roster, SessionTree
from taskyard.runtimes.processes.tree import Limits

_HYBRID_MOUNTS = """\
25 20 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
27 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
28 25 0:25 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
"""
_HYBRID_PATHS = "4:memory:/a/b\n1:cpu,cpuacct:/\n0::/x\n"


def test_hybrid_hierarchies_are_found() -> None:
    """Version 1 controllers and the version 2 hierarchy beside them."""
    found = own_hierarchies(_HYBRID_MOUNTS, _HYBRID_PATHS)
    assert found.unified == "/sys/fs/cgroup/unified/x"
    assert found.v1 == {
        "memory": "/sys/fs/cgroup/memory/a/b",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
    }


def test_hierarchy_shown_from_within_a_container() -> None:
    """A mount that begins below the root shows only what is below."""
    mounts = "30 20 0:22 /docker/c1 /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n"
    inside = own_hierarchies(mounts, "0::/docker/c1/leaf\n")
    assert inside.unified == "/sys/fs/cgroup/leaf"
    assert own_hierarchies(mounts, "0::/elsewhere\n").unified is None


def test_version_2_limits_are_written(tmp_path: Path) -> None:
    """With controllers in the version 2 hierarchy every limit goes into its files there."""
    path = tmp_path / "cgroup"
    path.mkdir()
    for name in ("pids.max", "cpu.max", "memory.max", "memory.swap.max"):
        (path / name).touch()
    limits = Limits(cpu_millis=250, memory_bytes=5_000_000, pids=7)
    cgroup = AttemptCgroup(
        str(path), {}, {}, limits, frozenset({"cpu", "memory", "pids"}), CurrentCgroup(lambda: None)
    )
    assert cgroup.limit()
    written = {file.name: file.read_text() for file in path.iterdir()}
    assert written == {
        "pids.max": "7",
        "cpu.max": "25000 100000",
        "memory.max": "5000000",
        "memory.swap.max": "0",
    }
    (path / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n")
    (path / "memory.peak").write_text("4999999\n")
    assert cgroup.oom_kills() == 2
    assert cgroup.memory_peak() == 4_999_999


def test_timers_run_in_order_and_forget_cancelled_ones() -> None:
    """Calls are made in order of time; cancelled timers take no room for long."""
    timers = Timers()
    made: list[int] = []
    timers.at(2.0, lambda: made.append(2))
    timers.at(1.0, lambda: made.append(1))
    timers.at(1.5, lambda: made.append(9)).cancel()
    timers.run(1.9)
    assert made == [1]
    assert timers.next_at() == 2.0
    far = [timers.at(1e9, lambda: None) for _ in range(1000)]
    for timer in far:
        timer.cancel()
    assert len(timers) < 200
    timers.run(3.0)
    assert made == [1, 2]


def test_words_of_the_supervisor_are_words_of_the_core() -> None:
    """The supervisor imports no core; the states and reasons it writes exist there all the same."""
    folder = Path(supervised_process.__file__).parent
    names = ("supervised_process.py", "process_table.py")
    source = "".join((folder / name).read_text(encoding="utf-8") for name in names)
    for state in ("succeeded", "failed", "killed", "lost"):
        assert f'"{state}"' in source
        assert AttemptState(state)
    for reason in (
        "exit_code",
        "signal",
        "timeout",
        "out_of_memory",
        "start_failed",
        "killed",
        "exit_unknown",
        "runtime_trouble",
    ):
        assert f'"{reason}"' in source
        assert Reason(reason)


@pytest.mark.parametrize("module", ["asyncio", "msgspec", "anyio", "structlog", "litestar"])
def test_supervisor_stays_small(module: str) -> None:
    """It lives as long as any command; what it does not need it does not load."""
    script = f"import sys, taskyard.runtimes.command.supervisor; print({module!r} in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_a_child_of_a_process_that_died_while_the_table_was_read_is_not_overlooked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The table lacks it, and its parent is dead already: the table is read again."""
    roster = Roster()
    roster.alive.add("attempt")
    tree = SessionTree("attempt", "/nowhere", roster, adopted=False)
    child = proc.Process(6, os.getpid(), 6, 6, "S", 1)
    tables = iter([{}, {6: child}])
    children = iter([[5], [5], [6], [6]])
    monkeypatch.setattr(proc, "table", lambda: next(tables))
    monkeypatch.setattr(proc, "own_children", lambda: next(children))
    assert not tree.is_empty()


def test_the_start_of_a_child_is_known_without_asking() -> None:
    """It is what ``/proc`` says, which costs a tenth of a short command to look at."""
    for _ in range(50):
        earliest = proc.ticks_now()
        child = subprocess.Popen(["sleep", "60"])
        try:
            ticks = proc.start_ticks(child.pid, earliest)
            found = proc.process(child.pid)
            assert found is not None
            assert found.start_ticks == ticks
        finally:
            child.kill()
            child.wait()


def test_a_line_becomes_the_last_member_of_another() -> None:
    """So that what is told and what is noted is encoded once."""
    inner = line({"a": 'x"\n', "b": [1]})
    whole = line_around({"event": "ended", "id": "é"}, "ended", inner)
    assert whole.endswith(b"\n")
    assert whole.count(b"\n") == 1
    assert json.loads(whole) == {"event": "ended", "id": "é", "ended": {"a": 'x"\n', "b": [1]}}


def test_meta_that_says_the_same_is_left_alone(tmp_path: Path) -> None:
    """Directories are used again, mostly with the same limit; a shorter one is not torn."""
    meta.write_meta(str(tmp_path), 1_000_000)
    path = tmp_path / meta.META
    os.utime(path, ns=(0, 0))
    meta.write_meta(str(tmp_path), 1_000_000)
    assert path.stat().st_mtime_ns == 0
    for limit, dropped in ((5, (0, 0)), (1_000_000, (7, 1 << 40)), (5, (0, 0)), (9, (1, 0))):
        meta.write_meta(str(tmp_path), limit, dropped)
        assert meta.read_meta(str(tmp_path), 0) == (limit, dropped)
