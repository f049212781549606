"""Programs and services beside Taskyard that some tasks need."""

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from taskyard.cli.doctor.finding import Finding, ok, warn


def check_bubblewrap(program: str = "bwrap") -> Finding:
    """Whether isolated commands can be run: the program is there, and works for us."""
    path = shutil.which(program)
    if path is None:
        return warn(
            "bubblewrap",
            "not installed: tasks that ask for isolation cannot start",
            "Install the package 'bubblewrap'.",
        )
    try:
        done = subprocess.run(  # noqa: S603 - the program found above, without user input
            [path, "--ro-bind", "/", "/", "--unshare-pid", "--dev", "/dev", "true"],
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return warn("bubblewrap", f"{path} does not run: {error}", "Reinstall it.")
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
        return warn(
            "bubblewrap",
            f"{path} cannot isolate here: {said}",
            "Allow unprivileged user name spaces, or run as root.",
        )
    return ok("bubblewrap", f"{path} works")


def check_languages() -> Finding:
    """Which languages functions can be built in; nothing is wrong with some."""
    from taskyard.runtimes.function.toolchains import TOOL_CHAINS  # noqa: PLC0415 - loads a runtime

    missing = {
        language.value: [one for one in chain.programs if shutil.which(one) is None]
        for language, chain in TOOL_CHAINS.items()
    }
    there = ", ".join(name for name, programs in missing.items() if not programs)
    others = ", ".join(
        f"{name} (needs {' and '.join(programs)})" for name, programs in missing.items() if programs
    )
    return ok("functions", f"can be in {there}" + (f"; not in {others}" if others else ""))


def engine_sockets() -> list[Path]:
    """Where container engines usually listen."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    places = [Path("/var/run/docker.sock"), Path("/run/podman/podman.sock")]
    if runtime:
        places += [Path(runtime) / "docker.sock", Path(runtime) / "podman" / "podman.sock"]
    host = os.environ.get("DOCKER_HOST", "")
    if host.startswith("unix://"):
        places.insert(0, Path(host.removeprefix("unix://")))
    return places


def check_engines(places: Sequence[Path] | None = None) -> Finding:
    """Whether a container engine can be reached."""
    present: list[str] = []
    for place in engine_sockets() if places is None else places:
        try:
            if not stat.S_ISSOCK(place.stat().st_mode):
                continue
        except OSError:
            continue
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(2)
            try:
                probe.connect(str(place))
            except OSError as error:
                present.append(f"{place} ({error.strerror or error})")
            else:
                return ok("containers", f"an engine answers at {place}")
    if present:
        return warn(
            "containers",
            f"no engine answers: {', '.join(present)}",
            "Start Docker or Podman, or join the group that may use its socket.",
        )
    return warn(
        "containers",
        "no engine's socket found: tasks in containers cannot run",
        "Install Docker or Podman if you want them; commands need neither.",
    )
