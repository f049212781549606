"""The frame that the small commands share."""

import inspect
import json
from pathlib import Path

import pytest
from command_line import Inside

from taskyard.cli.commands import operations, tasks
from taskyard.cli.connection import Connection
from taskyard.cli.frame import Printed, facts, lines, table


def test_commands_take_the_connection_in_place_of_the_client() -> None:
    """The parser sees a command's own options, and those that name the server."""
    wait = inspect.signature(tasks.wait).parameters
    assert list(wait) == ["tasks", "timeout", "connection"]
    assert wait["connection"].annotation is Connection
    audit = inspect.signature(operations.audit).parameters
    assert list(audit) == ["limit", "installation", "connection"]


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (table([1, 2], {"N>": lambda one: one, "TWICE": lambda one: one * 2}), "N  TWICE"),
        (table([], {"N": lambda one: one}), "none\n"),
        (facts({"a": 1}, [("a", 1), ("b", None)]), "a  1\n"),
        (lines(["x", "y"], ["x", "y"], 1), "x\ny\n"),
    ],
)
def test_prints_for_people_and_for_programs(
    printed: Printed, shown: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both have the same exit status; programs get one document."""
    assert printed.print(as_json=False) == printed.status
    assert capfd.readouterr().out.lstrip().startswith(shown)
    assert printed.print(as_json=True) == printed.status
    assert json.loads(capfd.readouterr().out) == printed.value


@pytest.mark.parametrize(
    ("line", "code"), [("kill", 2), ("wait --timeout soon x", 2), ("group limit g many", 2)]
)
def test_mistakes_come_before_a_server_that_is_missing(
    inside: Inside, tmp_path: Path, line: str, code: int
) -> None:
    """A wrong command line is told as such, whether a server runs or not."""
    arguments = [*line.split(), "--data", str(tmp_path)]
    assert inside(*arguments)[0] == code
    assert inside("why", "x", "--data", str(tmp_path))[0] == 69
