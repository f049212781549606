"""Keeps names and wording that newcomers cannot guess out of the tree; a part of ``make check``.

``python tools/check_words.py [FILE …]`` looks at the files that git knows, or at those named. It
prints ``path:line: word: write …`` for each find, and ends with status 1 if there is any. The lists
are in ``tools/words.toml``: words, names of modules, names of classes, and phrases.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

LISTS: Final = Path(__file__).with_name("words.toml")
READ: Final = frozenset({".py", ".md", ".sql", ".js", ".mjs", ".rb", ".go", ".c", ".html", ".toml"})
EXEMPT: Final = ("CHANGELOG.md", "tools/words.toml", "tests/tools/test_check_words.py")
"""The changelog tells what was; the lists and their test have to say the words."""
KEPT: Final = "# kept: "
"""Says why a line has to say a listed word, such as a name that is on disk already."""
_CLASS: Final = re.compile(r"^\s*class (\w+)")


class Found(NamedTuple):
    """One word that should not be there."""

    path: str
    line: int
    word: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word}: write {self.instead}"


class Lists:
    """What is kept out, and what to write instead. Raises ``KeyError`` if a list is missing."""

    def __init__(self, source: str) -> None:
        lists: dict[str, dict[str, str]] = tomllib.loads(source)
        self._modules, self._classes = lists["modules"], lists["classes"]
        self._anywhere = [
            # A part of a name as well: in snake case and in camel case.
            (re.compile(rf"(?:(?<![A-Za-z]){word}|{word.capitalize()})(?![a-rt-z])"), word, instead)
            for word, instead in lists["words"].items()
        ]
        self._phrases = [
            (re.compile(rf"\b{phrase}\b", re.IGNORECASE), phrase, instead)
            for phrase, instead in lists["phrases"].items()
        ]

    def finds(self, path: str, text: str) -> Iterator[Found]:
        """What of ``text``, the content of the file ``path``, should be said otherwise."""
        stem = Path(path).stem
        is_python = path.endswith(".py")
        if is_python and path.startswith("src/") and stem in self._modules:
            yield Found(path, 1, f"module {stem}", self._modules[stem])
        for number, line in enumerate(text.splitlines(), 1):
            if KEPT in line:
                continue
            declared = _CLASS.match(line) if is_python else None
            if declared and declared[1] in self._classes:
                yield Found(path, number, f"class {declared[1]}", self._classes[declared[1]])
            for pattern, word, instead in (*self._anywhere, *self._phrases):
                if pattern.search(line):
                    yield Found(path, number, word, instead)


def check(lists: Lists, root: Path, paths: Iterable[str]) -> list[Found]:
    """Look at those files below ``root`` that hold text of ours. Raises ``OSError``."""
    found: list[Found] = []
    for path in paths:
        file = root / path
        if file.suffix in READ and path not in EXEMPT and file.is_file():
            found += lists.finds(path, file.read_text())
    return found


def main(named: list[str]) -> int:
    """The exit status."""
    root = LISTS.parent.parent
    if not named:
        listing = subprocess.run(
            ("git", "ls-files", "-z"), cwd=root, check=True, capture_output=True, text=True
        )
        named = listing.stdout.split("\0")
    found = check(Lists(LISTS.read_text()), root, named)
    for one in found:
        print(one)  # noqa: T201 - a command
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
