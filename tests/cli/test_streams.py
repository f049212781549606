"""Standard streams that are closed or full, and arguments that are not text."""

import json
import subprocess
from pathlib import Path

import pytest
from command_line import PROGRAM, Finished, Program

Environment = dict[str, str]


def through_shell(line: str, environment: Environment, place: Path, *extra: bytes) -> Finished:
    """Run a line of a shell in which ``"$@"`` is the program."""
    return subprocess.run(
        ["sh", "-c", line, "sh", *PROGRAM, *extra],
        env=environment,
        cwd=place,
        capture_output=True,
        timeout=40,
        check=False,
    )


@pytest.mark.parametrize("arguments", ["run -- echo hi", "submit -- true", "ls", "version"])
@pytest.mark.parametrize("closed", [">&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_matter(
    environment: Environment, tmp_path: Path, arguments: str, closed: str
) -> None:
    """What was asked for is done, and the exit status is its own."""
    done = through_shell(f'"$@" {arguments} {closed}', environment, tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


def test_output_of_a_command_without_a_place_to_go(
    environment: Environment, tmp_path: Path
) -> None:
    """With standard error closed, a command that writes there still ends as it does."""
    done = through_shell('"$@" run --shell "echo e >&2; exit 4" 2>&-', environment, tmp_path)
    assert done.returncode == 4


@pytest.mark.parametrize(
    ("arguments", "code"), [("run -- echo hi", 125), ("ls --json", 74), ("show --json @last", 74)]
)
def test_a_full_disk_behind_standard_output(
    environment: Environment, tmp_path: Path, program: Program, arguments: str, code: int
) -> None:
    """The exit status and a sentence say that the output was lost."""
    assert program("submit", "--", "true").returncode == 0
    done = through_shell(f'"$@" {arguments} >/dev/full', environment, tmp_path)
    assert done.returncode == code
    assert b"standard output cannot be written: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (b"run", b"--", b"printf", b"a\xffb"),
        (b"run", b"--env", b"X=a\xffb", b"--", b"true"),
        (b"submit", b"--name", b"a\xffb", b"--", b"true"),
        (b"ls", b"--group", b"a\xffb"),
    ],
)
def test_arguments_that_are_not_text(
    environment: Environment, tmp_path: Path, program: Program, arguments: tuple[bytes, ...]
) -> None:
    """They are refused in words before anything is submitted."""
    before = program("ls", "--json").stdout
    done = through_shell('"$@"', environment, tmp_path, *arguments)
    assert done.returncode == 2
    assert b"not valid UTF-8" in done.stderr
    assert b"defect" not in done.stderr
    assert program("ls", "--json").stdout == before


def test_the_history_of_an_ended_task_ends(program: Program) -> None:
    """It is printed whole, as lines, and the command returns."""
    assert program("run", "-q", "--", "true").returncode == 0
    done = program("events", "@last", "--json")
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert kinds[0] == "submitted"
    assert len(kinds) == len(json.loads(program("events", "@last", "--history", "--json").stdout))
