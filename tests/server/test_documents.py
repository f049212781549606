"""What the documents refer to is there: tests, files, headings."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENTS: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def tests() -> str:
    """The sources of all tests."""
    return "\n".join(one.read_text() for one in ROOT.glob("tests/**/test_*.py"))


def anchors(document: Path) -> set[str]:
    """Names by which a document's headings can be linked to."""
    text = _FENCE.sub("", document.read_text())
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """Files of the project that are there, and headings that they have."""
    for target in _LINK.findall(_FENCE.sub("", document.read_text())):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        found = (document.parent / name).resolve() if name else document
        assert found.exists(), f"{target} is not there"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{name or document.name} has no heading #{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_that_are_named_exist(document: Path, tests: str) -> None:
    """Who says that something holds names the test that shows it, by the name it has today."""
    text = document.read_text()
    for name in set(re.findall(r"`(test_\w+)`", text)):
        assert f"def {name}(" in tests, f"there is no test {name}"
    for path in set(re.findall(r"`(tests/[\w/]+\.py)`", text)):
        assert (ROOT / path).exists(), f"there is no {path}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(document: Path) -> None:
    """Paths from the root, or below the package; the changelog tells what was."""
    if document.name == "CHANGELOG.md":
        return
    for path in set(re.findall(r"`([a-z_]+/[\w/]+\.(?:py|sql|toml))`", document.read_text())):
        places = (ROOT / path, ROOT / "src" / "taskyard" / path)
        assert any(place.exists() for place in places), f"there is no {path}"
