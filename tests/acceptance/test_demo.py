"""``make demo``, the first thing that newcomers try: as root, and as an ordinary user."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ordinary import UID, Ordinary

ROOT = Path(__file__).resolve().parents[2]
# It waits for a minute to turn.
pytestmark = pytest.mark.timeout(200)


def check(done: "subprocess.CompletedProcess[str]") -> None:
    """It showed all scenes, and claimed nothing that was not so."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert "largest: 25, lines: 5" in done.stdout
    assert "survivors: 0" in done.stdout
    assert "the recurrence is cancelled now" in done.stdout


def test_the_demo_runs() -> None:
    """As whoever runs the tests."""
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    check(done)


def test_the_demo_runs_for_an_ordinary_user() -> None:
    """Whose commands are in a sandbox where the machine has one."""
    with Ordinary() as somebody:
        (somebody.home / "demo").symlink_to(ROOT / "demo")
        identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            identity = {"user": UID, "group": UID, "extra_groups": []}
        done = subprocess.run(
            [str(somebody.python), "-m", "demo"],
            cwd=somebody.home,
            env={"PATH": os.defpath, "HOME": str(somebody.home), "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            **identity,
        )
        check(done)
