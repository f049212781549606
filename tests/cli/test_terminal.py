"""What people see on a terminal."""

import os
import pty
from pathlib import Path

from command_line import PROGRAM, Program, read_terminal


def screen(
    environment: dict[str, str], tmp_path: Path, *arguments: str, until: bytes = b""
) -> tuple[int, str]:
    """Run the command line on a terminal; exit code and everything it printed.

    Once ``until`` is seen, Ctrl-C is pressed.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        wide = {**environment, "COLUMNS": "160"}
        os.execve(PROGRAM[0], [*PROGRAM, *arguments], wide)  # noqa: S606 - behind a fork
    printed = b""
    try:
        while data := read_terminal(terminal, printed):
            printed += data
            if until and until in printed:
                os.write(terminal, b"\x03")
                until = b""
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(status), printed.decode().replace("\r\n", "\n")


def test_tables_on_a_terminal(
    environment: dict[str, str], tmp_path: Path, program: Program
) -> None:
    """A list is a table for people, without colours under NO_COLOR."""
    program("submit", "-n", "[red]name", "-s", "echo '\x1b[31m'; exit 3")
    program("wait")
    code, shown = screen(environment, tmp_path, "ls", "--limit", "1")
    assert code == 0
    assert "COMMAND" in shown
    assert "[red]name" in shown
    assert "\x1b[3" not in shown
    code, shown = screen(environment, tmp_path, "show", "@last")
    assert "exit code  3" in shown
    assert "TRY" in shown
    assert "\x1b[31m" not in shown
    code, shown = screen(environment, tmp_path, "why", "@last")
    assert shown.startswith("failed: it is failed\n  - attempt 1 ran")
    code, shown = screen(environment, tmp_path, "kill", "@last")
    assert code == 1
    assert "ended" in shown


def test_json_on_a_terminal_is_indented(environment: dict[str, str], tmp_path: Path) -> None:
    """``--json`` works on a terminal, too."""
    code, shown = screen(environment, tmp_path, "group", "show", "x", "--json")
    assert code == 0
    assert shown.startswith('{\n  "name": "x",')


def test_doctor_on_a_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    """The doctor's findings are a table."""
    _, shown = screen(environment, tmp_path, "doctor")
    assert "WHAT TO DO" in shown
    assert "cgroups" in shown


def test_watch_keeps_the_table_until_interrupted(
    environment: dict[str, str], tmp_path: Path, program: Program
) -> None:
    """``ls --watch`` draws the table, and Ctrl-C ends it."""
    program("submit", "-g", "seen", "--", "true")
    code, shown = screen(environment, tmp_path, "ls", "--watch", "-g", "seen", until=b"seen")
    assert code == 130
    assert "COMMAND" in shown


def test_batch_is_summed_up(environment: dict[str, str], tmp_path: Path) -> None:
    """A batch ends with how many were submitted, after a progress bar."""
    (tmp_path / "specs").write_text('{"command": "true", "idempotency_key": "b"}\n' * 3)
    code, shown = screen(environment, tmp_path, "submit", "-f", "specs")
    assert code == 0
    assert shown.endswith("1 submitted, 2 already known\n")
