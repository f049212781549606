"""JavaScript: checked by Node, with what npm installs."""

from typing import Final

from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.manifest import Manifest
from taskyard.runtimes.function.toolchains.build import CHILD, Build

_AWAITS: Final = ("await is only valid in async functions", "both require() and top-level await")
"""What Node says of a CommonJS file that uses ``await`` outside of functions; from 20.19 on it says
nothing, and the file is loaded."""


class JavaScript:
    """Implements ``ToolChain``."""

    single = "handler.js"
    programs: tuple[str, ...] = ("node",)

    async def make(self, build: Build) -> Manifest:
        """See the protocol."""
        version, code = build.version, build.code
        node = build.tool("node")
        handler = build.handler(
            "handler.js", "function/handler.js", "handler.mjs", "function/handler.mjs", "index.js"
        )
        await _check(build, node, handler)
        build.say(f"{handler} compiles")
        listed = (code / handler).parent
        if version.dependencies or (listed / "package.json").is_file():
            install = [build.tool("npm"), "install", "--no-audit", "--no-fund", "--loglevel=error"]
            await build.run(
                [*install, "--", *version.dependencies],
                listed,
                "the dependencies could not be installed",
            )
            build.say("dependencies installed")
        program = (node, str(CHILD / "instance.mjs"))
        return Manifest(version.language, handler, version.entry, program=program)


async def _check(build: Build, node: str, handler: str) -> None:
    """Let Node look at the handler's file. Raises ``BuildFailed``."""
    failure, lines, say = f"{handler} does not compile", list[str](), build.say

    def listen(line: str) -> None:
        lines.append(line)
        say(line)

    build.say = listen
    try:
        await build.run([node, "--check", handler], build.code, failure)
    except BuildFailed as error:
        if any(one in line for line in lines for one in _AWAITS):
            module = f"{handler.rpartition('.')[0]}.mjs"
            raise BuildFailed(
                f"{failure}: this Node.js has no await outside of functions in CommonJS files; name"
                f" it {module} and write 'export default' for 'module.exports =', or await inside"
                " the handler"
            ) from error
        raise
    finally:
        build.say = say
