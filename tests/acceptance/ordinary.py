"""A server that is run by an ordinary user, also where the tests are run by root."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import pytest

import taskyard
from leftovers import short_directory
from served import free_port
from taskyard.runtimes.command.protocol import DIRECTORY

UID = 54321
"""Somebody without a name on the machine; the tests' own user, where that is not root."""
READY_WITHIN_S = 60.0
PRIVATE = ("taskyard.sqlite3", "taskyard.sqlite3-wal", "lock", DIRECTORY)
"""What is in a data directory of a server that runs, and nobody's but the server's."""
OF_FORK_SERVER = ("functions/fork_server.log", "functions/nursery.lock")  # kept: see fork_server.py


def there(data: Path, *names: str) -> str:
    """Those names for a shell; all are there, so that not to reach them means something."""
    for name in names:
        assert os.path.lexists(data / name), f"{name} is not there"
    return " ".join(names)


def interpreter(place: Path) -> Path:
    """A Python with everything installed that other users can execute; skips without one."""
    if os.geteuid() != 0 or _lets_others_in(Path(sys.executable).resolve()):
        return Path(sys.executable)
    system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    packages = {Path(httpx2.__file__).parents[1], Path(taskyard.__file__).parents[1]}
    if not system.exists() or not all(map(_lets_others_in, packages)):
        if os.environ.get("CI") == "true":
            pytest.fail("needs a Python that other users can execute")
        pytest.skip("needs a Python that other users can execute")
    made = [str(system), "-m", "venv", "--without-pip", str(place / "python")]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    (site,) = (place / "python" / "lib").glob("python*/site-packages")
    (site / "own.pth").write_text("".join(f"{path}\n" for path in packages))
    return place / "python" / "bin" / "python"


def _lets_others_in(path: Path) -> bool:
    return all(one.stat().st_mode & 0o001 for one in (path, *path.parents))


class Ordinary:
    """``taskyard up`` by an ordinary user, without ``--dev``; a context manager."""

    def __init__(self) -> None:
        self._folder = short_directory("ordinary-")
        self.root = self._folder.__enter__()
        self.root.chmod(0o755)
        self.python = interpreter(self.root)
        self.home = self.root / "home"
        self.home.mkdir(mode=0o755)
        if os.geteuid() == 0:
            os.chown(self.home, UID, UID)
        self.data = self.home / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._folder.__exit__(kind, error, trace)

    def run(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        """A command that ends."""
        return subprocess.run(
            self._command(*arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=self.home,
            env=self._environment(settings),
            **self._identity(),
        )

    def token(self, workspace: str, role: str = "admin") -> str:
        """A new token."""
        options = ("--workspace", workspace, "--role", role, "--data", str(self.data), "--json")
        done = self.run("token", "create", "test", *options)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["token"])

    def start(self, **settings: str) -> None:
        """Start the server, and wait until it is ready."""
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command("up", "--data", str(self.data), "--port", str(self.port)),
                stdout=log,
                stderr=log,
                cwd=self.home,
                env=self._environment(settings),
                **self._identity(),
            )
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx2.get(f"{self.url}/health/ready", trust_env=False).status_code == 200:
                    return
            except httpx2.TransportError:
                time.sleep(0.05)
        raise AssertionError((self.root / "log").read_text())

    def stop(self) -> None:
        """End it, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(60)

    @property
    def pid(self) -> int:
        """Of the server."""
        assert self._process is not None
        return self._process.pid

    def client(self, token: str) -> httpx2.Client:
        """Has to be closed."""
        return httpx2.Client(
            base_url=f"{self.url}/api/v1",
            headers={"authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=60,
        )

    def _command(self, *arguments: str) -> list[str]:
        return [str(self.python), "-m", "taskyard", *arguments]

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        named = {f"TASKYARD_{name.upper()}": value for name, value in settings.items()}
        return {"PATH": os.defpath, "HOME": str(self.home), "LANG": "C.UTF-8", **named}

    def _identity(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        return {"user": UID, "group": UID, "extra_groups": []}
