"""One build under way, as a tool chain sees it."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import anyio.to_thread

from taskyard.core.access.work_identity import SERVER, Identity
from taskyard.core.functions.functions import Version
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.manifest import Manifest
from taskyard.runtimes.function.ownership import hand_over
from taskyard.runtimes.function.steps import Say, Steps

SCRATCH: Final = "scratch"
"""Directory for what is needed while building; removed before the version is put in place."""
_HOME: Final = "home"
CHILD: Final = Path(__file__).parent.parent / "child"
"""Where our instances in other languages are."""


@dataclass(slots=True)
class Build:
    """A version that is being built.

    The first step that is run as another user gives that user the whole directory: from then on
    whatever is to be written there is written by steps, because the user may have put a link
    anywhere.

    Attributes:
        version: what was asked for.
        place: the version's directory, for now under another name.
        say: takes lines of the log.
        steps: runs the steps.
        shared: where a tool chain may keep what is its own, and nobody's source.
        identity: as whom steps run.
        sandbox: what begins the command line of a step that runs in a directory; None without.
        is_handed_over: whether the directory is that user's already.
    """

    version: Version
    place: Path
    say: Say
    steps: Steps
    shared: Path
    identity: Identity = SERVER
    sandbox: Callable[[Path], list[str]] | None = None
    is_handed_over: bool = False

    @property
    def code(self) -> Path:
        """The directory with what was unpacked."""
        return self.place / "code"

    @property
    def scratch(self) -> Path:
        """A directory that does not outlive the build."""
        return self.place / SCRATCH

    @property
    def is_apart(self) -> bool:
        """Whether steps may not touch what is the server's own."""
        return self.identity.uid is not None or self.sandbox is not None

    def prepare(self) -> None:
        """Make the directories that are needed. Raises ``OSError``."""
        self.scratch.mkdir(mode=0o700)
        if self.is_apart:
            (self.scratch / _HOME).mkdir(mode=0o700)

    async def run(
        self,
        command: Sequence[str],
        cwd: Path,
        failure: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run a step; see :meth:`Steps.run`. Raises ``BuildFailed``."""
        if self.identity.uid is not None and not self.is_handed_over:
            self.is_handed_over = True
            await anyio.to_thread.run_sync(hand_over, self.place, self.identity)
        if self.is_apart:
            home, temporary = str(self.scratch / _HOME), str(self.scratch)
            environment = {"HOME": home, "TMPDIR": temporary, **(environment or {})}
        if self.sandbox is not None:
            command = [*await anyio.to_thread.run_sync(self.sandbox, cwd), *command]
        await self.steps.run(
            command,
            cwd,
            self.say,
            failure,
            environment,
            self.identity,
            apart=self.is_apart,
        )

    async def run_ours(
        self,
        command: Sequence[str],
        cwd: Path,
        failure: str,
        environment: Mapping[str, str] | None = None,
        say: Say | None = None,
    ) -> None:
        """Run a step that has nothing to do with the source, as this process's own user.

        Before any other; ``say`` takes its lines in place of the log. Raises ``BuildFailed``.
        """
        if self.is_handed_over:
            raise RuntimeError("the directory is somebody else's")
        await self.steps.run(command, cwd, say or self.say, failure, environment)

    def tool(self, name: str) -> str:
        """The path of a program. Raises ``BuildFailed`` where there is none."""
        found = shutil.which(name)
        if found is None:
            language = self.version.language.value
            raise BuildFailed(f"there is no tool chain for {language} on this worker: no {name}")
        return found

    def handler(self, *names: str) -> str:
        """The file with the handler: the one asked for, or the first of these.

        Raises ``BuildFailed`` if it is not there.
        """
        wanted = self.version.handler
        if wanted:
            if not (self.code / wanted).is_file():
                raise BuildFailed(f"there is no file {wanted} in the source")
            return wanted
        for name in names:
            if (self.code / name).is_file():
                return name
        raise BuildFailed(f"there is no handler in the source: {' or '.join(names[:2])}")

    def refuse_choices(self, entry: str, listed_in: str) -> None:
        """For languages whose handler has a fixed name and whose dependencies have a file.

        Raises ``BuildFailed`` if the version asks for another entry, or for dependencies.
        """
        language = self.version.language.value
        if self.version.entry not in {"handle", entry}:
            raise BuildFailed(f"the handler of a function in {language} is always {entry}")
        if self.version.dependencies:
            raise BuildFailed(f"dependencies of a function in {language} belong in {listed_in}")


class ToolChain(Protocol):
    """Builds functions of one language."""

    single: str
    """What a bundle that is one file of source is called."""
    programs: tuple[str, ...]
    """Without these nothing can be built; for some dependencies more is needed."""

    async def make(self, build: Build) -> Manifest:
        """Build what was unpacked into ``build.code``. Raises ``BuildFailed``."""
        ...


def passed(*prefixes: str) -> dict[str, str]:
    """The worker's own variables that begin with one of these: where packages come from."""
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}
