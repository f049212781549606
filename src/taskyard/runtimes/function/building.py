"""Builds versions: unpacks what was deployed and leaves the rest to the language's tool chain.

What can run code of others (installing, compiling) is a process in a session and cgroup of its
own, with limits, and nothing of it survives the step, nor the server: see :mod:`.steps`.

Where workspaces have users, steps run as them. This process writes what it has to before the first
of them, and nothing until the build is finished: then the build becomes root's, readable by its
user (:mod:`.ownership`). Where the wall is a sandbox, steps run in one (:mod:`.sandbox`) that shows
nothing of the data directory but the build.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
from msgspec.structs import replace

from taskyard.core.access.work_identity import SERVER, Identity, Sandbox
from taskyard.core.functions.functions import IMAGE_ONLY, FunctionId, Version, image_advice
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.integrity import intact_manifest, sizes_below, sync, sync_below
from taskyard.runtimes.function.manifest import MANIFEST, Manifest, version_directory
from taskyard.runtimes.function.ownership import ids, refuse_odd_files, take_back
from taskyard.runtimes.function.reachability import closed_places
from taskyard.runtimes.function.sandbox import sandboxed
from taskyard.runtimes.function.steps import Say, Steps
from taskyard.runtimes.function.toolchains import TOOL_CHAINS
from taskyard.runtimes.function.toolchains.build import Build
from taskyard.runtimes.function.unpacking import UnpackLimits, unpack


class LocalBuilder:
    """Implements ``ports.functions.Builder`` on this machine.

    Args:
        directory: the function runtime's.
        timeout_s: seconds one step may take.
        unpacking: what archives may become.
        use_cgroups: False relies on sessions alone, as happens by itself without cgroups.
    """

    def __init__(
        self,
        directory: Path,
        timeout_s: float = 300.0,
        unpacking: UnpackLimits = UnpackLimits(),  # noqa: B008 - frozen
        *,
        use_cgroups: bool = True,
    ) -> None:
        self._directory = directory.absolute()
        self._unpacking = unpacking
        closed = partial(closed_places, self._directory)
        self._steps = Steps(self._directory, timeout_s, closed, use_cgroups=use_cgroups)

    async def open(self) -> None:
        """See the port."""
        await anyio.to_thread.run_sync(self._steps.sweep)

    async def build(
        self,
        version: Version,
        bundle: bytes,
        say: Say,
        identity: Identity = SERVER,
        sandbox: Sandbox | None = None,
    ) -> None:
        """See the port."""
        final = version_directory(self._directory, version.function_id, version.number)
        place = final.with_name(f"{final.name}.new")
        await anyio.to_thread.run_sync(_clear, place)
        try:
            inside = sandbox is not None and identity.uid is None
            build, manifest = await self._make(
                version, bundle, place, say, identity, is_sandboxed=inside
            )
            await anyio.to_thread.run_sync(_finish, build, final, manifest)
        except OSError as error:
            raise BuildFailed(f"it could not be written: {error.strerror}") from error
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_remove, place)

    async def is_built(self, version: Version) -> bool:
        """See the port."""
        place = version_directory(self._directory, version.function_id, version.number)
        try:
            await anyio.to_thread.run_sync(intact_manifest, place)
        except (OSError, msgspec.DecodeError):
            return False
        return True

    async def built_here(self) -> dict[FunctionId, list[int]]:
        """See the port."""
        return await anyio.to_thread.run_sync(_built, self._directory / "builds")

    async def retire(self, function_id: FunctionId, numbers: Sequence[int]) -> None:
        """See the port."""
        for number in numbers:
            place = version_directory(self._directory, function_id, number)
            await anyio.to_thread.run_sync(_remove, place)

    async def _make(
        self,
        version: Version,
        bundle: bytes,
        place: Path,
        say: Say,
        identity: Identity,
        *,
        is_sandboxed: bool,
    ) -> tuple[Build, Manifest]:
        tool_chain = TOOL_CHAINS.get(version.language)
        single = "handler" if tool_chain is None else tool_chain.single
        user = None if identity.uid is None else ids(identity)
        count = await unpack(bundle, place / "code", single, self._unpacking, user)
        say(f"unpacked {count} file{'' if count == 1 else 's'}")
        if tool_chain is None:
            text = f"there is no tool chain for {version.language.value} on this worker"
            if version.language in IMAGE_ONLY:
                text += f": {image_advice(version.language)}"
            raise BuildFailed(text)
        shared = self._directory / "toolchains"
        sandbox = partial(_sandbox, self._directory.parent, place) if is_sandboxed else None
        build = Build(version, place, say, self._steps, shared, identity, sandbox)
        await anyio.to_thread.run_sync(build.prepare)
        return build, await tool_chain.make(build)


def _sandbox(data: Path, place: Path, cwd: Path) -> list[str]:
    try:
        return sandboxed(data, [], [place], cwd)
    except RuntimeUnavailable as error:
        raise BuildFailed(str(error)) from error


def _built(builds: Path) -> dict[FunctionId, list[int]]:
    found: dict[FunctionId, list[int]] = {}
    for place in builds.glob("*/*"):
        if place.name.isdecimal():
            found.setdefault(FunctionId(place.parent.name), []).append(int(place.name))
    return found


def _clear(place: Path) -> None:
    for above in reversed(place.parents[:3]):
        # Others may pass through, so that a user of a workspace finds its builds.
        above.mkdir(mode=0o711, parents=True, exist_ok=True)
        above.chmod(0o711)
    _remove(place)
    place.mkdir(mode=0o700)


def _remove(place: Path) -> None:
    with contextlib.suppress(RecursionError):
        shutil.rmtree(place, ignore_errors=True)
    if place.exists():
        # Directories too deep inside each other for us.
        subprocess.run(["/bin/rm", "-rf", "--", str(place)], check=False)  # noqa: S603 - our own path


def _finish(build: Build, final: Path, manifest: Manifest) -> None:
    """Put a finished build in its place; virtual environments need not know where they are.

    All of it is on disk then: who reads that a version is ready may call it after a power cut, too.
    """
    place, identity = build.place, build.identity
    _remove(build.scratch)
    if identity.uid is not None:
        owner = identity.uid if build.is_handed_over else os.geteuid()
        take_back(place, owner, identity)
    elif build.sandbox is not None:
        refuse_odd_files(place)
    (place / MANIFEST).unlink(missing_ok=True)
    listed = replace(manifest, files=sizes_below(place))
    with (place / MANIFEST).open("xb") as file:
        file.write(msgspec.json.encode(listed))
    sync_below(place)
    _remove(final)
    place.rename(final)
    sync(final.parent)
