"""Real container engines for tests, each with directories and a socket of its own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

READY_WITHIN_S: Final = 40.0
IMAGE: Final = "busybox"
_ULIMITS: Final = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
# On loopback Docker Engine does without TLS by itself.
_REGISTRIES: Final = '[[registry]]\nprefix = "127.0.0.1"\nlocation = "127.0.0.1"\ninsecure = true\n'
KINDS: Final = [
    pytest.param("podman", marks=[pytest.mark.podman, pytest.mark.xdist_group("podman")]),
    pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.xdist_group("docker")]),
]
"""Parameters of a fixture that starts an engine; its tests are together, kind by kind."""
_NEEDED: Final = {"podman": ("podman", "runc", "busybox"), "docker": ("dockerd", "runc", "busybox")}


def why_missing(kind: str) -> str | None:
    """Why this engine cannot be started here; None if it can."""
    if os.geteuid() != 0:
        return f"{kind} is started with root rights"
    missing = [name for name in _NEEDED[kind] if shutil.which(name) is None]
    return f"needs {', '.join(missing)}" if missing else None


class RealEngine:
    """Docker Engine or Podman's API service, started for tests and stopped by its pid."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        # Not below pytest's directory: paths of sockets have to be short.
        self.root = Path(tempfile.mkdtemp(prefix="ty"))
        self.socket = self.root / "s"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.socket.unlink(missing_ok=True)
        env = dict(os.environ)
        if self.kind == "podman":
            settings = self.root / "containers.conf"
            settings.write_text(_ULIMITS, encoding="ascii")
            env["CONTAINERS_CONF"] = str(settings)
            registries = self.root / "registries.conf"
            registries.write_text(_REGISTRIES, encoding="ascii")
            env["CONTAINERS_REGISTRIES_CONF"] = str(registries)
            command = ["podman", "--root", f"{self.root}/d", "--runroot", f"{self.root}/r"]
            command += ["--runtime", "runc", "system", "service", "--time=0", self.url]
        else:
            (self.root / "pid").unlink(missing_ok=True)
            command = ["dockerd", "--data-root", f"{self.root}/d", "--exec-root", f"{self.root}/r"]
            command += ["-H", self.url, "--pidfile", f"{self.root}/pid"]
            command += ["--bridge=none", "--iptables=false"]
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=env,
                cwd=self.root,  # where conmon leaves files of its own
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(httpx2.HTTPError, OSError):
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(self.socket))
                self._call("GET", "/_ping")
                return
            time.sleep(0.05)
        said = (self.root / "log").read_text(errors="replace")[-2000:]
        pytest.fail(f"{self.kind} did not start:\n{said}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the engine; Docker's containers go with it, Podman's stay."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.wait(30)

    def load_image(self) -> None:
        """Make an image of busybox, without any registry."""
        archive = self.root / "busybox.tar"
        rootfs = self.root / "rootfs"
        program = shutil.which("busybox")
        assert program is not None
        for name in ("bin", "tmp", "etc", "proc", "sys", "dev", "root"):
            (rootfs / name).mkdir(parents=True)
        (rootfs / "tmp").chmod(0o1777)
        shutil.copy(program, rootfs / "bin" / "busybox")
        listed = subprocess.run([program, "--list"], capture_output=True, check=True, text=True)
        for applet in listed.stdout.split():
            if applet != "busybox":
                (rootfs / "bin" / applet).symlink_to("busybox")
        (rootfs / "loop").symlink_to("loop")
        users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
        (rootfs / "etc" / "passwd").write_text(users)
        (rootfs / "etc" / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
        with tarfile.open(archive, "w") as tar:
            tar.add(rootfs, arcname=".")
        params = {"fromSrc": "-", "repo": IMAGE, "tag": "latest"}
        headers = {"Content-Type": "application/x-tar"}
        content = archive.read_bytes()
        self._call("POST", "/images/create", params=params, content=content, headers=headers)
        shutil.rmtree(rootfs)
        archive.unlink()

    def tag(self, repository: str) -> None:
        """Give the image another name, ``REPOSITORY:latest``."""
        params = {"repo": repository, "tag": "latest"}
        self._call("POST", f"/images/{IMAGE}/tag", params=params)

    def name_image(self, image: str, repository: str) -> None:
        """Give any image another name, ``REPOSITORY:latest``."""
        params = {"repo": repository, "tag": "latest"}
        self._call("POST", f"/images/{image}/tag", params=params)

    def remove_image(self, image: str) -> None:
        """Remove an image and the containers made from it."""
        self.clear()
        self._call("DELETE", f"/images/{image}", params={"force": "1"})

    def send_signal(self, container: str, signal_name: str) -> None:
        """Have a container's first process receive a signal."""
        self._call("POST", f"/containers/{container}/kill", params={"signal": signal_name})

    def containers(self) -> list[dict[str, Any]]:
        """All containers there are."""
        found: list[dict[str, Any]] = self._call(
            "GET", "/containers/json", params={"all": "1"}
        ).json()
        return found

    def inspect(self, name: str) -> dict[str, Any]:
        """All about a container."""
        found: dict[str, Any] = self._call("GET", f"/containers/{name}/json").json()
        return found

    def create(self, name: str, labels: dict[str, str], script: str, *, start: bool = True) -> None:
        """Make a container behind everybody's back, and start it."""
        body = {
            "Image": IMAGE,
            "Cmd": ["sh", "-c", script],
            "Labels": labels,
            "HostConfig": {"NetworkMode": "none"},
        }
        self._call("POST", "/containers/create", params={"name": name}, json=body)
        if start:
            self._call("POST", f"/containers/{name}/start")

    def kill_container(self, name: str) -> None:
        """Kill a container behind everybody's back."""
        self._call("POST", f"/containers/{name}/kill", params={"signal": "SIGKILL"})

    def clear(self) -> None:
        """Remove every container."""
        for one in self.containers():
            with contextlib.suppress(httpx2.HTTPStatusError):
                # Another removal may be under way.
                self._call("DELETE", f"/containers/{one['Id']}", params={"force": "1", "v": "1"})

    def end(self) -> None:
        """Leave nothing behind."""
        if self._process is not None:
            with contextlib.suppress(httpx2.HTTPError):
                self.clear()
        self.stop()
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        inside = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{self.root}/")]
        for mount in sorted(inside, reverse=True):
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)

    def _call(self, method: str, path: str, **request: Any) -> httpx2.Response:
        transport = httpx2.HTTPTransport(uds=str(self.socket), verify=False)
        base = "http://engine/v1.41"
        with httpx2.Client(transport=transport, base_url=base, timeout=60) as client:
            return client.request(method, path, **request).raise_for_status()


@contextlib.contextmanager
def real_engine(kind: str) -> Iterator[RealEngine]:
    """A running engine with an image; skips the test without one, but never under CI."""
    missing = why_missing(kind)
    if missing is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    engine = RealEngine(kind)
    try:
        engine.start()
        engine.load_image()
        yield engine
    finally:
        engine.end()
