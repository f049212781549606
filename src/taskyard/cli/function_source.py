"""Source of functions on this machine: new ones, and what is deployed."""

import io
import os
import shlex
import sys
import zipfile
from pathlib import Path
from typing import Final

from taskyard.cli import exit_status
from taskyard.cli.errors import CommandError, UsageError
from taskyard.cli.function_templates import (
    IMAGE_LANGUAGES,
    SUFFIXES,
    TEMPLATES,
    image_source,
)

SKIPPED: Final = frozenset({"__pycache__", "node_modules", "env", "venv"})
_MOST_BYTES: Final = 50 << 20
_MADE: Final = {"target": "Cargo.toml", "bin": "*.csproj", "obj": "*.csproj"}
"""Directories that compilers make, and beside what."""


def write_template(directory: Path, language: str) -> list[Path]:
    """Write a new function. Raises ``CommandError`` if a file of it is there already."""
    if language in IMAGE_LANGUAGES:
        texts = image_source(language)
    elif language in TEMPLATES:
        called = directory.resolve().name
        texts = {name: text.format(name=called) for name, text in TEMPLATES[language].items()}
    else:
        known = ", ".join((*TEMPLATES, *IMAGE_LANGUAGES))
        raise UsageError(f"{language!r} has no template; choose one of: {known}")
    files = {directory / name: text for name, text in texts.items()}
    for path in files:
        if path.exists():
            raise CommandError(f"{path} already exists", what_to_do="Choose another directory.")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(files)


def next_steps(name: str, directory: str) -> str:
    """How a directory with the source of an image becomes a function."""
    build = shlex.join(["docker", "build", "--tag", name, directory])
    deploy = shlex.join(["taskyard", "function", "deploy", name, "--image", name])
    return f"{build} && {deploy}"


def bundle_of(path: Path) -> bytes:
    """A file as it is, or a directory as a zip archive; the same bytes for the same content.

    Left out are hidden files, caches and installed dependencies. Raises ``CommandError``.
    """
    try:
        content = _zipped(path) if path.is_dir() else path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", exit_status.NOT_FOUND) from error
    if len(content) > _MOST_BYTES:
        raise CommandError(f"{path} is larger than {_MOST_BYTES >> 20} MiB", exit_status.INVALID)
    return content


def language_of(path: Path) -> str | None:
    """What the source is written in, by its files; None if that cannot be told."""
    ends = {path.suffix}
    for places in (("", "function"), ("src", "function/src")):
        folders = [path / one for one in places if (path / one).is_dir()]
        ends |= {one.suffix for folder in folders for one in folder.iterdir()}
        for end, language in SUFFIXES.items():
            if end in ends:
                return language
    return None


def body_of(text: str | None) -> bytes:
    """The body a command line asks for; ``-`` is standard input."""
    if text == "-":
        return sys.stdin.buffer.read()
    return b"" if text is None else text.encode()


def pairs_of(given: list[str] | None) -> dict[str, str] | None:
    """``NAME=VALUE`` as a mapping. Raises ``UsageError``."""
    if not given:
        return None
    pairs = {}
    for one in given:
        name, sign, value = one.partition("=")
        if not sign:
            raise UsageError(f"--query: {one!r} is not NAME=VALUE")
        pairs[name] = value
    return pairs


def _zipped(path: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, directories, names in os.walk(path):
            directories[:] = sorted(
                one
                for one in directories
                if one not in SKIPPED
                and not one.startswith(".")
                and not (one in _MADE and any(Path(folder).glob(_MADE[one])))
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
