"""Mistakes on the command line are answered with sentences that help."""

import pytest
from command_line import Inside


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "ls --befor x",
            "'taskyard ls' has no option --befor. Did you mean --before? See 'taskyard",
        ),
        ("ls --foo", "'taskyard ls' has no option --foo. See 'taskyard ls --help'."),
        ("ls --status=x", "'taskyard ls' has no option --status. Did you mean --state?"),
        ("kill --force x", "'taskyard kill' has no option --force. See 'taskyard kill --help'."),
        ("logs --tail 5 x", "'taskyard logs' has no option --tail. See"),
        (
            "run --retires 3 -- true",
            "'taskyard run' has no option --retires. Did you mean --retries?",
        ),
        ("ls running", "'taskyard ls' does not take 'running'."),
        ("logs", "'taskyard logs' needs TASK."),
        ("worker drain", "'taskyard worker drain' needs WORKER_ID."),
        (
            "run --in -5s -- true",
            "--in needs a value; write a value that begins with a dash as --in=",
        ),
        ("lst", "'taskyard' has no command 'lst'. Did you mean ls? See 'taskyard --help'."),
        (
            "function foo",
            "'taskyard function' has no command 'foo'. See 'taskyard function --help'.",
        ),
        ("kill -9 x", "-9 is not a task id. Name a signal with --signal"),
        ("run --metadata [1] -- true", "--metadata: '[1]' is not a JSON object."),
    ],
)
def test_misuse_is_told_in_words(inside: Inside, line: str, told: str) -> None:
    """What is wrong, what may have been meant if that is near, and where to read on."""
    code, out, err = inside(*line.split())
    assert (code, out) == (2, b"")
    assert err.decode().startswith(f"taskyard: {told}")
