"""Passwords and secrets: from standard input, or typed without being shown."""

import getpass
import sys

from taskyard.cli.errors import Misuse


def read_hidden(from_stdin: bool, what: str, flag: str) -> str:
    """The value, without the line end behind it. Raises :class:`Misuse` when there is none."""
    if from_stdin:
        try:
            value = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise Misuse(f"{flag}: standard input is no UTF-8 text") from error
        value = value.removesuffix("\n").removesuffix("\r")
    elif sys.stdin.isatty():
        value = getpass.getpass(f"{what}: ")
    else:
        raise Misuse(f"no {what.lower()} given", what_to_do=f"Pipe it in with {flag}.")
    if not value:
        raise Misuse(f"the {what.lower()} is empty")
    return value
