"""Go's own library, compiled once for a worker: newer tool chains come without, and it takes long.

Each build begins its private cache with what is here. Nothing but the library gets in: what a
build adds is in its own directory, and gone with it. Builds of Go run no code of the source. Where
builds run as users of workspaces, the library is compiled by the server's own user, and copied.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio.to_thread

from taskyard.runtimes.function.integrity import sync_below
from taskyard.runtimes.function.toolchains.build import Build

_PACKAGES: Final = ("net/http", "encoding/xml", "os/exec", "regexp", "runtime/debug")
"""What our instance needs, and a few that many handlers do; they import most of the others."""


async def begin_cache(build: Build, go: str, environment: dict[str, str], cache: Path) -> None:
    """Make a cache that has the library. Raises ``BuildFailed`` if that does not compile.

    Args:
        build: the build under way.
        go: the program.
        environment: that of the steps; its GOCACHE is not looked at.
        cache: a directory that is not there yet.
    """
    empty = build.scratch / "empty"
    empty.mkdir()
    (empty / "go.mod").write_text("module empty\n", encoding="utf-8")
    versions: list[str] = []
    failure = "go does not run"
    await build.run_ours([go, "version"], empty, failure, environment, versions.append)
    digest = hashlib.sha256("\n".join([go, *versions]).encode()).hexdigest()
    kept = build.shared / f"go-{digest[:16]}"
    if not kept.is_dir():
        build.say("compiling Go's own library, once for this worker")
        fresh = build.scratch / "library"
        command = [go, "build", *_PACKAGES]
        failure = "Go's own library does not compile"
        await build.run_ours(command, empty, failure, {**environment, "GOCACHE": str(fresh)})
        await anyio.to_thread.run_sync(_keep, fresh, kept)
    # What is linked would become the user's along with the build, for all other builds too; and
    # a sandbox would not keep it from being written.
    is_shared = not build.is_apart
    await anyio.to_thread.run_sync(_copy_cache, kept, cache, os.link if is_shared else shutil.copy)


def _keep(fresh: Path, kept: Path) -> None:
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    for old in kept.parent.glob("go-*"):
        if old != kept:
            shutil.rmtree(old, ignore_errors=True)
    # Nobody looks at it again: after a power cut it has to be whole, or not there.
    sync_below(fresh)
    try:
        fresh.rename(kept)
    except OSError:
        if not kept.is_dir():  # otherwise another build was first
            raise


def _copy_cache(kept: Path, cache: Path, copy: Callable[[str, str], object]) -> None:
    """Files may be shared, names are not: Go never changes what it has written to a cache."""
    try:
        shutil.copytree(kept, cache, copy_function=copy)
    except OSError:
        # Replaced by that of another version just now: without it, this build takes longer.
        shutil.rmtree(cache, ignore_errors=True)
