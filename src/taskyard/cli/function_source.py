"""Source of functions on this machine: templates for new ones, and what is deployed."""

import io
import os
import sys
import zipfile
from pathlib import Path
from typing import Final

from taskyard.cli import exits
from taskyard.cli.errors import Misuse, Stop

SKIPPED: Final = frozenset({"__pycache__", "node_modules", "env", "venv"})
_MOST_BYTES: Final = 50 << 20
_PYTHON: Final = '''"""{name}: a function for Taskyard."""


def handle(request):
    """Answer a call: text, bytes, JSON, or (status, headers, body)."""
    who = request.query.get("name") or request.text or "world"
    print(f"greeting {{who}}")
    return {{"message": f"Hello, {{who}}!"}}
'''
_JAVASCRIPT: Final = """// {name}: a function for Taskyard.

// Answer a call: text, a Buffer, JSON, or {{ statusCode, headers, body }}.
module.exports = async (request) => {{
  const who = request.query.name || request.text || 'world';
  console.log(`greeting ${{who}}`);
  return {{ message: `Hello, ${{who}}!` }};
}};
"""
TEMPLATES: Final[dict[str, dict[str, str]]] = {
    "python": {"handler.py": _PYTHON, "requirements.txt": "# One requirement a line.\n"},
    "javascript": {"handler.js": _JAVASCRIPT},
}


def write_template(directory: Path, language: str) -> list[Path]:
    """Write a new function. Raises ``Stop`` if a file of it is there already."""
    if language not in TEMPLATES:
        raise Misuse(f"there is no template for {language!r}; there are python and javascript")
    files = {directory / name: text for name, text in TEMPLATES[language].items()}
    for path in files:
        if path.exists():
            raise Stop(f"{path} is there already", what_to_do="Choose another directory.")
    directory.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text.format(name=directory.resolve().name), encoding="utf-8")
    return list(files)


def bundle_of(path: Path) -> bytes:
    """A file as it is, or a directory as a zip archive; the same bytes for the same content.

    Left out are hidden files, caches and installed dependencies. Raises ``Stop``.
    """
    try:
        content = _zipped(path) if path.is_dir() else path.read_bytes()
    except OSError as error:
        raise Stop(f"{path}: {error.strerror}", exits.NOT_FOUND) from error
    if len(content) > _MOST_BYTES:
        raise Stop(f"{path} has more than {_MOST_BYTES >> 20} MiB", exits.INVALID)
    return content


def language_of(path: Path) -> str | None:
    """What the source is written in, by its files; None if that cannot be told."""
    names = {one.name for one in path.iterdir()} if path.is_dir() else {path.name}
    inner = path / "function"
    if inner.is_dir():
        names |= {one.name for one in inner.iterdir()}
    if any(name.endswith(".py") for name in names):
        return "python"
    if any(name.endswith((".js", ".mjs")) for name in names):
        return "javascript"
    return None


def body_of(text: str | None) -> bytes:
    """The body a command line asks for; ``-`` is standard input."""
    if text == "-":
        return sys.stdin.buffer.read()
    return b"" if text is None else text.encode()


def pairs_of(given: list[str] | None) -> dict[str, str] | None:
    """``NAME=VALUE`` as a mapping. Raises ``Misuse``."""
    if not given:
        return None
    pairs = {}
    for one in given:
        name, sign, value = one.partition("=")
        if not sign:
            raise Misuse(f"--query: {one!r} is not NAME=VALUE")
        pairs[name] = value
    return pairs


def _zipped(path: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, directories, names in os.walk(path):
            directories[:] = sorted(
                one for one in directories if one not in SKIPPED and not one.startswith(".")
            )
            for name in sorted(names):
                if name.startswith("."):
                    continue
                file = Path(folder) / name
                if file.is_file() and not file.is_symlink():
                    info = zipfile.ZipInfo(str(file.relative_to(path)))
                    info.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(info, file.read_bytes())
    return buffer.getvalue()
