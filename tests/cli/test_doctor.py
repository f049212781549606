"""The checks of ``taskyard doctor``."""

import json
import os
import socket
from contextlib import closing
from pathlib import Path

import pytest
from command_line import Inside

from taskyard.cli.doctor.cgroups import check_cgroups, read_layout
from taskyard.cli.doctor.finding import Status
from taskyard.cli.doctor.machine import (
    check_clock,
    check_data,
    check_files,
    check_python,
    check_sqlite,
    check_zones,
)
from taskyard.cli.doctor.programs import check_bubblewrap, check_engines, check_languages
from taskyard.cli.doctor.server import check_parked, check_port, check_reach, check_server
from taskyard.core.instants import Instant
from taskyard.runtimes.function import reachability
from taskyard.store.sql.parking import put_aside
from taskyard.store.sqlite.database import FILE_NAME, SqliteDatabase
from taskyard.store.sqlite.migrate import migrate


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "v2"),
        (
            "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n"
            "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
            "hybrid",
        ),
        ("cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n", "v1"),
        ("tmpfs /tmp tmpfs rw 0 0\nbroken\n", "none"),
    ],
)
def test_layouts(mounts: str, kind: str) -> None:
    """Each way to mount control groups is told apart."""
    assert read_layout(mounts).kind == kind


def test_cgroups_say_what_cannot_be_limited(tmp_path: Path) -> None:
    """A delegated version 2 tree with two controllers lacks the third."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "cgroup.controllers").write_text("cpu memory\n")
    mounts, own = tmp_path / "mounts", tmp_path / "self"
    mounts.write_text(f"cgroup2 {tmp_path} cgroup2 rw 0 0\n")
    own.write_text("0::/own\n")
    limits, kill = check_cgroups(mounts, own)
    assert (limits.status, kill.status) == (Status.WARN, Status.OK)
    assert limits.detail == "v2; can limit: cpu, memory; cannot limit: pids"
    mounts.write_text("")
    assert "none mounted" in check_cgroups(mounts, own)[0].detail
    assert check_cgroups(tmp_path / "gone", own)[0].status is Status.WARN


def test_programs(tmp_path: Path) -> None:
    """What is missing or silent is a warning that names the way out."""
    assert check_bubblewrap("no-such-program").status is Status.WARN
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'no name spaces' >&2; exit 1\n")
    broken.chmod(0o755)
    assert "no name spaces" in check_bubblewrap(str(broken)).detail
    silent = tmp_path / "engine.sock"
    assert "no engine's socket" in check_engines([silent]).detail
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(silent))
        assert "no engine answers" in check_engines([silent]).detail
        engine.listen()
        assert check_engines([silent]).status is Status.OK


def test_languages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that functions can be in are named, and what the others need."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("bundle", "go"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    found = check_languages()
    assert found.status is Status.OK
    assert found.detail.startswith("can be in python, go; not in javascript (needs node), ruby")
    assert found.detail.endswith("ruby (needs ruby)")


def test_data_directory(tmp_path: Path) -> None:
    """A directory that can be used is measured; a file in its place is a failure."""
    assert {each.check for each in check_data(tmp_path / "new" / "data")} == {
        "data",
        "disk space",
        "disk sync",
    }
    (tmp_path / "file").write_text("")
    assert check_data(tmp_path / "file")[0].status is Status.FAIL


def test_clock() -> None:
    """A clock from before this program, or one that jumps, is noticed."""
    assert check_clock().status is not Status.FAIL
    assert check_clock(lambda: 1e9, lambda: 0.0, lambda _: None).status is Status.FAIL
    jumps = iter([2e9, 2e9 + 100])
    assert check_clock(lambda: next(jumps), lambda: 0.0, lambda _: None).status is Status.WARN
    assert check_zones().status is Status.OK


def test_interpreter() -> None:
    """Old versions fail, few files warn."""
    assert check_python((3, 10, 1)).status is Status.FAIL
    assert check_python().status is Status.OK
    assert check_sqlite((3, 7, 0)).status is Status.FAIL
    assert check_sqlite().status is Status.OK
    assert check_files((256, 1024)).status is Status.WARN
    assert check_files((65536, 65536)).status is Status.OK


def test_server_and_port(data: Path, tmp_path: Path) -> None:
    """A server that answers is found; otherwise the port is tried."""
    assert "answers" in check_server(data, "127.0.0.1", 1).detail
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert check_server(tmp_path, "127.0.0.1", port).status is Status.WARN
    assert check_port("127.0.0.1", port).status is Status.OK
    assert check_port("host.invalid", 1).status is Status.FAIL
    (tmp_path / "server.json").write_text("{")
    assert check_server(tmp_path, "127.0.0.1", port).status is Status.FAIL


def test_what_is_parked_is_told(tmp_path: Path) -> None:
    """Why, and what to do; nothing is said where there is no store that could know."""
    assert check_parked(tmp_path) is None
    (tmp_path / FILE_NAME).write_bytes(b"no store")
    assert check_parked(tmp_path) is None
    (tmp_path / FILE_NAME).unlink()
    migrate(tmp_path / FILE_NAME)
    found = check_parked(tmp_path)
    assert found is not None
    assert found.status is Status.OK
    with closing(SqliteDatabase(tmp_path / FILE_NAME).connect()) as connection:
        for number in range(4):
            put_aside(connection, "trigger", f"t{number}", "default", "no zone", Instant(number))
    found = check_parked(tmp_path)
    assert found is not None
    assert found.status is Status.WARN
    assert found.detail.startswith("4 parked: trigger t0: no zone; ")
    assert found.detail.endswith("; and 1 more")


@pytest.mark.root
def test_what_functions_cannot_get_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it can be opened to them; where work runs as the server it is ignored."""
    if os.geteuid() != 0:
        assert os.environ.get("CI") != "true", "needs root rights"
        pytest.skip("needs root rights")
    tmp_path.chmod(0o700)
    functions = tmp_path / "data" / "functions"
    functions.mkdir(parents=True)
    found = check_reach(tmp_path / "data")
    assert (found.status, str(functions) in found.detail) == (Status.OK, True)
    monkeypatch.setattr(reachability, "_TRY", "import sys; sys.exit('not permitted')")
    found = check_reach(tmp_path / "data")
    assert found.status is Status.WARN
    assert f"{functions} (not permitted)" in found.detail
    monkeypatch.setenv("TASKYARD_WORK_USER", "server")
    assert check_reach(tmp_path / "data").status is Status.OK


def test_exits_with_1_on_failure(inside: Inside, tmp_path: Path) -> None:
    """The doctor prints its findings as JSON and fails only when something fails."""
    code, out, _ = inside("doctor", "--json")
    assert code == 0
    assert {each["status"] for each in json.loads(out)} <= {"ok", "warn"}
    (tmp_path / "file").write_text("")
    assert inside("doctor", "--data", "file")[0] == 1
