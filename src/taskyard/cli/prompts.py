"""Questions at the terminal, and passwords that are typed without being shown."""

import getpass
import select
import signal
import sys
from pathlib import Path

from taskyard.cli.errors import UsageError

_LOOK_AGAIN_S = 0.25


def read_hidden(from_stdin: bool, what: str, flag: str) -> str:
    """The value, without its line end. Raises :class:`UsageError` if there is none."""
    if from_stdin:
        try:
            value = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise UsageError(f"{flag}: standard input is not valid UTF-8") from error
        value = value.removesuffix("\n").removesuffix("\r")
    elif sys.stdin.isatty():
        value = getpass.getpass(f"{what}: ")
    else:
        raise UsageError(f"no {what.lower()} given", what_to_do=f"Pipe it in with {flag}.")
    if not value:
        raise UsageError(f"the {what.lower()} is empty")
    return value


def ask(question: str) -> str | None:
    """The first letter of an answer typed at the terminal, in lower case.

    None without a terminal. Ctrl-C and end of file answer ``d``.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Path("/dev/tty").open("r+b", buffering=0) as terminal:
            terminal.write(f"\n{question} ".encode())
            # Looked at again and again: an interrupt just before a read begins would not end it.
            while not select.select([terminal], [], [], _LOOK_AGAIN_S)[0]:
                pass
            line = terminal.readline()
    except OSError:
        return None
    except KeyboardInterrupt:
        return "d"
    finally:
        signal.signal(signal.SIGINT, before)
    return line.decode("utf-8", "replace").strip().lower()[:1] if line else "d"


def can_ask() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() or sys.stderr.isatty()
