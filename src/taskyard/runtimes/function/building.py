"""Builds versions: unpacks, installs dependencies, checks that the handler compiles.

What can run code of others (installing, compiling) is a process in a session and cgroup of its
own, with limits, and nothing of it survives the step.
"""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec
from anyio.streams.text import TextReceiveStream

from taskyard.core.functions import FunctionId, Language, Version
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.cages import Cages
from taskyard.runtimes.function.manifest import MANIFEST, Manifest, version_directory
from taskyard.runtimes.function.pool import kill_all
from taskyard.runtimes.function.unpacking import unpack

_BUILD_MEMORY: Final = 2 << 30
_BUILD_PIDS: Final = 1024
_LINE_MAX: Final = 2000
_FILES: Final = {Language.PYTHON: "handler.py", Language.JAVASCRIPT: "handler.js"}
_FOUND: Final = {
    Language.PYTHON: ("handler.py", "function/handler.py"),
    Language.JAVASCRIPT: (
        "handler.js",
        "function/handler.js",
        "handler.mjs",
        "function/handler.mjs",
        "index.js",
    ),
}
_PASSED: Final = ("HOME", "PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")
_PASSED_PREFIXES: Final = ("PIP_", "NPM_CONFIG_")
_CHECK_PYTHON: Final = (
    "import sys, tokenize\n"
    "with tokenize.open(sys.argv[1]) as file: source = file.read()\n"
    "try: compile(source, sys.argv[2], 'exec')\n"
    "except (SyntaxError, ValueError) as error: sys.exit(f'{type(error).__name__}: {error}')\n"
)

Say = Callable[[str], None]


class LocalBuilder:
    """Implements ``ports.functions.Builder`` on this machine.

    Args:
        directory: the function runtime's.
        timeout_s: seconds one step may take.
    """

    def __init__(self, directory: Path, timeout_s: float = 300.0) -> None:
        self._directory = directory.absolute()
        self._timeout_s = timeout_s
        self._count = 0

    async def build(self, version: Version, bundle: bytes, say: Say) -> None:
        """See the port."""
        final = version_directory(self._directory, version.function_id, version.number)
        place = final.with_name(f"{final.name}.new")
        await anyio.to_thread.run_sync(_clear, place)
        try:
            manifest = await self._make(version, bundle, place, say)
            await anyio.to_thread.run_sync(_finish, place, final, manifest)
        except OSError as error:
            raise BuildFailed(f"it could not be written: {error.strerror}") from error
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_remove, place)

    async def is_built(self, version: Version) -> bool:
        """See the port."""
        place = version_directory(self._directory, version.function_id, version.number)
        return await anyio.Path(place / MANIFEST).exists()

    async def retire(self, function_id: FunctionId, numbers: Sequence[int]) -> None:
        """See the port."""
        for number in numbers:
            place = version_directory(self._directory, function_id, number)
            await anyio.to_thread.run_sync(_remove, place)

    async def _make(self, version: Version, bundle: bytes, place: Path, say: Say) -> Manifest:
        single = _FILES.get(version.language, "handler")
        code = place / "code"
        count = await anyio.to_thread.run_sync(unpack, bundle, code, single)
        say(f"unpacked {count} file{'' if count == 1 else 's'}")
        if version.language is Language.PYTHON:
            return await self._make_python(version, code, say)
        if version.language is Language.JAVASCRIPT:
            return await self._make_javascript(version, code, say)
        raise BuildFailed(f"there is no tool chain for {version.language.value} on this worker")

    async def _make_python(self, version: Version, code: Path, say: Say) -> Manifest:
        handler = _handler(version, code)
        check = [sys.executable, "-I", "-S", "-c", _CHECK_PYTHON, str(code / handler), handler]
        await self._run(check, code, say, f"{handler} does not compile")
        say(f"{handler} compiles")
        wanted = list(version.dependencies)
        lists = {code / "requirements.txt", (code / handler).parent / "requirements.txt"}
        files = [one for one in sorted(lists) if one.is_file() and _has_lines(one)]
        packages: tuple[str, ...] = ()
        if wanted or files:
            environment = code.parent / "env"
            make = [sys.executable, "-m", "venv", str(environment)]
            await self._run(make, code, say, "the virtual environment could not be made")
            install = [
                str(environment / "bin" / "python"),
                *("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-q"),
                *(part for one in files for part in ("-r", str(one))),
                *("--", *wanted),
            ]
            await self._run(install, code, say, "the dependencies could not be installed")
            found = sorted(environment.glob("lib/python*/site-packages"))
            packages = tuple(str(one.relative_to(code.parent)) for one in found)
            say("dependencies installed")
        return Manifest(version.language, handler, version.entry, packages)

    async def _make_javascript(self, version: Version, code: Path, say: Say) -> Manifest:
        node = shutil.which("node")
        if node is None:
            raise BuildFailed("there is no tool chain for javascript on this worker: no node")
        handler = _handler(version, code)
        await self._run([node, "--check", handler], code, say, f"{handler} does not compile")
        say(f"{handler} compiles")
        listed = (code / handler).parent
        if version.dependencies or (listed / "package.json").is_file():
            npm = shutil.which("npm")
            if npm is None:
                raise BuildFailed("there is no tool chain for javascript on this worker: no npm")
            install = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", "--"]
            await self._run(
                [*install, *version.dependencies],
                listed,
                say,
                "the dependencies could not be installed",
            )
            say("dependencies installed")
        member = str(Path(__file__).parent / "child" / "member.mjs")
        return Manifest(version.language, handler, version.entry, program=(node, member))

    async def _run(self, command: list[str], cwd: Path, say: Say, failure: str) -> None:
        """Run one step; its output becomes lines of the log. Raises ``BuildFailed``."""
        self._count += 1
        name = f"taskyard-build-{os.getpid()}-{self._count}"
        cages = await anyio.to_thread.run_sync(Cages, name)
        tree = await anyio.to_thread.run_sync(cages.new, _BUILD_MEMORY, None, _BUILD_PIDS)
        code: int | None = None
        try:
            with anyio.move_on_after(self._timeout_s):
                # The shell joins the cage first; then it is the step itself.
                doors = " && ".join(f"echo 0 > '{door}'" for door in tree.doors()) or ":"
                async with await anyio.open_process(
                    ["/bin/sh", "-c", f'{doors}; exec "$@"', "sh", *command],
                    cwd=cwd,
                    env=_environment(cwd),
                    start_new_session=True,
                    stderr=-2,
                ) as process:
                    tree.born(process.pid)
                    if process.stdout is not None:
                        await _lines(TextReceiveStream(process.stdout, errors="replace"), say)
                    code = await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(kill_all, tree)
                await anyio.to_thread.run_sync(tree.remove)
                await anyio.to_thread.run_sync(cages.close)
        if code is None:
            raise BuildFailed(f"{failure}: it took longer than {self._timeout_s:g} s")
        if code != 0:
            raise BuildFailed(failure)


