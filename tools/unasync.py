"""Makes the synchronous client from the asynchronous one: ``python tools/unasync.py``.

``src/taskyard/sdk/sync`` is ``src/taskyard/sdk/aio`` without ``async`` and ``await``. With
``--check`` nothing is written: files that are not current are named, and the exit status is 1.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "src/taskyard/sdk/aio"
TARGET: Final = ROOT / "src/taskyard/sdk/sync"

_HEADER: Final = (
    "# Made by tools/unasync.py from taskyard/sdk/aio/{name}: change that file instead.\n"
)
_WORDS: Final = (
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsyncGenerator\[(.+), None\]", r"Generator[\1, None, None]"),
    (r"\bAwaitable\[([\w.]+)\]", r"\1"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\ba(close|read|iter_bytes|closing)\b", r"\1"),
    (r"\banyio\b", "time"),
    (r", on any AnyIO event loop", ". May be shared by threads"),
    (r"\btaskyard\.sdk\.aio\b", "taskyard.sdk.sync"),
    (r"\basynchronous\b", "synchronous"),
)


def synchronous(source: str, name: str) -> str:
    """The synchronous form of one file. Raises ``CalledProcessError`` if it is not Python."""
    for pattern, replacement in _WORDS:
        source = re.sub(pattern, replacement, source)
    rules = ["--select", "F401,I,UP028,C4", "--fix", "--unsafe-fixes", "--quiet"]
    text = _ruff(["check", *rules], name, _HEADER.format(name=name) + source)
    return _ruff(["format"], name, text)


def generated() -> dict[Path, str]:
    """Every synchronous file with the text it should have."""
    return {
        TARGET / path.name: synchronous(path.read_text(), path.name)
        for path in sorted(SOURCE.glob("*.py"))
        if path.name != "__init__.py"
    }


def _ruff(arguments: list[str], name: str, text: str) -> str:
    place = ["--stdin-filename", str(TARGET / name), "-"]
    program = [sys.executable, "-m", "ruff", *arguments, *place]
    done = subprocess.run(program, input=text, capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout


def main() -> int:
    """Write the files, or with ``--check`` compare them; the exit status."""
    stale = [
        (path, text)
        for path, text in generated().items()
        if not path.exists() or path.read_text() != text
    ]
    check = "--check" in sys.argv[1:]
    for path, text in stale:
        if not check:
            path.write_text(text)
        print(f"{path.relative_to(ROOT)} {'is not current' if check else 'written'}")  # noqa: T201 - a command
    if check and stale:
        print("run: make generate")  # noqa: T201 - a command
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
