"""Tool chains: how the source of each language becomes something that runs.

One file for each language. A tool chain finds the handler in what was unpacked, checks or compiles
it, installs what it lists, and answers with the manifest from which the runtime starts processes.
Programs it uses are looked for when they are needed: where one is missing, the build fails and
says ``no tool chain``. What compilers keep for next time is in the build's own ``scratch``, and is
gone when the build is done: no build sees what another left behind. (Go's own library, which is
nobody's source, is compiled once.)

A new language is a file here, a line in :data:`TOOL_CHAINS`, and a program in ``child`` that
speaks the frames of :mod:`taskyard.runtimes.function`.
"""

from typing import Final

from taskyard.core.functions.functions import Language
from taskyard.runtimes.function.toolchains.build import ToolChain
from taskyard.runtimes.function.toolchains.go import Go
from taskyard.runtimes.function.toolchains.javascript import JavaScript
from taskyard.runtimes.function.toolchains.python import Python
from taskyard.runtimes.function.toolchains.ruby import Ruby

TOOL_CHAINS: Final[dict[Language, ToolChain]] = {
    Language.PYTHON: Python(),
    Language.JAVASCRIPT: JavaScript(),
    Language.RUBY: Ruby(),
    Language.GO: Go(),
}
