"""What other task queues reach: their scripts, run in a virtual environment of their own."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.peers.names import PEERS

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "benchmarks" / "peers" / "requirements.txt"
ENVIRONMENT = ROOT / "benchmarks" / ".venv-peers"
PYTHON = (str(ENVIRONMENT / "bin" / "python"),)
PIP_OPTIONS = ("--disable-pip-version-check", "--requirement")
SLOW_PEERS = {"rq_redis", "procrastinate_postgresql"}
"""Peers that take too long over as many tasks as the others get."""


class PeerMissing(Exception):
    """A peer cannot be measured here; the message says what to install."""


class PeerFailed(Exception):
    """A peer's script ended with an error."""


class Peers:
    """Measures peers, making their environment at the first use.

    Args:
        wanted: False makes every measurement raise `PeerMissing`.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._versions: dict[str, str] = {}

    def rate(self, peer: str, kind: str, count: int) -> float:
        """Tasks a second.

        Args:
            peer: one of `peers.names.PEERS`.
            kind: `enqueue` (no worker listens), or end to end with two worker processes: `noop`,
                `command` (which runs `true` and captures its output).
            count: how many tasks.

        Raises:
            PeerMissing: left out by the command line, or a part is not installed.
            PeerFailed: the script failed or took longer than two minutes.
        """
        if not self._wanted:
            raise PeerMissing("peers are left out (--no-peers)")
        if peer.endswith("_redis") and shutil.which("redis-server") is None:
            raise PeerMissing("install redis-server (Debian package redis-server)")
        prepare_environment()
        answer = _run(peer, kind, count)
        self._versions[peer] = f"{answer['peer']} {answer['version']}"
        return float(str(answer[f"{kind}_per_s"]))

    def title(self, peer: str) -> str:
        """Name and version once measured, else the script's name."""
        return self._versions.get(peer, peer)


def prepare_environment() -> None:
    """Make the peers' virtual environment, unless it is there with these very requirements.

    Raises:
        PeerMissing: it cannot be made (no package index, say).
    """
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    mark = ENVIRONMENT / "requirements.sha256"
    if mark.is_file() and mark.read_text() == wanted:
        return
    print("installing the peers into benchmarks/.venv-peers …", file=sys.stderr, flush=True)
    try:
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run(
            [*PYTHON, "-m", "pip", "install", "--quiet", *PIP_OPTIONS, str(REQUIREMENTS)],
            check=True,
            capture_output=True,
            text=True,
            timeout=600,
        )
    except (OSError, subprocess.SubprocessError) as error:
        detail = str(getattr(error, "stderr", None) or error).strip()[-300:]
        raise PeerMissing(f"install benchmarks/peers/requirements.txt: {detail}") from error
    mark.write_text(wanted)


def _run(peer: str, kind: str, count: int) -> dict[str, object]:
    if peer not in PEERS:
        raise ValueError(f"unknown peer {peer}")
    process = subprocess.Popen(
        [*PYTHON, "-m", "benchmarks.peers", peer, "--measure", kind, "--count", str(count)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = process.communicate(timeout=150)
    except subprocess.TimeoutExpired as error:
        # SIGINT lets the script stop its workers and its broker.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise PeerFailed(f"{peer} {kind} took longer than 150 s") from error
    if process.returncode == 3:
        raise PeerMissing(f"install {json.loads(output)['missing']}")
    if process.returncode != 0:
        raise PeerFailed(f"{peer} {kind} ended with {process.returncode}: {errors.strip()[-500:]}")
    answer: dict[str, object] = json.loads(output.splitlines()[-1])
    return answer


if __name__ == "__main__":
    prepare_environment()
