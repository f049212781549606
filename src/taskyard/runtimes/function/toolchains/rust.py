"""Rust: the handler's library crate, ours that calls it, and a program of the two."""

import json
import os
import shutil
import tomllib
from pathlib import Path
from typing import Final

import anyio.to_thread

from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.manifest import Manifest
from taskyard.runtimes.function.toolchains.build import CHILD, Build, passed

_FROM: Final = ("CARGO_HTTP_", "CARGO_NET_", "RUSTUP_TOOLCHAIN")
_HANDLER: Final = """[package]
name = "handler"
version = "0.1.0"
edition = "2021"

[lib]
path = {path}

[dependencies]
taskyard = {{ path = {taskyard} }}
"""
_PROGRAM: Final = """[package]
name = "taskyard-member"
version = "0.1.0"
edition = "2021"

[dependencies]
taskyard = {{ path = {taskyard} }}
handler = {{ package = {package}, path = {handler} }}

[workspace]

[patch.crates-io]
taskyard = {{ path = {taskyard} }}

[profile.release]
strip = true
"""
_MAIN: Final = """fn main() {
    taskyard::serve(handler::handle)
}
"""


class Rust:
    """Implements ``ToolChain``."""

    single = "handler.rs"
    programs: tuple[str, ...] = ("cargo", "rustc", "cc")

    async def make(self, build: Build) -> Manifest:
        """See the protocol."""
        cargo, *_ = [build.tool(one) for one in self.programs]
        handler = build.handler(
            "src/lib.rs", "handler.rs", "function/src/lib.rs", "function/handler.rs", "lib.rs"
        )
        build.refuse_choices("handle", "Cargo.toml")
        crate, needs_others = await anyio.to_thread.run_sync(_lay_out, build, handler)
        scratch = build.scratch
        environment = {
            **passed(*_FROM),
            "CARGO_HOME": str(scratch / "cargo"),
            "CARGO_TARGET_DIR": str(scratch / "target"),
            "CARGO_TERM_COLOR": "never",
            # A crate may ask for another tool chain, which would be downloaded.
            "RUSTUP_AUTO_INSTALL": "0",
            # What is said of the source names files as its owner knows them.
            "CARGO_ENCODED_RUSTFLAGS": f"--remap-path-prefix={scratch / 'source'}/=",
            "TMPDIR": str(scratch),
            **_rustup(),
        }
        manifest = str(scratch / "program" / "Cargo.toml")
        # In the crate's own directory, so that a configuration it brings is found.
        if needs_others:
            fetch = [cargo, "fetch", "--quiet", "--manifest-path", manifest]
            failure = "the dependencies could not be installed"
            await build.run(fetch, crate, failure, environment)
            build.say("dependencies installed")
        command = [cargo, "build", "--offline", "--release", "--quiet", "--manifest-path", manifest]
        await build.run(command, crate, f"{handler} does not compile", environment)
        program = scratch / "target" / "release" / "taskyard-member"
        keep = ["/bin/sh", "-c", 'mkdir bin && mv "$0" bin/function', str(program)]
        await build.run(keep, build.place, "the program could not be kept")
        build.say(f"{handler} compiles")
        return Manifest(build.version.language, handler, "handle", program=("./bin/function",))


def rustup_home() -> Path:
    """Where rustup keeps tool chains for this process."""
    return Path(os.environ.get("RUSTUP_HOME") or Path.home() / ".rustup")


def _rustup() -> dict[str, str]:
    """Steps have another HOME."""
    home = rustup_home()
    return {"RUSTUP_HOME": str(home)} if home.is_dir() else {}


def _lay_out(build: Build, handler: str) -> tuple[Path, bool]:
    """A copy of the source with our crates beside it.

    Answers where the handler's crate is, and whether it needs crates that are not there.
    """
    scratch = build.scratch
    source, taskyard, program = (scratch / name for name in ("source", "taskyard", "program"))
    shutil.copytree(build.code, source)
    shutil.copytree(CHILD / "rust", taskyard)
    file = source / handler
    crate = file.parent.parent if file.parent.name == "src" else file.parent
    listed = crate / "Cargo.toml"
    paths = {"taskyard": _quoted(taskyard), "handler": _quoted(crate)}
    if not listed.is_file():
        inside = _quoted(file.relative_to(crate))
        listed.write_text(_HANDLER.format(path=inside, **paths), encoding="utf-8")
    try:
        package = str(tomllib.loads(listed.read_text("utf-8"))["package"]["name"])
        needs_others = any(map(_needs_others, source.rglob("Cargo.toml")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildFailed(f"Cargo.toml is not readable: {error}") from error
    (program / "src").mkdir(parents=True)
    text = _PROGRAM.format(package=_quoted(package), **paths)
    (program / "Cargo.toml").write_text(text, encoding="utf-8")
    (program / "src" / "main.rs").write_text(_MAIN, encoding="utf-8")
    if (crate / "Cargo.lock").is_file():
        shutil.copy(crate / "Cargo.lock", program)
    return crate, needs_others


def _needs_others(listed: Path) -> bool:
    """Whether a crate needs others than ours and those it knows the path of."""
    described = tomllib.loads(listed.read_text("utf-8"))
    tables = [described, *described.get("target", {}).values()]
    needed = {
        name: how
        for table in tables
        for kind in ("dependencies", "build-dependencies")
        for name, how in table.get(kind, {}).items()
    }
    return any(
        name != "taskyard" and not (isinstance(how, dict) and "path" in how)
        for name, how in needed.items()
    )


def _quoted(value: object) -> str:
    """As a string of TOML."""
    return json.dumps(str(value))