async def _lines(stream: TextReceiveStream, say: Say) -> None:
    rest = ""
    async for piece in stream:
        *lines, rest = (rest + piece).split("\n")
        for line in lines:
            say(line[:_LINE_MAX])
        rest = rest[-_LINE_MAX:]
    if rest:
        say(rest)


def _handler(version: Version, code: Path) -> str:
    if version.handler:
        if not (code / version.handler).is_file():
            raise BuildFailed(f"there is no file {version.handler} in the source")
        return version.handler
    for name in _FOUND[version.language]:
        if (code / name).is_file():
            return name
    wanted = " or ".join(_FOUND[version.language][:2])
    raise BuildFailed(f"there is no handler in the source: {wanted}")


def _has_lines(path: Path) -> bool:
    lines = path.read_text("utf-8", "replace").splitlines()
    return any(line.strip() and not line.lstrip().startswith("#") for line in lines)


def _environment(home: Path) -> dict[str, str]:
    """What a step needs to reach package indexes, and nothing of the service's own."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _PASSED or name.upper().startswith(_PASSED_PREFIXES)
    }
    return {"PATH": os.defpath, "HOME": str(home), **passed, "LANG": "C.UTF-8"}


def _clear(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700, parents=True)


def _remove(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)


def _finish(place: Path, final: Path, manifest: Manifest) -> None:
    """Put a finished build in its place; virtual environments need not know where they are."""
    with (place / MANIFEST).open("wb") as file:
        file.write(msgspec.json.encode(manifest))
        file.flush()
        os.fsync(file.fileno())
    shutil.rmtree(final, ignore_errors=True)
    place.rename(final)
