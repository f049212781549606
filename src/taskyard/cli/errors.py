"""Errors that end the command line: a sentence, the next step, and an exit status."""

import difflib
from collections.abc import Iterable
from typing import Final

from cyclopts import CycloptsError
from cyclopts.exceptions import (
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from taskyard.cli import exit_status

_CLOSE: Final = 0.7
"""Similarity of two names, without their dashes, from which one is suggested for the other. Below
it, or with the dashes, unrelated short options match: ``--foo`` and ``--before``."""


class CommandError(Exception):
    """End with a message for people and a code for scripts."""

    def __init__(
        self, message: str, code: int = exit_status.FAILED, *, what_to_do: str = ""
    ) -> None:
        self.message = message
        self.code = code
        self.what_to_do = what_to_do
        """The next step, as a sentence; may be empty."""
        super().__init__(message)


class UsageError(CommandError):
    """The command line is wrong."""

    def __init__(self, message: str, *, what_to_do: str = "") -> None:
        super().__init__(message, exit_status.USAGE, what_to_do=what_to_do)


def usage_error(error: CycloptsError) -> UsageError:
    """The command line's error for an error of its parser."""
    words = " ".join(("taskyard", *(error.command_chain or ())))
    return UsageError(_sentence(error, words), what_to_do=f"See '{words} --help'.")


def _sentence(error: CycloptsError, command: str) -> str:
    if isinstance(error, UnknownOptionError):
        option = (error.token.keyword or error.token.value).partition("=")[0]
        known = [
            name
            for argument in error.argument_collection
            if argument.parse and not argument.field_info.is_positional
            for name in argument.names
            if name.startswith("-")
        ]
        return f"'{command}' has no option {option}{_meant(option, known)}"
    if isinstance(error, UnknownCommandError):
        word = (error.unused_tokens or [""])[0]
        known = [name for name in error.app or () if not name.startswith("-")]
        return f"'{command}' has no command {word!r}{_meant(word, known)}"
    if isinstance(error, UnusedCliTokensError):
        rest = " ".join(repr(token) for token in error.unused_tokens or ())
        return f"'{command}' does not take {rest}"
    if type(error) is MissingArgumentError and error.argument is not None:
        if error.keyword is None and error.argument.field_info.is_positional:
            return f"'{command}' needs {error.argument.name.lstrip('-').replace('-', '_').upper()}"
        option = error.keyword or error.argument.name
        return f"{option} needs a value; write a value that begins with a dash as {option}=VALUE"
    return " ".join(str(error).split())


def _meant(given: str, known: Iterable[str]) -> str:
    bare = {name.strip("-"): name for name in known}
    close = difflib.get_close_matches(given.strip("-"), bare, n=1, cutoff=_CLOSE)
    return f". Did you mean {bare[close[0]]}?" if close else ""
