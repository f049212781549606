"""Where the options of Taskyard end and the command of a task begins.

As in ``env``, ``nice`` or ``docker run``, the first word that is neither an option nor the value of
one begins the command, and everything after it is the command's own: ``taskyard run echo -n hi``
prints ``hi``, and ``taskyard run git --version`` prints git's version. The parser alone would look
for options everywhere before a ``--``.
"""

from collections.abc import Sequence
from typing import Final

from cyclopts import App, Argument

END: Final = "--"
_OWN_OPERANDS: Final = {("run",): 0, ("submit",): 0, ("cron", "add"): 1}
"""Commands that take a command, and how many operands of their own come before it."""


def with_end_of_options(app: App, arguments: Sequence[str]) -> list[str]:
    """These arguments with a ``--`` before the command of a task, if they hold one."""
    for words, operands in _OWN_OPERANDS.items():
        if tuple(arguments[: len(words)]) == words:
            rest = list(arguments[len(words) :])
            at = _command_index(_value_counts(_command(app, words)), rest, operands)
            return [*words, *rest[:at], END, *rest[at:]] if at is not None else list(arguments)
    return list(arguments)


def _command(app: App, words: Sequence[str]) -> App:
    for word in words:
        app = app[word]
    return app


def _value_counts(command: App) -> dict[str, int]:
    """How many values follow each option."""
    counts: dict[str, int] = {}
    arguments: Sequence[Argument] = command.assemble_argument_collection()
    for argument in arguments:
        count = argument.token_count()[0]
        negatives = set(argument.negatives)
        counts |= {name: 0 if name in negatives else count for name in argument.names}
    return counts


def _command_index(counts: dict[str, int], rest: Sequence[str], operands: int) -> int | None:
    """Where the command begins; None if there is none, or if ``--`` says so already."""
    at = 0
    while at < len(rest):
        word = rest[at]
        if word == END:
            return None
        if word.startswith("-") and word != "-":
            at += 1 + _values_after(counts, word)
        elif operands:
            operands -= 1
            at += 1
        else:
            return at
    return None


def _values_after(counts: dict[str, int], word: str) -> int:
    """How many of the words after an option are its values; none for an unknown one."""
    if word.startswith("--") or word in counts:
        return 0 if "=" in word else counts.get(word, 0)
    # Several short ones in one word: a value is what follows the first that takes one, such as
    # in -dn NAME or -dnNAME.
    for place, letter in enumerate(word[1:], 2):
        if count := counts.get("-" + letter, 0):
            return count if place == len(word) else 0
    return 0
