"""JavaScript: checked by Node, with what npm installs."""

from taskyard.runtimes.function.manifest import Manifest
from taskyard.runtimes.function.toolchains.build import CHILD, Build


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
        await build.run([node, "--check", handler], code, f"{handler} does not compile")
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
        program = (node, str(CHILD / "member.mjs"))
        return Manifest(version.language, handler, version.entry, program=program)
