"""Builds on disk: synced before they count as built, and built again when they are damaged."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from function_world import FunctionWorld

from taskyard.core.errors import Conflict, Overloaded, TaskyardError, Unavailable
from taskyard.core.functions.functions import FunctionId, Language
from taskyard.core.ids import WorkspaceName
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function import building, integrity
from taskyard.runtimes.function.integrity import (
    BuildDamaged,
    check_build,
    sizes_below,
    sync,
    sync_below,
)
from taskyard.runtimes.function.manifest import MANIFEST, Manifest, read_manifest
from taskyard.runtimes.function.toolchains import golibrary

pytestmark = pytest.mark.anyio

HANDLER = "from parts.answer import ANSWER\ndef handle(request): return ANSWER\n"
SOURCE = {"handler.py": HANDLER, "parts/answer.py": "ANSWER = 'right'\n"}


def build_directory(world: FunctionWorld) -> Path:
    """Where the only build is."""
    return world.root / "functions" / "builds" / "f" / "1"


async def test_a_build_is_on_disk_before_it_is_in_its_place(
    fast: FunctionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything of it, and then its name; one that cannot be synced has failed."""
    final = build_directory(fast)
    synced: list[str] = []

    def below(place: Path) -> None:
        assert not final.exists()
        assert set(read_manifest(place).files) >= {f"code/{name}" for name in SOURCE}
        synced.append(f"below {place.name}")
        sync_below(place)

    def one(path: Path) -> None:
        assert final.exists()
        synced.append(path.name)
        sync(path)

    monkeypatch.setattr(building, "sync_below", below)
    monkeypatch.setattr(building, "sync", one)
    await fast.build(SOURCE)
    assert synced == ["below 1.new", "f"]

    def broken(_place: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(building, "sync_below", broken)
    with pytest.raises(BuildFailed, match="could not be written: Input/output error"):
        await fast.build(SOURCE, number=2)
    assert not final.with_name("2").exists()


@pytest.mark.parametrize("at_once", [True, False])
def test_trees_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    """At once, or file by file where the system cannot; whatever is in them."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "pipe")
    synced: list[str] = []
    if not at_once:
        monkeypatch.setattr(integrity, "_libc", object())
    monkeypatch.setattr(integrity, "sync", lambda path: synced.append(Path(path).name))
    sync_below(tmp_path)
    assert sorted(synced) == ([] if at_once else sorted(["a", "file", tmp_path.name]))


def test_what_all_builds_of_go_begin_with_is_on_disk_before_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would compile it again."""
    fresh, kept = tmp_path / "fresh", tmp_path / "toolchains" / "go-1"
    fresh.mkdir()
    synced: list[Path] = []

    def below(place: Path) -> None:
        assert not kept.exists()
        synced.append(place)

    monkeypatch.setattr(golibrary, "sync_below", below)
    golibrary._keep(fresh, kept)
    assert kept.is_dir()
    assert synced == [fresh]


def test_damage_is_found(tmp_path: Path) -> None:
    """What is missing, empty, shorter, or of another kind; more is no damage."""
    place = tmp_path / "1"
    (place / "code" / "deep").mkdir(parents=True)
    (place / "code" / "deep" / "file").write_bytes(b"content")
    (place / "code" / "empty").touch()
    (place / "code" / "link").symlink_to("empty")
    (place / "code" / os.fsdecode(b"\xff")).touch()
    files = sizes_below(place)
    assert files == {"code/deep/file": 7, "code/empty": 0, "code/link": -1}
    manifest = Manifest(language=Language.PYTHON, handler="h", entry="e", files=files)
    check_build(place, manifest)
    with (place / "code" / "empty").open("ab") as file:
        file.write(b"more")
    check_build(place, manifest)
    cut(place / "code" / "deep" / "file")
    with pytest.raises(BuildDamaged, match="deep/file is damaged"):
        check_build(place, manifest)
    shutil.rmtree(place / "code" / "deep")
    with pytest.raises(BuildDamaged, match="deep/file is missing"):
        check_build(place, manifest)


def cut(path: Path) -> None:
    """Leave an empty file, as power cuts do."""
    path.write_bytes(b"")


DAMAGES: list[Callable[[Path], object]] = [
    shutil.rmtree,
    lambda place: (place / MANIFEST).unlink(),
    lambda place: cut(place / MANIFEST),
    lambda place: cut(place / "code" / "parts" / "answer.py"),
    lambda place: (place / "code" / "parts" / "answer.py").unlink(),
]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_calls_have_a_damaged_build_built_again(
    fast: FunctionWorld, damage: Callable[[Path], object]
) -> None:
    """Once, however many wait for it; and they are answered."""
    await fast.build(SOURCE)
    damage(build_directory(fast))
    asked: list[tuple[str, str, int]] = []
    may_end = anyio.Event()

    async def rebuild(workspace: WorkspaceName, function_id: FunctionId, number: int) -> bool:
        asked.append((workspace, function_id, number))
        await may_end.wait()
        await fast.build(SOURCE)
        return True

    fast.runtime.rebuild = rebuild
    calls = [fast.assignment() for _ in range(3)]
    killed = fast.assignment()
    for call in (*calls, killed):
        await fast.start(call)
    await fast.kill(killed)
    assert (await fast.ended(killed)).state is AttemptState.KILLED
    may_end.set()
    for call in calls:
        ended = await fast.ended(call)
        assert ended.result is not None
        assert ended.result.body == b"right"
    assert asked == [("default", "f", 1)]


async def test_calls_of_what_cannot_be_built_again_fail(fast: FunctionWorld) -> None:
    """In words; also if there is a defect."""
    await fast.build(SOURCE)
    cut(build_directory(fast) / MANIFEST)

    async def refuse(*_: object) -> bool:
        return False

    async def fail(*_: object) -> bool:
        raise ValueError

    for rebuild in (None, refuse, fail):
        fast.runtime.rebuild = rebuild
        ended = await fast.call()
        assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED)
        assert ended.message == "version 1 is not built on this worker"

    async def explain(*_: object) -> bool:
        raise Conflict("there is no compiler here")

    fast.runtime.rebuild = explain
    text = "version 1 is not built on this worker: there is no compiler here"
    assert (await fast.call()).message == text


@pytest.mark.parametrize("error", [Unavailable("the store is away"), Overloaded("later", 1.0)])
async def test_calls_of_what_cannot_be_built_just_now_are_tried_again(
    fast: FunctionWorld, error: TaskyardError
) -> None:
    """A database that is away for a moment costs no call its life."""
    await fast.build(SOURCE)
    cut(build_directory(fast) / MANIFEST)

    async def fail(*_: object) -> bool:
        raise error

    fast.runtime.rebuild = fail
    ended = await fast.call()
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.RUNTIME_TROUBLE)
    assert str(error) in str(ended.message)


def test_a_build_for_a_program_that_is_gone_is_damaged(tmp_path: Path) -> None:
    """As after an upgrade that has it under another name; then it is built again."""
    (tmp_path / "there").touch()
    for program, is_intact in (("/usr/bin/env", True), ("./there", True), ("/nowhere/it", False)):
        manifest = Manifest(
            Language.JAVASCRIPT, "h.js", "handle", program=("/usr/bin/env", program)
        )
        if is_intact:
            check_build(tmp_path, manifest)
        else:
            with pytest.raises(BuildDamaged, match="/nowhere/it"):
                check_build(tmp_path, manifest)
