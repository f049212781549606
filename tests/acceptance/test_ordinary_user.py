"""A hostile workspace beside another one, on a server that is run by an ordinary user."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from ordinary import PRIVATE, Ordinary, there

from taskyard.runtimes.processes.bubblewrap import obstacle_to_sandbox

pytestmark = pytest.mark.timeout(120)


class Town:
    """A server with a victim and an attacker."""

    def __init__(self, server: Ordinary) -> None:
        self.server = server
        tokens = server.token("victim"), server.token("attacker", "write")
        server.start()
        self.victim, self.attacker = (server.client(token) for token in tokens)
        self.task = self.begin(self.victim, "echo private; exec sleep 100")

    def begin(self, who: httpx2.Client, command: str, **more: object) -> str:
        """Submit a shell command; its task's id."""
        answer = who.post("/tasks", json={"command": command, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def run(self, command: str, **more: object) -> str:
        """What a command of the attacker prints, or why it did not run."""
        task = self.begin(self.attacker, command, **more)
        ended = self.attacker.get(f"/tasks/{task}/wait", params={"timeout_s": 40}).json()
        streams = [
            self.attacker.get(f"/tasks/{task}/logs/{one}").text for one in ("stdout", "stderr")
        ]
        return "".join(streams) + (ended["message"] or "")

    def close(self) -> None:
        """End the victim's command."""
        self.victim.post(f"/tasks/{self.task}/cancel", params={"wait": "20"}, json={"grace_s": 0})
        self.victim.close()
        self.attacker.close()


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    """Started once: what the attacker does must leave no trace anyhow."""
    if (obstacle := obstacle_to_sandbox()) is not None:
        pytest.skip(obstacle)
    with Ordinary() as server:
        town = Town(server)
        yield town
        town.close()


@pytest.mark.bubblewrap
def test_commands_are_sandboxed_by_default(town: Town) -> None:
    """Said where an operator looks."""
    health = httpx2.get(f"{town.server.url}/health", trust_env=False).json()
    assert health["isolation"] == "sandbox"
    assert "warnings" not in health
    found = json.loads(town.server.run("doctor", "--json").stdout)
    (finding,) = (one for one in found if one["check"] == "isolation")
    assert finding["status"] == "ok"


@pytest.mark.bubblewrap
def test_a_sandboxed_command_sees_nothing_of_the_server_or_of_others(town: Town) -> None:
    """No key, no database, no socket, no attempts, no home, no processes, no signals."""
    data = town.server.data
    said = town.run(
        f"for f in {there(data, *PRIVATE, 'functions')};"
        f" do ls {data}/$f && echo GOT $f; done; "
        f" ls {data}/attempts | grep -v $(basename $(dirname $PWD)) && echo GOT attempts;"
        f" cat {data}/attempts/*/stdout && echo GOT output;"
        f" ls {town.server.root}/log && echo GOT log; touch {town.server.home}/x;"
        f" kill -0 {town.server.pid} && echo GOT server; kill -9 -1;"
        " ls /proc | grep -c '^[0-9]'; grep CapEff /proc/self/status; echo tried"
    )
    assert "GOT" not in said
    assert "private" not in said
    assert "tried" in said
    assert "CapEff:\t0000000000000000" in said
    assert not (town.server.home / "x").exists()
    assert town.victim.get(f"/tasks/{town.task}").json()["state"] == "running"


@pytest.mark.bubblewrap
def test_a_submitter_cannot_open_the_sandbox(town: Town) -> None:
    """By no working directory, and by no program elsewhere."""
    server = town.server
    for place in (server.home, server.data, server.root, Path("/var"), Path.home()):
        assert "work_directories" in town.run("ls; touch x", cwd=str(place))
        assert "work_directories" in town.run("ls; touch x", cwd=str(place), isolate=True)
    assert "mine" in town.run("echo mine > own; cat own")


@pytest.mark.bubblewrap
def test_temporary_files_are_private(town: Town) -> None:
    """``/tmp`` is everybody's on the machine."""
    assert "here" in town.run("echo x > /tmp/here; ls /tmp")
    assert "here" not in town.run("ls /tmp")


@pytest.mark.bubblewrap
def test_what_is_enforced_is_shown(town: Town) -> None:
    """Without cgroups no limit is: whoever asked for one reads so, and may have it refused."""
    task = town.begin(town.attacker, "true", resources={"memory": "64MiB"})
    town.attacker.get(f"/tasks/{task}/wait", params={"timeout_s": 40})
    (attempt,) = town.attacker.get(f"/tasks/{task}/attempts").json()["items"]
    told = attempt["confinement"]
    assert told["isolation"] == "sandbox"
    assert int(told["user"]) == town.server.home.stat().st_uid
    if told["enforced"] == []:
        assert told["unenforced"] == ["memory"]
        assert "memory" in attempt["warnings"][0]
        assert "strict" in town.run("true", resources={"memory": "64MiB"}, strict=True)
    else:
        assert (told["enforced"], attempt["warnings"]) == (["memory"], [])
        assert town.run("echo ran", resources={"memory": "64MiB"}, strict=True) == "ran\n"


def test_without_a_sandbox_there_is_one_workspace() -> None:
    """Refused at the start, and where a second one would come to be; unless the operator says so
    in words. The log, ``/health`` and ``doctor`` say what does not hold.
    """
    with Ordinary() as server:
        first = server.token("one")
        server.start(work_sandbox="never", fastlane_anonymous="true")
        health = httpx2.get(f"{server.url}/health", trust_env=False).json()
        assert health["isolation"] == "none"
        assert "server" in health["warnings"][0]
        assert "work_runs_as_the_server" in (server.root / "log").read_text()
        options = ("--role", "read", "--data", str(server.data))
        refused = server.run("token", "create", "b", "--workspace", "two", *options)
        assert refused.returncode != 0
        assert "workspaces_share_user" in refused.stderr
        other = httpx2.post(
            f"{server.url}/fastlane/tasks/x",
            json={"image": "busybox", "command": "true"},
            trust_env=False,
        )
        assert other.status_code == 409
        assert "workspaces_share_user" in other.text
        with server.client(first) as client:
            assert client.post("/tasks", json={"command": "true"}).status_code == 201
        server.stop()

        server.token("two")
        with pytest.raises(AssertionError, match="workspaces_share_user"):
            server.start(work_sandbox="never")
        server.start(work_sandbox="never", workspaces_share_user="true")
        server.stop()
        found = json.loads(server.run("doctor", "--json", work_sandbox="never").stdout)
        (finding,) = (one for one in found if one["check"] == "isolation")
        assert finding["status"] == "warn"
