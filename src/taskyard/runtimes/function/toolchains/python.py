"""Python: compiled to see whether it can be, with a virtual environment where one is needed."""

import sys
from importlib import metadata
from pathlib import Path
from typing import Final

from taskyard.runtimes.function.manifest import Manifest
from taskyard.runtimes.function.toolchains.build import Build

_CHECK: Final = (
    "import sys, tokenize\n"
    "with tokenize.open(sys.argv[1]) as file: source = file.read()\n"
    "try: compile(source, sys.argv[2], 'exec')\n"
    "except (SyntaxError, ValueError) as error: sys.exit(f'{type(error).__name__}: {error}')\n"
)


class Python:
    """Implements ``ToolChain``."""

    single = "handler.py"
    programs: tuple[str, ...] = ()

    async def make(self, build: Build) -> Manifest:
        """See the protocol."""
        version, code = build.version, build.code
        handler = build.handler("handler.py", "function/handler.py")
        wanted = list(version.dependencies)
        lists = {code / "requirements.txt", (code / handler).parent / "requirements.txt"}
        # Looked at before any step: from then on they may be anything.
        files = [one for one in sorted(lists) if one.is_file() and _has_lines(one)]
        check = [sys.executable, "-I", "-S", "-c", _CHECK, str(code / handler), handler]
        await build.run(check, code, f"{handler} does not compile")
        build.say(f"{handler} compiles")
        packages: tuple[str, ...] = ()
        if wanted or files:
            environment = build.place / "env"
            python = str(environment / "bin" / "python")
            make = [sys.executable, "-m", "venv", str(environment)]
            pip = [python, "-m", "pip"]
            if can_lend_pip():
                make.insert(3, "--without-pip")
                # Not from the directory it runs in: that is the source.
                pip = [sys.executable, "-P", "-m", "pip", "--python", python]
            await build.run(make, code, "the virtual environment could not be made")
            install = [
                *pip,
                *("install", "--disable-pip-version-check", "--no-input", "-q"),
                *(part for one in files for part in ("-r", str(one))),
                *("--", *wanted),
            ]
            await build.run(install, code, "the dependencies could not be installed")
            found = sorted(environment.glob("lib/python*/site-packages"))
            packages = tuple(str(one.relative_to(build.place)) for one in found)
            build.say("dependencies installed")
        return Manifest(version.language, handler, version.entry, packages)


def can_lend_pip() -> bool:
    """Whether the pip of our own environment can install into others, which it does since 22.3.

    One in each version's environment would take some seconds and 26 MB more.
    """
    try:
        major, minor = metadata.version("pip").split(".")[:2]
        return (int(major), int(minor)) >= (22, 3)
    except (metadata.PackageNotFoundError, ValueError):
        return False


def _has_lines(path: Path) -> bool:
    lines = path.read_text("utf-8", "replace").splitlines()
    return any(line.strip() and not line.lstrip().startswith("#") for line in lines)
