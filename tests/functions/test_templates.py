"""What ``taskyard function init`` writes: it is told by its files, builds, and greets."""

from pathlib import Path

import pytest
from function_world import FunctionWorld

from taskyard.cli.errors import UsageError
from taskyard.cli.function_source import bundle_of, language_of, write_template
from taskyard.cli.function_templates import IMAGE_LANGUAGES, TEMPLATES
from taskyard.core.functions.functions import IMAGE_ONLY, Language

NEEDED = {
    "javascript": pytest.mark.node,
    "go": pytest.mark.golang,
    "ruby": pytest.mark.ruby,
}


@pytest.mark.parametrize("language", TEMPLATES)
def test_the_language_is_told_by_the_files(tmp_path: Path, language: str) -> None:
    """Of a directory, and of a file by itself."""
    (*_, last) = files = write_template(tmp_path / "new", language)
    assert language_of(tmp_path / "new") == language
    assert language in {language_of(one) for one in files}
    assert language_of(tmp_path) is None
    assert last.is_file()


def test_there_is_one_for_each_language() -> None:
    """As source or as an image. None for others, which is said with those that there are."""
    assert {*TEMPLATES, *IMAGE_LANGUAGES} == set(Language) - {Language.IMAGE}
    assert set(IMAGE_LANGUAGES) == set(IMAGE_ONLY)
    with pytest.raises(
        UsageError, match=r"'cobol' has no template; choose one of: python, .* rust"
    ):
        write_template(Path("nowhere"), "cobol")


def test_what_compilers_made_is_not_deployed(tmp_path: Path) -> None:
    """Where it is theirs; a directory of that name beside nothing of theirs is."""
    write_template(tmp_path, "rust")
    before = bundle_of(tmp_path)
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "junk").write_bytes(bytes(1000))
    assert bundle_of(tmp_path) == before
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "data").write_bytes(b"x")
    assert bundle_of(tmp_path) != before


@pytest.mark.anyio
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "language", [pytest.param(one, marks=NEEDED.get(one, ())) for one in TEMPLATES]
)
async def test_they_greet(fast: FunctionWorld, tmp_path: Path, language: str) -> None:
    """Whoever the body names, and say so in the log."""
    write_template(tmp_path / "new", language)
    await fast.build_bundle(bundle_of(tmp_path / "new"), Language(language))
    ended = await fast.call("Ada", timeout_s=20.0)
    assert ended.result is not None, ended
    assert b"Hello, Ada!" in (ended.result.body or b"")
    assert await fast.output(ended, "stdout") == b"greeting Ada\n"
