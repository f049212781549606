"""The how-to of the simulator, as somebody follows it who types what it says."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from test_simulate_command import store

from taskyard.simulation import scenario

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "how-to" / "simulate.md").read_text()
REFERENCE: Final = (ROOT / "docs" / "reference" / "simulation.md").read_text()
PROGRAM: Final = str(Path(sys.executable).with_name("taskyard"))


@pytest.mark.timeout(300)
def test_every_command_of_the_how_to_works(tmp_path: Path) -> None:
    """In a directory with the file that it shows, and a store."""
    (file,) = re.findall(r"```toml\n# fleet.toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "fleet.toml").write_text(file)
    store(tmp_path / "taskyard-data")
    commands = re.findall(r"^\$ taskyard (.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        done = subprocess.run(
            [PROGRAM, *command.split()],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        assert '"runs":[' in done.stdout


@pytest.mark.parametrize(
    "kind",
    [
        scenario.Workers,
        scenario.Group,
        scenario.Workspace,
        scenario.Arrivals,
        scenario.Load,
        scenario.Retry,
        scenario.Scheduling,
        scenario.Scenario,
    ],
)
def test_every_member_is_in_the_reference(kind: type) -> None:
    """By its name, in a table or an example."""
    words = set(re.findall(r"\w+", REFERENCE))
    assert set(kind.__struct_fields__) <= words  # type: ignore[attr-defined]
