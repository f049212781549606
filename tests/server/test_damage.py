"""Damage of what is stored, as each dialect tells it."""

from collections.abc import Callable

import pytest

from taskyard.core.errors import StoreDamaged
from taskyard.dialects.drove import errors as drove
from taskyard.dialects.fastlane import errors as fastlane
from taskyard.dialects.greencloud import errors as greencloud
from taskyard.dialects.gx import errors as gx
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.native import errors as native

ERROR = StoreDamaged("the compressed output stdout.gz is damaged on disk")


@pytest.mark.parametrize("dialect", ["native", "fastlane", "drove", "greencloud", "gx"])
def test_damage_is_not_called_a_defect(dialect: str) -> None:
    """It is the server's trouble, and it says what it is."""
    answers: dict[str, Callable[[], Answer | None]] = {
        "native": lambda: native.problem_of(ERROR, "r"),
        "fastlane": lambda: fastlane.answer_of(ERROR),
        "drove": lambda: drove.answer_of(ERROR),
        "greencloud": lambda: greencloud.answer_of(ERROR),
        "gx": lambda: gx.answer_of(ERROR),
    }
    answer = answers[dialect]()
    assert answer is not None
    assert answer.status == 500
    assert b"damaged" in answer.body
    assert b"defect" not in answer.body
    assert b"nternal" not in answer.body
