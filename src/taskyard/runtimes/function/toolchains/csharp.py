"""C#: the handler's source and ours, compiled by Mono into one program."""

import re
from pathlib import Path
from typing import Final

import anyio.to_thread

from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.manifest import Manifest
from taskyard.runtimes.function.toolchains.build import CHILD, Build

_PACKAGE: Final = re.compile(r'<PackageReference\b[^>]*\bInclude="([^"]*)"')
_OURS: Final = ("Microsoft.AspNetCore.", "Microsoft.Extensions.Primitives")
"""Packages whose names we stand in for."""
_MADE: Final = frozenset({"bin", "obj"})


class CSharp:
    """Implements ``ToolChain``."""

    single = "FunctionHandler.cs"
    programs: tuple[str, ...] = ("mcs", "mono")

    async def make(self, build: Build) -> Manifest:
        """See the protocol."""
        compiler, mono = build.tool("mcs"), build.tool("mono")
        handler = build.handler(
            "FunctionHandler.cs", "function/FunctionHandler.cs", "handler.cs", "function/handler.cs"
        )
        build.refuse_choices("Handle", "the source")
        folder = (build.code / handler).parent
        sources = await anyio.to_thread.run_sync(_sources, folder)
        ours = sorted(str(one) for one in (CHILD / "csharp").glob("*.cs"))
        (build.place / "bin").mkdir()
        program = build.place / "bin" / "function.exe"
        command = [compiler, "-nologo", "-optimize", "-langversion:7.2", f"-out:{program}"]
        command += ["-main:Taskyard.Program", *sources, *ours]
        failure = f"{handler} does not compile"
        await build.run(command, folder, failure, {"TMPDIR": str(build.scratch)})
        build.say(f"{handler} compiles")
        arguments = (mono, "./bin/function.exe")
        return Manifest(build.version.language, handler, "Handle", program=arguments)


def _sources(folder: Path) -> list[str]:
    """Paths of the source, as the compiler sees them from there. Raises ``BuildFailed``."""
    for project in sorted(folder.glob("*.csproj")):
        for package in _PACKAGE.findall(project.read_text("utf-8", "replace")):
            if not package.startswith(_OURS):
                raise BuildFailed(
                    f"there is no tool chain for packages of csharp on this worker: "
                    f"{project.name} lists {package}"
                )
    found = (one.relative_to(folder) for one in folder.rglob("*.cs"))
    return sorted(f"./{one}" for one in found if _MADE.isdisjoint(one.parts))
