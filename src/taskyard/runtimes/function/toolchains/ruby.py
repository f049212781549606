"""Ruby: checked by the interpreter, with what bundler installs for it alone."""

from typing import Final

import anyio

from taskyard.runtimes.function.manifest import Manifest
from taskyard.runtimes.function.toolchains.build import CHILD, Build, passed

_FROM: Final = ("BUNDLE_MIRROR__", "BUNDLE_SSL_")


class Ruby:
    """Implements ``ToolChain``."""

    single = "handler.rb"
    programs: tuple[str, ...] = ("ruby",)

    async def make(self, build: Build) -> Manifest:
        """See the protocol."""
        code = build.code
        ruby = build.tool("ruby")
        handler = build.handler("handler.rb", "function/handler.rb")
        build.refuse_choices("run", "Gemfile")
        await build.run([ruby, "-c", handler], code, f"{handler} does not compile")
        build.say(f"{handler} compiles")
        before: tuple[str, ...] = ()
        folders = ((code / handler).parent, code)
        gemfile = next((one for one in folders if (one / "Gemfile").is_file()), None)
        if gemfile is not None:
            bundle = build.tool("bundle")
            scratch = build.scratch
            environment = {
                **passed(*_FROM),
                "BUNDLE_PATH": str(build.place / "gems"),
                "BUNDLE_APP_CONFIG": str(scratch / "bundle"),
                "BUNDLE_USER_HOME": str(scratch / "user"),
                "BUNDLE_DISABLE_SHARED_GEMS": "true",
                "BUNDLE_GEMFILE": str(gemfile / "Gemfile"),
                "BUNDLE_SILENCE_ROOT_WARNING": "true",
                "GEM_SPEC_CACHE": str(scratch / "specs"),
                "TMPDIR": str(scratch),
            }
            # Stand-alone: at run time the load path is set, and bundler is not needed.
            install = [bundle, "install", "--standalone", "--quiet"]
            failure = "the dependencies could not be installed"
            await build.run(install, gemfile, failure, environment)
            forget = ["/bin/sh", "-c", "rm -rf ruby/*/cache"]
            await build.run(forget, build.place / "gems", failure)
            if await anyio.Path(build.place / "gems" / "bundler" / "setup.rb").exists():
                # Without any gem there is nothing to set up.
                before = ("-r", "./gems/bundler/setup.rb")
            build.say("dependencies installed")
        program = (ruby, "--disable-gems", *before, str(CHILD / "instance.rb"))
        return Manifest(build.version.language, handler, "run", program=program)
