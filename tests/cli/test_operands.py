"""Where our options end and a task's command begins."""

import pytest
from command_line import Inside, Program

from taskyard import __version__
from taskyard.cli.main import build
from taskyard.cli.operands import with_end_of_options


@pytest.mark.parametrize(
    ("line", "understood"),
    [
        ("run echo --version", "run -- echo --version"),
        ("run echo -n hi", "run -- echo -n hi"),
        ("run -n name echo -n hi", "run -n name -- echo -n hi"),
        ("run -dn name echo -d", "run -dn name -- echo -d"),
        ("run -dnname echo -d", "run -dnname -- echo -d"),
        ("run --name=name -d echo --help", "run --name=name -d -- echo --help"),
        ("run --isolate -e A=1 -e B=2 env -i", "run --isolate -e A=1 -e B=2 -- env -i"),
        ("run --stdin-file - cat -", "run --stdin-file - -- cat -"),
        ("run -p -5 git log -- file", "run -p -5 -- git log -- file"),
        ("run - x", "run -- - x"),
        ("run --no-quiet --json true --json", "run --no-quiet --json -- true --json"),
        ("run --json -- git log -- file", "run --json -- git log -- file"),
        ("run -s line", "run -s line"),
        ("run --help", "run --help"),
        ("submit -g mail ls --help", "submit -g mail -- ls --help"),
        ("submit -f specs", "submit -f specs"),
        ("cron add RULE --tz UTC date -u", "cron add RULE --tz UTC -- date -u"),
        ("cron add --tz UTC RULE -- date -u", "cron add --tz UTC RULE -- date -u"),
        ("cron ls --json", "cron ls --json"),
        ("logs --help", "logs --help"),
        ("", ""),
    ],
)
def test_the_command_begins_with_the_first_operand(line: str, understood: str) -> None:
    """Whatever is behind it is the command's, as in ``env`` and ``docker run``."""
    assert " ".join(with_end_of_options(build(), line.split())) == understood


def test_options_behind_the_command_are_its_own(program: Program) -> None:
    """Also those that we know ourselves."""
    done = program("run", "-q", "printf", "[%s]", "--version", "--help", "-n", "--json")
    assert (done.returncode, done.stdout) == (0, b"[--version][--help][-n][--json]")
    assert program("run", "--", "printf", "%s", "--help").stdout == b"--help"


@pytest.mark.parametrize(
    "line", ["ls --version", "function ls --version", "token create x --version"]
)
def test_only_the_program_has_a_version(inside: Inside, line: str) -> None:
    """Commands print neither it nor that of a library."""
    assert inside("--version")[1].decode().strip() == __version__
    code, out, err = inside(*line.split())
    assert (code, out) == (2, b"")
    assert b"--version" in err
