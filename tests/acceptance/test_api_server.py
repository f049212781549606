"""The server as a user runs it: ``taskyard up``, real commands, real deaths."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from eventually import eventually

START_S = 30.0


class Up:
    """A running ``taskyard up --dev``."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.output = data.parent / "output"
        program = Path(sys.executable).with_name("taskyard")
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [program, "up", "--dev", "--data", data, "--port", "0"],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=data.parent,
            )
        file = self._file()
        self.http = httpx2.Client(
            base_url=file["url"] + "/api/v1",
            headers={"authorization": "Bearer dev"},
            trust_env=False,
            verify=False,
            timeout=70,
        )

    def _file(self) -> dict[str, Any]:

        def look() -> dict[str, Any]:
            assert self.process.poll() is None, self.output.read_text()
            try:
                file: dict[str, Any] = json.loads((self.data / "server.json").read_text())
            except FileNotFoundError:
                file = {}
            return file

        return eventually(
            look,
            lambda file: file.get("pid") == self.process.pid,
            of=self.output.read_text,
            within_s=START_S,
        )

    def submit(self, command: str, **more: Any) -> str:
        """Id of a new task."""
        answer = self.http.post("/tasks", json={"command": command, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def wait(self, task_id: str) -> dict[str, Any]:
        """The task once it has ended."""
        task: dict[str, Any] = self.http.get(f"/tasks/{task_id}/wait").json()
        assert task["finished_at"], task
        return task

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


@contextmanager
def up(data: Path) -> Iterator[Up]:
    """A server that does not outlive the test."""
    server = Up(data)
    try:
        with server.http:
            yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def _until_output(server: Up, task_id: str, text: str) -> None:
    eventually(
        lambda: server.http.get(f"/tasks/{task_id}/logs/stdout"),
        lambda answer: answer.status_code == 200 and text in answer.text,
    )


def test_command_survives_the_death_of_its_server(tmp_path: Path) -> None:
    """SIGKILL in the middle; the next server has every byte and the exit code."""
    data = tmp_path / "data"
    with up(data) as server:
        waiting = server.submit("true", start_in_s=3600)
        task = server.submit('for i in 1 2 3 4 5 6; do echo "line $i"; sleep 0.3; done; exit 7')
        _until_output(server, task, "line 2")
        server.end(signal.SIGKILL)
    with up(data) as server:
        ended = server.wait(task)
        assert (ended["state"], ended["exit_code"], ended["attempt_count"]) == ("failed", 7, 1)
        output = server.http.get(f"/tasks/{task}/logs/stdout").text
        assert output == "".join(f"line {n}\n" for n in range(1, 7))
        assert server.http.get(f"/tasks/{waiting}").json()["state"] == "scheduled"
        assert server.end() == 0


def test_stop_leaves_commands_running_and_the_directory_tidy(tmp_path: Path) -> None:
    """SIGTERM: exit status 0, no files that say somebody serves; the command goes on."""
    data = tmp_path / "data"
    with up(data) as server:
        task = server.submit("echo begun; sleep 1.5; echo done")
        _until_output(server, task, "begun")
        assert server.end() == 0
        assert not (data / "server.json").exists()
        assert not (data / "control.sock").exists()
    with up(data) as server:
        assert server.wait(task)["state"] == "succeeded"
        assert server.http.get(f"/tasks/{task}/logs/stdout").text == "begun\ndone\n"


def test_kill_comes_with_its_proof(tmp_path: Path) -> None:
    """A tree that ignores SIGTERM and leaves its session is gone, and the report says so."""
    with up(tmp_path / "data") as server:
        task = server.submit(
            "trap '' TERM; (setsid sleep 1000 &); echo ready; sleep 1000", kill={"grace_s": 0.2}
        )
        _until_output(server, task, "ready")
        killed = server.http.post(f"/tasks/{task}/cancel", params={"wait": 20}).json()
        assert killed["state"] == "cancelled"
        (attempt,) = server.http.get(f"/tasks/{task}/attempts").json()["items"]
        assert attempt["state"] == "killed"
        assert attempt["kill_report"]["forced"] is True
        assert attempt["kill_report"]["survivors"] == []
        assert server.end(signal.SIGINT) == 0


def test_address_and_directory_in_use_are_refused_with_a_word(tmp_path: Path) -> None:
    """A second server changes nothing about the first one."""
    data = tmp_path / "data"
    with up(data) as server:
        program = Path(sys.executable).with_name("taskyard")
        port = str(server.http.base_url.port)
        for arguments, said in (
            (["--data", str(tmp_path / "other"), "--port", port], "in use"),
            (["--data", str(data), "--port", "0"], f"process {server.process.pid}"),
            (["--data", str(tmp_path / "o"), "--host", "192.0.2.1"], "dev"),
        ):
            second = subprocess.run(
                [program, "up", "--dev", *arguments],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
                env={**os.environ, "NO_COLOR": "1"},
                cwd=tmp_path,
            )
            assert second.returncode != 0
            assert said in " ".join(second.stderr.split()), second.stderr
        assert server.http.get("/me").status_code == 200


@pytest.mark.timeout(120)
def test_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    """Also while the first one still waits for something."""
    with up(tmp_path / "data") as server:
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=20) in {0, 130}


def test_whoever_is_answered_can_stop_the_server(tmp_path: Path) -> None:
    """A signal that comes with the first answer ends it in order, and not by default."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("taskyard")
    process = subprocess.Popen(
        [program, "up", "--dev", "--data", tmp_path / "data", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_S
        while True:
            assert time.monotonic() < deadline
            try:
                httpx2.get(f"http://127.0.0.1:{port}/health/live", trust_env=False, timeout=START_S)
            except httpx2.TransportError:
                time.sleep(0.002)
                continue
            break
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
