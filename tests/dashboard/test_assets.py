"""The files of the dashboard, as text."""

import re
from pathlib import Path

import pytest

import taskyard.dashboard
from taskyard.dashboard.assets import load_assets
from taskyard.dashboard.errors import AssetsMissing

FOLDER = Path(taskyard.dashboard.__file__).parent / "assets"
MODULES = sorted(FOLDER.glob("*.js"))
TEXTS = sorted(path for path in FOLDER.iterdir() if path.suffix in {".js", ".css", ".html", ".svg"})
NAMESPACE = "http://www.w3.org/2000/svg"
EXAMPLES = ("https://app.example/",)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_file_names_another_host(path: Path) -> None:
    """The dashboard works offline: the only addresses are a namespace and examples in hints."""
    text = path.read_text().lower()
    found = re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z][^\s\"'`)<]*", text)
    assert [one for one in found if one != NAMESPACE and not one.startswith(EXAMPLES)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_stay_small_and_never_parse_markup(path: Path) -> None:
    """One noun per file, and text goes into the page as text."""
    text = path.read_text()
    assert len(text.splitlines()) <= 250
    assert text.startswith("//"), "a module begins by saying what it is"
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert forbidden not in text
    assert "new Function" not in text


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_import_only_files_that_exist(path: Path) -> None:
    """Imports are relative, and end at a file of the dashboard."""
    for target in re.findall(r'^import .* from "([^"]+)";$', path.read_text(), re.MULTILINE):
        assert target.startswith("./")
        assert (FOLDER / target).is_file()


@pytest.mark.parametrize("name", ["index.html", "docs.html"])
def test_pages_hold_no_inline_script_or_style(name: str) -> None:
    """The policy would refuse them."""
    text = (FOLDER / name).read_text()
    assert all("src=" in one for one in re.findall(r"<script[^>]*>", text))
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text)


def test_pages_point_at_one_release() -> None:
    """Every address carries the digest of all files, and every module is asked for at once."""
    assets = load_assets()
    page = assets.pages["index.html"].body.decode()
    addresses = re.findall(r'"(/assets/[^"]+)"', page)
    assert all(one.startswith(f"/assets/{assets.digest}/") for one in addresses)
    assert all(one.rsplit("/", 1)[1] in assets.files for one in addresses)
    assert page.count("modulepreload") > 30


def test_an_incomplete_installation_is_told(tmp_path: Path) -> None:
    """Without its files the dashboard is refused at the start, not at the first request."""
    with pytest.raises(AssetsMissing):
        load_assets(tmp_path)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(theme: str) -> None:
    """Text keeps a contrast of 4.5 to 1 against the grounds it stands on (WCAG 2, AA)."""
    css = (FOLDER / "style.css").read_text()
    head = ":root {" if theme == "light" else ':root[data-theme="dark"] {'
    block = css[css.index(head) :].split("}", 1)[0]
    colors = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
    words = ("text", "dim", "accent", "danger", "scheduled", "queued", "running", "retrying",
             "succeeded", "failed", "dead", "cancelled", "expired")  # fmt: skip
    for word in words:
        for ground in ("card", "ground"):
            assert contrast(colors[word], colors[ground]) >= 4.5, (word, ground)
    assert contrast(colors["accent-text"], colors["accent"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, as WCAG 2 defines it."""

    def luminance(color: str) -> float:
        parts = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        red, green, blue = (
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
