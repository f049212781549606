"""Builds that run as the user of their workspace, and whose they are afterwards."""

import json
import os
import shutil
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from function_world import FunctionWorld, opened

from taskyard.core.access.work_identity import Identity
from taskyard.core.functions.functions import Language
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.ownership import hand_over, take_back

pytestmark = [pytest.mark.anyio, pytest.mark.root, pytest.mark.timeout(120)]
OWN = Identity(1_900_000_011, 1_900_000_011)
OTHER = Identity(1_900_000_012, 1_900_000_012)


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[FunctionWorld]:
    """Builds of one workspace; the directories above are closed to its user."""
    (tmp_path / "closed").mkdir(mode=0o700)
    async with opened(tmp_path / "closed", identity=OWN) as world:
        yield world


def with_script(script: str) -> dict[str, str]:
    """A function whose installation runs a script, in the directory of its source."""
    return {
        "handler.js": "exports.handle = () => 1\n",
        "package.json": json.dumps(
            {"name": "f", "version": "1.0.0", "scripts": {"install": script}}
        ),
    }


@pytest.fixture
def npm() -> None:
    """For installations that run scripts."""
    if shutil.which("npm") is None:
        assert os.environ.get("CI") != "true", "continuous integration needs npm"
        pytest.skip("there is no npm here")


async def build(world: FunctionWorld, script: str) -> Path:
    """Build it; where it is."""
    await world.build(with_script(script), language=Language.JAVASCRIPT)
    return world.root / "functions" / "builds" / "f" / "1"


@pytest.mark.usefixtures("npm")
async def test_steps_have_the_rights_of_the_workspace_and_nothing_else(own: FunctionWorld) -> None:
    """User, group, no capabilities, a home of their own; root's can be neither read nor written."""
    script = (
        "id -u > who; id -G >> who; grep -E 'CapEff|NoNewPrivs' /proc/self/status >> who;"
        " echo $HOME > home; (cat /etc/shadow; ls /root; touch /usr/x; touch ../../x;"
        " ls ../../..; cat ../../../bundles/*/*) > got 2> refused; true"
    )
    place = await build(own, script)
    code = place / "code"
    assert (code / "who").read_text().split() == [
        *(str(OWN.uid), str(OWN.gid)),
        *("CapEff:", "0" * 16, "NoNewPrivs:", "1"),
    ]
    assert (code / "home").read_text().startswith(str(place))
    assert (code / "got").read_text() == ""
    assert (code / "refused").read_text().count("ermission denied") >= 5


@pytest.mark.usefixtures("npm")
async def test_what_was_built_is_roots_and_readable_by_its_user_alone(own: FunctionWorld) -> None:
    """Nobody changes it, no other workspace reads it, and nothing is set-user-id."""
    script = (
        "cp /bin/sh s; chmod 6755 s; mkdir d; echo x > d/f; chmod 777 d; chmod 666 d/f; ln -s d/f l"
    )
    place = await build(own, script)
    for facts in _everything(place):
        if not stat.S_ISLNK(facts.st_mode):
            assert facts.st_uid == 0
            assert not facts.st_mode & (0o7000 | 0o022)
    top = place.stat()
    assert (top.st_uid, top.st_gid, stat.S_IMODE(top.st_mode)) == (0, OWN.gid, 0o750)
    assert stat.S_IMODE((place / "code" / "s").stat().st_mode) == 0o750
    assert stat.S_IMODE((place / "code" / "d" / "f").stat().st_mode) == 0o640


@pytest.mark.usefixtures("npm")
async def test_a_link_in_place_of_a_file_of_ours_is_not_followed(
    own: FunctionWorld, tmp_path: Path
) -> None:
    """What is described of a build is written into a file of its own."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    place = await build(
        own, f"ln -s {victim} ../manifest.json; rm -rf ../scratch; ln -s / ../scratch"
    )
    assert victim.read_text() == "mine"
    assert not (place / "manifest.json").is_symlink()
    assert json.loads((place / "manifest.json").read_text())["language"] == "javascript"


@pytest.mark.usefixtures("npm")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("mkfifo pipe", "neither a file nor a directory"),
        ("i=0; while [ $i -lt 1500 ]; do mkdir d && cd d; i=$((i+1)); done", "deep"),
    ],
)
async def test_a_build_that_makes_odd_things_fails(
    own: FunctionWorld, script: str, said: str
) -> None:
    """And leaves nothing."""
    with pytest.raises(BuildFailed, match=said):
        await build(own, script)
    assert list((own.root / "functions" / "builds" / "f").iterdir()) == []


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """A hard link to it would otherwise give it away."""
    tree = tmp_path / "tree"
    tree.mkdir(mode=0o700)
    (tree / "mine").write_text("x")
    hand_over(tree, OWN)
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    (tree / "link").hardlink_to(secret)
    with pytest.raises(BuildFailed, match=r"\./link, which belongs to another user"):
        take_back(tree, OWN.uid or 0, OTHER)
    facts = secret.stat()
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (0, 0, 0o600)


@pytest.mark.golang
async def test_the_library_of_go_is_not_the_users(own: FunctionWorld) -> None:
    """What all builds share is compiled by the server, and copied."""
    await own.build(
        'package function\n\nimport handler "github.com/openfaas/templates-sdk/go-http"\n\n'
        "func Handle(r handler.Request) (handler.Response, error) {\n"
        "\treturn handler.Response{}, nil\n}\n",
        language=Language.GO,
    )
    shared = own.root / "functions" / "toolchains"
    kept = [one.lstat() for one in shared.rglob("*")]
    assert kept
    assert {one.st_uid for one in kept} == {0}
    assert {one.st_nlink for one in kept if stat.S_ISREG(one.st_mode)} == {1}


def _everything(top: Path) -> list[os.stat_result]:
    return [one.lstat() for one in top.rglob("*")]
