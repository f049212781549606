"""Compiles the small C part when the package is built or installed, where there is a compiler.

Without it everything works; starting commands as another user then costs more.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand: python hatch_build.py
    BuildHookInterface = object

_FOLDER = Path("src/taskyard/runtimes/command")


class CompileSpawn(BuildHookInterface):
    """Adds the compiled library to a wheel, or to the source tree of an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface's
        """Called before files are collected."""
        if compile_library(Path(self.root)):
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["artifacts"].append(f"/{_FOLDER}/spawn.so")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"


def compile_library(root: Path) -> bool:
    """Compile into the source tree; False where that cannot be done."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        return False
    built = root / _FOLDER / "spawn.so"
    beside = built.with_suffix(f".{os.getpid()}")
    command = [
        compiler,
        "-O2",
        "-shared",
        "-fPIC",
        "-o",
        str(beside),
        str(root / _FOLDER / "spawn.c"),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - the compiler
        beside.replace(built)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"spawn.c was not compiled: {error}\n")
        return False
    return True


if __name__ == "__main__":
    sys.exit(not compile_library(Path(__file__).parent))
