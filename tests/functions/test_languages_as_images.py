"""Languages whose functions are images: source is refused in words, also what was built of it."""

import json
import re
from pathlib import Path

import pytest
from function_world import FunctionWorld

from taskyard.cli.commands.function import deploy
from taskyard.cli.commands.function_calls import run_local
from taskyard.cli.errors import UsageError
from taskyard.cli.function_source import write_template
from taskyard.core.functions.functions import IMAGE_ONLY, Language
from taskyard.core.states import Reason
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.manifest import MANIFEST

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("language", IMAGE_ONLY)
async def test_builds_fail_and_say_what_to_do(fast: FunctionWorld, language: Language) -> None:
    """In the words that GreenCloud's contract asks for."""
    words = f"no tool chain for {language} .*`taskyard function init NAME --language {language}`"
    with pytest.raises(BuildFailed, match=words):
        await fast.build("x", language=language)


@pytest.mark.parametrize("language", IMAGE_ONLY)
async def test_calls_of_what_an_earlier_release_built_say_what_to_do(
    fast: FunctionWorld, language: Language
) -> None:
    """Each fails at once, by itself; nothing is started."""
    await fast.build("def handle(request): return 1\n")
    path = fast.root / "functions" / "builds" / "f" / "1" / MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "language": language, "program": ["./bin/function"]}))
    for _ in range(2):
        ended = await fast.call()
        assert ended.reason is Reason.START_FAILED
        assert f"`taskyard function init NAME --language {language}`" in (ended.message or "")


@pytest.mark.parametrize("language", IMAGE_ONLY)
def test_the_command_line_says_how_it_is_deployed(tmp_path: Path, language: Language) -> None:
    """With the commands, before anything is sent."""
    write_template(tmp_path, language)
    commands = f"docker build --tag f {tmp_path} && taskyard function deploy f --image f"
    with pytest.raises(UsageError, match=re.escape(commands)):
        deploy("f", str(tmp_path))
    with pytest.raises(UsageError, match="are container images: docker build"):
        run_local(str(tmp_path))
