"""A hostile workspace beside another one, on a server that is run by root."""

import os
import subprocess
from pathlib import Path

import pytest
from town import Town

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def test_each_workspace_has_a_user_of_its_own(town: Town) -> None:
    """Another one than root and than its neighbour, the same for each of its tasks."""
    mine, again = town.attacker.run("id -u"), town.attacker.run("id -u")
    theirs = town.victim.run("id -u")
    assert mine == again
    assert len({"0\n", mine, theirs}) == 3


def test_nobody_means_the_user_of_the_workspace(town: Town) -> None:
    """A user that two workspaces share would be no wall."""
    assert town.attacker.run("id -u", user="nobody") == town.attacker.run("id -u")


@pytest.mark.parametrize("user", ["root", "0", "daemon", "1900000000"])
def test_a_task_cannot_choose_its_user(town: Town, user: str) -> None:
    """The answer says which setting would allow it."""
    answer = town.attacker.http.post("/tasks", json={"command": "id", "user": user})
    assert answer.status_code == 422
    assert "work_users_allowed" in answer.text


def test_the_data_directory_is_out_of_reach(town: Town) -> None:
    """Key, database, socket, file of the server, other attempts: neither listed nor read."""
    said = town.attacker.run(
        f"cd {town.data} && ls; for f in secret.key taskyard.sqlite3 taskyard.sqlite3-wal"
        f" server.json; do cat {town.data}/$f && echo GOT $f; done;"
        f" ls {town.data}/attempts && echo LISTED; cat {town.data}/attempts/*/* && echo READ;"
        f" touch {town.data}/x && echo WROTE"
    )
    for word in ("GOT", "LISTED", "READ", "WROTE", "secret.key\n", "private"):
        assert word not in said.replace("Permission", "")


def test_the_file_that_says_who_serves_is_private(town: Town) -> None:
    """As all the server's files, whatever the umask."""
    assert (town.data / "server.json").stat().st_mode & 0o777 == 0o600


def test_the_control_socket_is_out_of_reach(town: Town) -> None:
    """Whoever can speak to it is administrator of every workspace."""
    ask = (
        "use IO::Socket::UNIX;"
        f" print IO::Socket::UNIX->new(Peer => q({town.data}/control.sock)) ? q(IN) : q(OUT)"
    )
    assert town.attacker.run(f"perl -e '{ask}'") == "OUT"


def test_other_processes_cannot_be_looked_at_or_signalled(town: Town) -> None:
    """Environment, memory, files, working directory, signals: of the victim and of the server."""
    for pid in (town.victim_pid(), town.pid):
        said = town.attacker.run(
            f"cat /proc/{pid}/environ && echo GOT; ls /proc/{pid}/fd/ && echo GOT;"
            f" ls /proc/{pid}/cwd/ && echo GOT; head -c 1 /proc/{pid}/mem && echo GOT;"
            f" kill -9 {pid} && echo GOT; kill -STOP {pid} && echo GOT; echo tried"
        )
        assert "GOT" not in said
        assert "TOP-SECRET" not in said
        assert "tried" in said
        os.kill(pid, 0)


def test_the_directory_of_another_task_is_closed(town: Town) -> None:
    """Although its owner opened the part of it that is its own."""
    cwd = Path(f"/proc/{town.victim_pid()}/cwd").readlink()
    said = town.attacker.run(f"ls {cwd.parent} && echo GOT; cat {cwd.parent}/stdout && echo GOT")
    assert "GOT" not in said


@pytest.mark.bubblewrap
def test_an_isolated_command_sees_nothing_of_the_server(town: Town) -> None:
    """No data directory, no other process, no file of root's, nothing to mount."""
    said = town.attacker.run(
        f"id -u; ls {town.data} && echo GOT; kill -0 {town.pid} && echo GOT; head -c 1 /etc/shadow"
        " && echo GOT; mkdir /tmp/m; mount -t tmpfs none /tmp/m && echo GOT; unshare -Ur true"
        " && echo GOT; touch /usr/x && echo GOT; echo mine > own && cat own",
        isolate=True,
    )
    assert said.startswith(town.attacker.run("id -u"))
    assert "GOT" not in said
    assert "mine\n" in said


def test_nothing_survives_a_kill(town: Town) -> None:
    """The cgroup cannot be left, and the report says that everything is gone."""
    task = town.attacker.start(
        "for f in $(find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs); do"
        " sh -c 'echo $$ > '$f' && exec env -i setsid sleep 4711' & done;"
        " (setsid sh -c 'trap \"\" TERM; sleep 4711' &); echo up; sleep 4711"
    )
    with town.attacker.http.stream("GET", f"/tasks/{task}/logs/follow") as lines:
        assert any("up" in line for line in lines.iter_lines())
    answer = town.attacker.http.post(
        f"/tasks/{task}/cancel", params={"wait": "20"}, json={"grace_s": 0.2}
    )
    answer.raise_for_status()
    attempt = town.attacker.http.get(f"/tasks/{task}/attempts").json()["items"][-1]
    assert attempt["kill_report"]["survivors"] == []
    left = subprocess.run(["pgrep", "-f", "sleep 4711"], capture_output=True, check=False)
    assert left.stdout == b""
