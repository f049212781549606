"""Go: a program of the handler's package and our instance, compiled in the handler's module."""

import re
import shutil
from pathlib import Path
from typing import Final

import anyio.to_thread

from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.manifest import Manifest
from taskyard.runtimes.function.toolchains.build import CHILD, Build, passed
from taskyard.runtimes.function.toolchains.golibrary import begin_cache

_SDK: Final = "github.com/openfaas/templates-sdk/go-http"
_INSTANCE: Final = "taskyardmember"
"""Directory of our package inside the handler's module."""
_MODULE: Final = re.compile(r'^module\s+"?([^\s"]+)"?', re.MULTILINE)
_FROM: Final = ("GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GONOPROXY", "GOTOOLCHAIN")
_MAIN: Final = """package main

import function "{path}"

func main() {{ serve(function.Handle, "{module}", {timed}) }}
"""


class Go:
    """Implements ``ToolChain``."""

    single = "handler.go"
    programs: tuple[str, ...] = ("go",)

    async def make(self, build: Build) -> Manifest:
        """See the protocol."""
        go = build.tool("go")
        handler = build.handler("handler.go", "function/handler.go")
        build.refuse_choices("Handle", "go.mod")
        root = await anyio.to_thread.run_sync(_lay_out, build, handler)
        scratch = build.scratch
        environment = {
            # Without this a module may ask for another tool chain, which would be downloaded.
            "GOTOOLCHAIN": "local",
            **passed(*_FROM),
            "GOCACHE": str(scratch / "cache"),
            "GOPATH": str(scratch / "path"),
            "GOTMPDIR": str(scratch),
            "GOENV": "off",
            "GOWORK": "off",
            "GOFLAGS": "-modcacherw",
        }
        await begin_cache(build, go, environment, scratch / "cache")
        flags = ["-mod=vendor"] if (root / "vendor" / "modules.txt").is_file() else ["-mod=mod"]
        if flags == ["-mod=mod"]:
            supplied = [f"-require={_SDK}@v0.0.0", f"-replace={_SDK}={scratch / 'sdk'}"]
            failure = "go.mod is not readable"
            await build.run([go, "mod", "edit", *supplied], root, failure, environment)
        program = build.place / "bin" / "function"
        command = [go, "build", *flags, "-buildvcs=false", "-ldflags=-s -w", "-o", str(program)]
        failure = f"{handler} does not compile"
        await build.run([*command, f"./{_INSTANCE}"], root, failure, environment)
        build.say(f"{handler} compiles")
        return Manifest(build.version.language, handler, "Handle", program=("./bin/function",))


def _lay_out(build: Build, handler: str) -> Path:
    """A copy of the source with our package in its module; answers where the module is."""
    copy = build.scratch / "source"
    shutil.copytree(build.code, copy)
    shutil.copytree(CHILD / "go" / "sdk", build.scratch / "sdk")
    folder = (copy / handler).parent
    inside_copy = [one for one in (folder, *folder.parents) if one.is_relative_to(copy)]
    root = next((one for one in inside_copy if (one / "go.mod").is_file()), folder)
    listed = root / "go.mod"
    if not listed.is_file():
        listed.write_text("module handler/function\n\ngo 1.16\n", encoding="utf-8")
    found = _MODULE.search(listed.read_text("utf-8", "replace"))
    if found is None:
        raise BuildFailed("go.mod names no module")
    inside = folder.relative_to(root).as_posix()
    path = found[1] if inside == "." else f"{found[1]}/{inside}"
    instance = root / _INSTANCE
    shutil.rmtree(instance, ignore_errors=True)
    instance.mkdir()
    for one in sorted((CHILD / "go").glob("*.go")):
        shutil.copy(one, instance)
    timed = "true" if _leaves_timers(root) else "false"
    main = _MAIN.format(path=path, module=found[1], timed=timed)
    (instance / "main.go").write_text(main, encoding="utf-8")
    return root


def _leaves_timers(root: Path) -> bool:
    """Whether the function may leave timers, which cannot be found when a call is over."""
    return any(
        b".AfterFunc(" in one.read_bytes()
        for one in root.rglob("*.go")
        if "vendor" not in one.relative_to(root).parts and one.is_file()
    )
