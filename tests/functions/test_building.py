"""Builds: missing parts, dependencies."""

import zipfile
from pathlib import Path

import pytest
from function_world import FunctionWorld

from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.toolchains import python
from taskyard.runtimes.function.toolchains.python import can_lend_pip

pytestmark = pytest.mark.anyio


async def test_builds_say_what_is_missing(fast: FunctionWorld) -> None:
    """A handler, or its syntax."""
    with pytest.raises(BuildFailed, match="no handler in the source"):
        await fast.build({"other.py": "x = 1\n"})
    with pytest.raises(BuildFailed, match="does not compile"):
        await fast.build("def handle(:\n")


async def test_a_failed_build_leaves_the_files_of_the_one_before(fast: FunctionWorld) -> None:
    """What runs goes on running."""
    await fast.build("def handle(request): return 'first'\n")
    with pytest.raises(BuildFailed):
        await fast.build("def handle(:\n")
    ended = await fast.call()
    assert ended.result is not None
    assert ended.result.body == b"first"


@pytest.mark.parametrize("lends_pip", [True, False])
async def test_dependencies_are_installed(
    fast: FunctionWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lends_pip: bool
) -> None:
    """Into an environment of the version's own; from a directory, so that no network is needed.

    By our own pip where there is one; otherwise by one in that environment.
    """
    if lends_pip:
        assert can_lend_pip()
    else:
        monkeypatch.setattr(python, "can_lend_pip", bool)
    package = tmp_path / "tiny_package"
    package.mkdir()
    wheel = package / "tiny_package-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_package.py", "ANSWER = 42\n")
        info = "tiny_package-1.0.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")
    log = await fast.build(
        {
            "handler.py": "import tiny_package\ndef handle(request): return tiny_package.ANSWER\n",
            "requirements.txt": f"# local\n{wheel}\n",
        }
    )
    assert "dependencies installed" in log
    has_pip = (fast.root / "functions" / "builds" / "f" / "1" / "env" / "bin" / "pip").exists()
    assert has_pip is not lends_pip
    ended = await fast.call(timeout_s=20.0)
    assert ended.result is not None, ended
    assert ended.result.body == b"42"
