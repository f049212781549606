"""A server that is run by root, with two workspaces: a victim and an attacker."""

import json
import subprocess
import sys
from pathlib import Path

import httpx2

from served import Served


class Tenant:
    """One workspace's token."""

    def __init__(self, url: str, data: Path, workspace: str, role: str) -> None:
        made = subprocess.run(
            [
                *(sys.executable, "-m", "taskyard", "token", "create", "test", "--json"),
                *("--workspace", workspace, "--role", role, "--data", str(data)),
            ],
            capture_output=True,
            check=True,
            timeout=60,
        )
        self.http = httpx2.Client(
            base_url=f"{url}/api/v1",
            headers={"authorization": f"Bearer {json.loads(made.stdout)['token']}"},
            trust_env=False,
            verify=False,
            timeout=60,
        )

    def start(self, command: str, **more: object) -> str:
        """Submit a shell command; its task's id."""
        answer = self.http.post("/tasks", json={"command": command, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def run(self, command: str, **more: object) -> str:
        """What a shell command prints on both streams, once it has ended."""
        task = self.start(command, **more)
        self.http.get(f"/tasks/{task}/wait", params={"timeout_s": 40})
        streams = [
            self.http.get(f"/tasks/{task}/logs/{name}").text for name in ("stdout", "stderr")
        ]
        return "".join(streams)


class Town:
    """A server with a victim and an attacker."""

    def __init__(self, served: Served) -> None:
        self.data = served.data
        self.pid = served.pid
        self.victim = Tenant(served.url, served.data, "victim", "admin")
        self.attacker = Tenant(served.url, served.data, "attacker", "write")
        self.victim.http.put("/secrets/db", json={"value": "TOP-SECRET"}).raise_for_status()
        self.task = self.victim.start(
            "echo private; echo file > own; echo $$ > pid; chmod 777 .; exec sleep 100",
            env={"PASSWORD": {"secret": "db"}},
        )
        self.attempt = Path()

    def victim_pid(self) -> int:
        """The process of the victim's running command."""
        attempts = self.victim.http.get(f"/tasks/{self.task}/attempts").json()["items"]
        marked = f"TASKYARD_ATTEMPT_ID={attempts[-1]['id']}".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    environment = (entry / "environ").read_bytes()
                except OSError:
                    continue
                if marked in environment.split(b"\0"):
                    return int(entry.name)
        raise AssertionError("the victim does not run")
