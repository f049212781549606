"""Removing what the work of a released attempt left behind, many attempts in one go."""

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

_log = structlog.get_logger(__name__)


def clean_all(directories: Sequence[Path], clean_work: Callable[[str], None] | None = None) -> None:
    """Remove what these attempts made in their working directories, and their input. Blocks.

    ``clean_work`` does so for working directories that lie elsewhere, by the attempt's name.
    """
    for directory in directories:
        with contextlib.suppress(OSError):
            (directory / "stdin").unlink(missing_ok=True)
            if clean_work is None:
                _empty(directory / "work")
            else:
                clean_work(directory.name)


def _empty(work: Path) -> None:
    """Remove a working directory that was used; an empty one can serve the next attempt."""
    try:
        with os.scandir(work) as entries:
            if next(entries, None) is None:
                return
    except FileNotFoundError:
        return
    except OSError:
        _log.debug("working directory is closed", path=str(work))
    remove(work)


def remove(work: Path) -> None:
    """Remove a directory with all it holds, whatever rights were taken from it. Blocks."""
    if work.exists():
        shutil.rmtree(work, onerror=_open_up)


def _open_up(_function: Any, path: str, _error: object) -> None:
    """Let ``rmtree`` into a directory that the command has closed; give up on what resists."""
    entry = Path(path)
    with contextlib.suppress(OSError):
        entry.parent.chmod(0o700)
        if entry.is_symlink() or not entry.is_dir():
            entry.unlink(missing_ok=True)
        else:
            entry.chmod(0o700)
            shutil.rmtree(entry, ignore_errors=True)
