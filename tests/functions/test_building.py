"""Bundles and builds: hostile archives, missing parts, dependencies."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from function_world import FunctionWorld, zip_of

from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function import unpacking
from taskyard.runtimes.function.toolchains import python
from taskyard.runtimes.function.toolchains.python import can_lend_pip
from taskyard.runtimes.function.unpacking import unpack

pytestmark = pytest.mark.anyio


def tar_of(*members: tarfile.TarInfo) -> bytes:
    """A compressed tar archive of empty members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for one in members:
            archive.addfile(one)
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    """An entry of a tar archive."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/x", "a\\..\\x", "C:/x", "x/" * 40 + "x", "n" * 300]
)
def test_paths_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    """In zip and in tar archives; nothing is written outside."""
    for bundle in (zip_of({name: "x"}), tar_of(member(name))):
        with pytest.raises(BuildFailed):
            unpack(bundle, tmp_path / f"code{len(bundle)}", "handler.py")
    assert not (tmp_path / "x").exists()


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    """Of every kind."""
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE)
    for number, kind in enumerate(kinds):
        with pytest.raises(BuildFailed, match="link or a device"):
            unpack(tar_of(member("a", kind, "/etc/passwd")), tmp_path / str(number), "handler.py")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(BuildFailed, match="link or a device"):
        unpack(buffer.getvalue(), tmp_path / "zip", "handler.py")


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what they say they hold, and by what they do hold."""
    monkeypatch.setattr(unpacking, "UNPACKED_BYTES", 1 << 20)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(2 << 20))
    with pytest.raises(BuildFailed, match="unpacks to more"):
        unpack(buffer.getvalue(), tmp_path / "zip", "handler.py")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("zeros")
        info.size = 2 << 20
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(BuildFailed, match="unpacks to more"):
        unpack(buffer.getvalue(), tmp_path / "tar", "handler.py")


@pytest.mark.parametrize("bundle", [b"PK\x03\x04nonsense", b"\x1f\x8bnonsense", b"BZhnonsense"])
def test_damaged_archives_are_refused(tmp_path: Path, bundle: bytes) -> None:
    """With a word."""
    with pytest.raises(BuildFailed, match="not readable"):
        unpack(bundle, tmp_path / "code", "handler.py")


def test_one_file_twice_is_refused(tmp_path: Path) -> None:
    """An archive may not overwrite itself."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(member("a"))
        archive.addfile(member("a"))
    with pytest.raises(BuildFailed, match="twice"):
        unpack(buffer.getvalue(), tmp_path / "code", "handler.py")


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
