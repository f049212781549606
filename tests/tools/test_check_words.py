"""The check that keeps names and wording that newcomers cannot guess out of the tree."""

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TOOL: Final = ROOT / "tools" / "check_words.py"


def run(*files: Path) -> tuple[int, str]:
    """The exit status, and what was printed."""
    ended = subprocess.run(
        [sys.executable, str(TOOL), *map(str, files)], capture_output=True, text=True, check=False
    )
    assert not ended.stderr
    return ended.returncode, ended.stdout


def written(folder: Path, name: str, text: str) -> Path:
    """A file that holds ``text``."""
    path = folder / name
    path.write_text(text)
    return path


def test_a_word_is_found_within_names_and_prose(tmp_path: Path) -> None:
    """In snake case, in camel case, and in the plural, with its line and what to write."""
    path = written(tmp_path, "one.py", "a = 1\nmy_shepherd = Shepherd()\n# two shepherds\n")
    status, said = run(path)
    assert status == 1
    assert said.splitlines() == [
        f"{path}:2: shepherd: write supervisor",
        f"{path}:3: shepherd: write supervisor",
    ]


def test_a_part_of_another_word_is_not_found(tmp_path: Path) -> None:
    """As part of a word, a listed one means something else."""
    path = written(tmp_path, "two.py", "potsherds = 1\nwatchers = 2  # herding cats\n")
    assert run(path) == (0, "")


def test_a_class_is_found_where_it_is_declared(tmp_path: Path) -> None:
    """A word such as ``part`` stays free for prose and variables."""
    path = written(tmp_path, "three.py", "class Part:\n    part = 1  # a Part\n")
    status, said = run(path)
    assert status == 1
    assert said == f"{path}:1: class Part: write Repository\n"


def test_a_phrase_is_found_in_documents(tmp_path: Path) -> None:
    """Whatever its case."""
    path = written(tmp_path, "four.md", "It waits For ever.\n")
    status, said = run(path)
    assert status == 1
    assert "forever" in said


def test_files_of_other_kinds_are_left_alone(tmp_path: Path) -> None:
    """Pictures and data are not read."""
    assert run(written(tmp_path, "five.bin", "shepherd")) == (0, "")


def test_a_line_that_says_why_is_left_alone(tmp_path: Path) -> None:
    """Such as the name of a directory that earlier releases made."""
    path = written(tmp_path, "six.py", 'NAME = "shepherd"  # kept: it is on disk\n')
    assert run(path) == (0, "")
