"""Where users of workspaces have to get to, so that functions can be built and run as them."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

import taskyard
from taskyard.runtimes.function.child.reaching import closed_above
from taskyard.runtimes.function.toolchains import TOOL_CHAINS
from taskyard.runtimes.function.toolchains.build import CHILD

_TRY: Final = (
    "import json, sys; sys.path.insert(0, sys.argv[1]); "
    "from taskyard.runtimes.function.child.reaching import open_up; "
    "open_up(json.loads(sys.argv[2]))"
)
_TRY_S: Final = 10.0
_MORE: Final = ("npm", "bundle")
"""Programs that are needed for dependencies only."""
_WHOLE: Final = frozenset({"go", "node", "ruby"})
"""What these need lies beside the directory that they are in."""


def closed_places(directory: Path) -> list[str]:
    """The directories with builds, interpreters and tool chains that others cannot get to.

    ``directory`` is the function runtime's. Those inside another one of them are left out.
    """
    found = {str(one) for one in _places(directory) if one.is_dir() and closed_above(str(one))}
    return [
        one
        for one in sorted(found)
        if not any(one != other and Path(one).is_relative_to(other) for other in found)
    ]


def obstacle_to_reach(places: list[str]) -> str | None:
    """Why these cannot be opened to other users on this machine; None if they can.

    Blocks for a moment: a process of its own tries it.
    """
    root = str(Path(taskyard.__file__).parent.parent)
    argument = msgspec.json.encode(places).decode()
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-I", "-S", "-c", _TRY, root, argument],
            capture_output=True,
            timeout=_TRY_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def tool_places(data: Path) -> list[str]:
    """The directories with our own code, interpreters and tool chains, for a sandbox to show.

    Left out is whatever would show the data directory ``data`` along with the rest of what is
    beside it, or the home of this process's user. Those inside others come after them.
    """
    hidden = (data.resolve(), Path.home().resolve(), Path.home().resolve() / ".local")
    package = Path(taskyard.__file__).parent
    found = {one for one in (package, *_tools(for_others=False)) if one.is_dir()}
    return sorted(
        str(one)
        for one in found
        if one.resolve() != Path("/")
        and not any(each == one.resolve() for each in hidden)
        and not hidden[1].is_relative_to(one.resolve())
    )


def _places(directory: Path) -> Iterator[Path]:
    yield directory
    yield from _tools(for_others=True)


def _tools(*, for_others: bool) -> Iterator[Path]:
    yield CHILD
    yield Path(sys.prefix)
    yield Path(sys.base_prefix)
    yield from _folders(sys.executable, for_others=for_others)
    programs = {one for chain in TOOL_CHAINS.values() for one in chain.programs} | set(_MORE)
    for program in sorted(programs):
        path = shutil.which(program)
        if path is None:
            continue
        yield from _folders(path, for_others=for_others)
        real = Path(path).resolve()
        if program in _WHOLE or "node_modules" in real.parts:
            whole = real.parent.parent
            if not for_others or whole.stat().st_mode & 0o001:
                yield whole


def _folders(path: str, *, for_others: bool) -> Iterator[Path]:
    """Directories of a program, along its symbolic links."""
    for _ in range(16):
        folder = Path(path).parent
        if not for_others or folder.stat().st_mode & 0o001:
            yield folder
            yield folder.resolve()
        if not Path(path).is_symlink():
            return
        path = str(folder / Path(path).readlink())
